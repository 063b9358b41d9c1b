// What integer instructions do outside flat 32-bit user code: privilege, 16-bit stacks, limits of the code segment.

import { assertEquals } from "@std/assert";
import {
  CS,
  DS,
  EAX,
  EBP,
  EBX,
  ECX,
  ESP,
  ID,
  IF,
  IOPL,
  NT,
  RF,
  SS,
  STATUS_FLAGS,
  TF,
  VIF,
  VIP,
  VM,
} from "../../../plugins/x86/instruction.ts";
import type { Processor } from "../../../plugins/x86/processor.ts";
import * as S from "../../../plugins/x86/state.ts";
import { executeInstruction, flatProcessor, peek, poke } from "./flat_processor.ts";

const EIP = 0x1000;
const IOPL_SHIFT = 12;

function execute(cpu: Processor, ...bytes: number[]): number | undefined {
  return executeInstruction(cpu, Uint8Array.from(bytes), EIP)?.vector;
}

function words(cpu: Processor, address: number, count: number): number[] {
  return [...new Int32Array(peek(cpu, address, 4 * count).buffer)];
}

/** A processor with SS.B clear, or CS.D too, and ESP as given. */
function smallStackProcessor(esp: number, code32: boolean): Processor {
  const cpu = flatProcessor(0);
  cpu.r[S.ATTRIBUTES + SS] &= ~S.SEG_DB;
  if (!code32) cpu.r[S.ATTRIBUTES + CS] &= ~S.SEG_DB;
  cpu.r[S.LIMIT + SS] = 0xffff;
  cpu.updateMode();
  cpu.r[ESP] = esp;
  return cpu;
}

/** In V86 mode with an IOPL. */
function v86Processor(iopl: number): Processor {
  const cpu = flatProcessor(3);
  cpu.setEflags(VM | (iopl << IOPL_SHIFT), VM | IOPL);
  return cpu;
}

Deno.test("CLI and STI need a CPL within IOPL, in V86 mode IOPL 3", () => {
  for (let cpl = 0; cpl < 4; cpl++) {
    for (let iopl = 0; iopl < 4; iopl++) {
      const expected = cpl <= iopl ? undefined : S.Vector.generalProtection;
      const cpu = flatProcessor(cpl);
      cpu.setEflags((iopl << IOPL_SHIFT) | IF, IOPL | IF);
      assertEquals(execute(cpu, 0xfa), expected);
      assertEquals(cpu.r[S.FLAGS_OTHER] & IF, expected === undefined ? 0 : IF);
      assertEquals(execute(cpu, 0xfb), expected);
      assertEquals(cpu.r[S.FLAGS_OTHER] & IF, IF);
    }
  }
  for (const [iopl, expected] of [[2, S.Vector.generalProtection], [3, undefined]] as const) {
    for (const opcode of [0xfa, 0xfb]) assertEquals(execute(v86Processor(iopl), opcode), expected);
  }
});

Deno.test("STI holds interrupts back for one instruction only if they were off", () => {
  const cpu = flatProcessor(0);
  execute(cpu, 0xfb);
  assertEquals([cpu.r[S.INTERRUPT_SHADOW], cpu.attention], [S.Shadow.sti, 1]);
  cpu.r[S.INTERRUPT_SHADOW] = S.Shadow.none;
  cpu.updateAttention();
  execute(cpu, 0xfb);
  assertEquals([cpu.r[S.INTERRUPT_SHADOW], cpu.attention], [S.Shadow.none, 0]);
});

Deno.test("POPF changes IOPL at CPL 0 only, and IF only within IOPL", () => {
  for (let cpl = 0; cpl < 4; cpl++) {
    for (let iopl = 0; iopl < 4; iopl++) {
      for (const operandSize of [32, 16]) {
        const cpu = flatProcessor(cpl);
        cpu.setEflags((iopl << IOPL_SHIFT) | VIF | VIP | RF, IOPL | VIF | VIP | RF);
        cpu.r[ESP] = 0x8000;
        poke(cpu, 0x8000, Uint8Array.from([0xff, 0x7f, 0x25, 0x00]));
        assertEquals(execute(cpu, ...(operandSize === 16 ? [0x66, 0x9d] : [0x9d])), undefined);
        const flags = cpu.eflags();
        assertEquals(flags & IOPL, cpl === 0 ? IOPL : iopl << IOPL_SHIFT);
        assertEquals(flags & IF, cpl <= iopl ? IF : 0);
        assertEquals(flags & (STATUS_FLAGS | TF | NT), STATUS_FLAGS | TF | NT);
        assertEquals(flags & (VIF | VIP), VIF | VIP);
        assertEquals(flags & (RF | ID), operandSize === 32 ? ID : RF);
        assertEquals(cpu.r[ESP], 0x8000 + operandSize / 8);
      }
    }
  }
});

Deno.test("PUSHF and POPF need IOPL 3 in V86 mode; PUSHF hides RF and VM", () => {
  for (const opcode of [0x9c, 0x9d]) assertEquals(execute(v86Processor(2), opcode), S.Vector.generalProtection);
  const cpu = v86Processor(3);
  cpu.setEflags(RF, RF);
  cpu.r[ESP] = 0x8004;
  assertEquals(execute(cpu, 0x9c), undefined);
  assertEquals(words(cpu, 0x8000, 1)[0] & (RF | VM), 0);
  assertEquals(execute(cpu, 0x9d), undefined);
  assertEquals(cpu.eflags() & (VM | IOPL), VM | IOPL);
});

