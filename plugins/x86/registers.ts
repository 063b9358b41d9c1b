// A processor's state as text, for a person who wants to know where a guest died or stopped: registers, the code around
// EIP, the top of the stack.

import { disassembleAt, type NameOf } from "./disassembler.ts";
import { CS, ESP, SS } from "./instruction.ts";
import { Mode, type Processor } from "./processor.ts";
import * as S from "./state.ts";

const GENERAL = ["EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"];
const SEGMENTS = ["ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"];

const hex = (value: number, digits = 8): string => (value >>> 0).toString(16).padStart(digits, "0");

/** Instructions and lines of stack in a dump, and words in such a line. */
const CODE_LINES = 6, STACK_LINES = 4, STACK_WORDS = 8;

/** Registers, the code at EIP and the top of the stack; addresses with a name get it. Changes nothing. */
export function describeState(cpu: Processor, nameOf?: NameOf): string {
  return [describeRegisters(cpu), "code", describeCode(cpu, CODE_LINES, nameOf), "stack", describeStack(cpu, nameOf)]
    .join("\n");
}

/** `count` instructions from EIP, a line each: linear address, name, bytes, text. */
export function describeCode(cpu: Processor, count: number, nameOf?: NameOf): string {
  const lines = disassembleAt(cpu, cpu.r[S.EIP], count, nameOf);
  if (lines.length === 0) return "  (not mapped)";
  return lines.map(({ eip, bytes, text }) => {
    const linear = (cpu.r[S.BASE + CS] + eip) >>> 0, name = nameOf?.(linear);
    const bytesText = [...bytes].map((byte) => hex(byte, 2)).join(" ");
    return `  ${hex(linear)}${name === undefined ? "" : ` <${name}>`}  ${bytesText.padEnd(20)}  ${text}`;
  }).join("\n");
}

function describeStack(cpu: Processor, nameOf?: NameOf): string {
  const is32 = (cpu.mode & Mode.stack32) !== 0, wordBytes = is32 ? 4 : 2;
  const top = is32 ? cpu.r[ESP] : cpu.r[ESP] & 0xffff;
  const lines: string[] = [];
  for (let line = 0; line < STACK_LINES; line++) {
    const linear = (cpu.r[S.BASE + SS] + top + line * STACK_WORDS * wordBytes) >>> 0;
    const bytes = cpu.mmu.peekBytes(linear, STACK_WORDS * wordBytes);
    const view = new DataView(bytes.buffer, 0, bytes.length - bytes.length % wordBytes);
    const words: string[] = [];
    for (let at = 0; at < view.byteLength; at += wordBytes) {
      const word = is32 ? view.getUint32(at, true) : view.getUint16(at, true);
      const name = is32 ? nameOf?.(word) : undefined;
      words.push(hex(word, wordBytes * 2) + (name === undefined ? "" : ` <${name}>`));
    }
    if (words.length > 0) lines.push(`  ${hex(linear)}  ${words.join(" ")}`);
  }
  return lines.length === 0 ? "  (not mapped)" : lines.join("\n");
}

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
