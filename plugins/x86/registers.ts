// A processor's registers as text, for a person who wants to know where a guest died or stopped.

import type { Processor } from "./processor.ts";
import * as S from "./state.ts";

const GENERAL = ["EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"];
const SEGMENTS = ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"];

const hex = (value: number, digits = 8): string => (value >>> 0).toString(16).padStart(digits, "0");

/** General registers, EIP and EFLAGS, segments with base, limit and attributes, tables and control registers. */
export function describeRegisters(cpu: Processor): string {
  const { r } = cpu;
  const general = GENERAL.map((name, i) => `${name}=${hex(r[i])}`);
  const segments = SEGMENTS.map((name, i) =>
    `${name.padEnd(3)}=${hex(r[S.SELECTOR + i], 4)} base ${hex(r[S.BASE + i])} limit ${
      hex(r[S.LIMIT + i])
    } attributes ${hex(r[S.ATTRIBUTES + i])}`
  );
  return [
    general.slice(0, 4).join(" "),
    general.slice(4).join(" "),
    `EIP=${hex(r[S.EIP])} EFLAGS=${hex(cpu.eflags())} CPL=${r[S.CPL]}${r[S.HALTED] ? " halted" : ""}`,
    ...segments,
    `GDT base ${hex(r[S.GDTR_BASE])} limit ${hex(r[S.GDTR_LIMIT], 4)}  IDT base ${hex(r[S.IDTR_BASE])} limit ${
      hex(r[S.IDTR_LIMIT], 4)
    }`,
    `CR0=${hex(r[S.CR0])} CR2=${hex(r[S.CR2])} CR3=${hex(r[S.CR3])} CR4=${hex(r[S.CR4])}`,
  ].join("\n");
}