Deno.test("a 16-bit stack pointer wraps and leaves the upper half of ESP", () => {
  const cpu = smallStackProcessor(0x12340000, true);
  cpu.r[EAX] = 0x55667788;
  execute(cpu, 0x50);
  assertEquals(cpu.r[ESP], 0x1234fffc);
  assertEquals(words(cpu, 0xfffc, 1), [0x55667788]);
  execute(cpu, 0x5b);
  assertEquals([cpu.r[ESP], cpu.r[EBX]], [0x12340000, 0x55667788]);
});

Deno.test("POP into memory addressed by ESP uses ESP after the pop, with a 16-bit stack too", () => {
  const cpu = smallStackProcessor(0x0000fffc, true);
  poke(cpu, 0xfffc, Uint8Array.of(1, 2, 3, 4));
  // SP wraps to 0, so that the address is 0 + 0x40.
  assertEquals(execute(cpu, 0x8f, 0x44, 0x24, 0x40), undefined);
  assertEquals([words(cpu, 0x40, 1)[0], cpu.r[ESP]], [0x04030201, 0]);
});

Deno.test("PUSHA wraps in a 16-bit stack; an element across the end raises #SS and leaves no trace", () => {
  const cpu = smallStackProcessor(6, false);
  cpu.r[EAX] = 0x1111;
  assertEquals(execute(cpu, 0x60), undefined);
  assertEquals([cpu.r16[ESP * 2], ...peek(cpu, 4, 2)], [0xfff6, 0x11, 0x11]);
  cpu.r16[ESP * 2] = 5;
  const before = peek(cpu, 0, 16);
  assertEquals(execute(cpu, 0x60), S.Vector.stackFault);
  assertEquals([cpu.r16[ESP * 2], ...peek(cpu, 0, 16)], [5, ...before]);
});

Deno.test("ENTER and LEAVE with a 16-bit stack take the low half of EBP as the address", () => {
  const cpu = smallStackProcessor(0x7fff8000, true);
  cpu.r[EBP] = 0x11119000;
  assertEquals(execute(cpu, 0xc8, 0x10, 0x00, 0x00), undefined);
  // With a 32-bit operand the frame pointer is all of ESP, as QEMU and Bochs have it too.
  assertEquals([cpu.r[EBP], cpu.r[ESP]], [0x7fff7ffc, 0x7fff7fec]);
  assertEquals(words(cpu, 0x7ffc, 1), [0x11119000]);
  assertEquals(execute(cpu, 0xc9), undefined);
  assertEquals([cpu.r[EBP], cpu.r[ESP]], [0x11119000, 0x7fff8000]);
});

const transfers: readonly [name: string, ...bytes: number[]][] = [
  ["jmp", 0xe9, 0x00, 0x00, 0x01, 0x00],
  ["jz", 0x0f, 0x84, 0x00, 0x00, 0x01, 0x00],
  ["call", 0xe8, 0x00, 0x00, 0x01, 0x00],
  ["jmp eax", 0xff, 0xe0],
  ["call eax", 0xff, 0xd0],
  ["ret", 0xc3],
  ["loop", 0xe2, 0x7f],
  ["jecxz", 0xe3, 0x7f],
];
for (const [name, ...bytes] of transfers) {
  Deno.test(`${name} beyond the limit of CS raises #GP(0) and leaves no trace`, () => {
    const cpu = flatProcessor(0);
    cpu.r[S.LIMIT + CS] = EIP + 0x70;
    cpu.updateMode();
    poke(cpu, 0x8000, Uint8Array.of(0, 0, 1, 0));
    cpu.r.set([0x10000, name === "jecxz" ? 0 : 5, 0, 0, 0x8000, 0, 0, 0]);
    cpu.setEflags(0x40, STATUS_FLAGS);
    const before = [...cpu.r.slice(0, 8)];
    assertEquals(execute(cpu, ...bytes), S.Vector.generalProtection);
    assertEquals([...cpu.r.slice(0, 8)], before);
    assertEquals(words(cpu, 0x7ffc, 1), [0]);
  });
}

Deno.test("a branch that is not taken does not look at its target", () => {
  const cpu = flatProcessor(0);
  cpu.r[S.LIMIT + CS] = EIP + 0x70;
  cpu.updateMode();
  cpu.r[ECX] = 1;
  assertEquals(execute(cpu, 0xe2, 0x7f), undefined);
  assertEquals([cpu.r[ECX], cpu.r[S.EIP]], [0, EIP + 2]);
});

Deno.test("ARPL writes to a read-only segment, which faults, only where it adjusts the selector", () => {
  const ARPL_CX = [0x63, 0x0d, 0x00, 0x20, 0x00, 0x00], AT = 0x2000, GENERAL_PROTECTION = 13;
  for (const [rpl, fault] of [[3, undefined], [1, undefined], [0, GENERAL_PROTECTION]] as const) {
    const cpu = flatProcessor(0);
    cpu.r[S.ATTRIBUTES + DS] &= ~S.SEG_WRITABLE;
    cpu.updateMode();
    poke(cpu, AT, Uint8Array.of(0xf0 | rpl, 0xff));
    cpu.r[ECX] = 1;
    assertEquals(execute(cpu, ...ARPL_CX), fault, `RPL ${rpl}`);
    assertEquals([...peek(cpu, AT, 2)], [0xf0 | rpl, 0xff]);
  }
});
