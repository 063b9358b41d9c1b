// The text of what is traced: exceptions and interrupts, accesses to devices, address translation.

import * as x86 from "../x86/mod.ts";

type NameOf = x86.NameOf;

/** Exceptions by vector, with their mnemonics (SDM 3A, table 6-1). */
const EXCEPTIONS: Readonly<Record<number, string>> = {
  ...{ 0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP" },
  ...{ 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM" },
};

/** `#PF error 0x2 at c0100000 <main+0x4>, cr2 00001000, handler c1000000 <...>`, or `int 0x80 ...`, or `vector 0x20 ...`. */
export function describeDelivery(event: x86.DeliveredEvent, cpu: x86.Processor, nameOf: NameOf): string {
  const { vector, kind, eip, errorCode } = event;
  const name = EXCEPTIONS[vector];
  const what = kind === "fault" ? name ?? `vector ${hex(vector)}` : kind === "software" ? `int ${hex(vector)}` : "";
  const parts = [kind === "interrupt" ? (name === "NMI" ? name : `vector ${hex(vector)}`) : what];
  if (errorCode !== undefined) parts.push(`error ${hex(errorCode)}`);
  parts.push(`at ${place(eip, nameOf)}`);
  if (kind === "fault" && vector === x86.state.Vector.pageFault) parts.push(`cr2 ${wide(cpu.r[x86.state.CR2])}`);
  const handler = cpu.r[x86.state.BASE + x86.CS] + cpu.r[x86.state.EIP];
  return `${parts.join(" ")} -> ${place(handler, nameOf)}`;
}

/** `in 0x3fd.1 = 0x60`, `out 0x3f8.1 = 0x41`, `read fee00020.4 = 0x0`, `write ...`: address, size in bytes, value. */
export function describeAccess({ space, address, size, value, isWrite }: x86.DeviceAccess): string {
  const verb = space === "port" ? (isWrite ? "out" : "in") : isWrite ? "write" : "read";
  const shown = size === 4 ? value : value & ((1 << (size * 8)) - 1);
  return `${verb} ${space === "port" ? hex(address) : wide(address)}.${size} = ${hex(shown)}`;
}

const RIGHTS: readonly (readonly [number, string])[] = [
  [x86.Right.user, "user"],
  [x86.Right.write, "write"],
  [x86.Right.dirty, "dirty"],
  [x86.Right.global, "global"],
  [x86.Right.large, "large"],
];

/** `fill c0100000 -> page 0x100 write dirty`, `fault 00001000 error 0x2`, `flush`, `flush-page c0100000`. */
export function describeTranslation(event: x86.TranslationEvent): string {
  switch (event.what) {
    case "fill": {
      const rights = RIGHTS.filter(([bit]) => event.rights & bit).map(([, name]) => name);
      const side = event.isFetch ? "fetch" : "data";
      return [`fill ${side} ${wide(event.linear)} -> page ${hex(event.ppn)}`, ...rights].join(" ");
    }
    case "fault":
      return `fault ${wide(event.linear)} error ${hex(event.errorCode)}`;
    case "flush":
      return event.keepGlobal ? "flush, global entries stay" : "flush";
    case "flush-page":
      return `flush-page ${wide(event.linear)}`;
  }
}

/** An address with its name. */
export function place(address: number, nameOf: NameOf): string {
  const name = nameOf(address >>> 0);
  return name === undefined ? wide(address) : `${wide(address)} <${name}>`;
}

/** A 32-bit number in eight digits. */
export function wide(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}
