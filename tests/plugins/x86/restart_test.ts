import { assertEquals } from "@std/assert";
import { AF, CF, DF, EBX, EDI, ESI, ESP, OF, SF, STATUS_FLAGS } from "../../../plugins/x86/instruction.ts";
import type { Processor } from "../../../plugins/x86/processor.ts";
import * as S from "../../../plugins/x86/state.ts";
import { executeInstruction, flatProcessor, peek, poke } from "./flat_processor.ts";

const PAGE_DIRECTORY = 0x100000, PAGE_TABLE = 0x101000;
const PRESENT = 1, WRITABLE = 2, USER = 4;
/** Pages of the test: writable, then read-only, then one that is not there. */
const WRITABLE_PAGE = 0x8000, READ_ONLY_PAGE = 0x9000, ABSENT_PAGE = 0xb000;
const EIP = 0x1000;

/** A CPL 3 processor with paging: 1 MiB mapped one to one. */
function pagedProcessor(): Processor {
  const cpu = flatProcessor(3);
  const entries = new Int32Array(1024);
  for (let page = 0; page < 256; page++) entries[page] = (page * 4096) | PRESENT | WRITABLE | USER;
  entries[READ_ONLY_PAGE / 4096] &= ~WRITABLE;
  entries[ABSENT_PAGE / 4096] = 0;
  poke(cpu, PAGE_TABLE, new Uint8Array(entries.buffer));
  poke(cpu, PAGE_DIRECTORY, Uint8Array.of(PRESENT | WRITABLE | USER, PAGE_TABLE >>> 8, PAGE_TABLE >>> 16, 0));
  cpu.r[S.CR3] = PAGE_DIRECTORY;
  cpu.r[S.CR0] |= S.CR0_PG;
  return cpu;
}

/** Instructions with a memory operand [ebx] that they read and write; the register operand is EAX, ECX, EDX or an immediate. */
const readModifyWrite: readonly [name: string, ...bytes: number[]][] = [
  ["add", 0x01, 0x03],
  ["adc byte", 0x10, 0x03],
  ["xor 16-bit", 0x66, 0x31, 0x03],
  ["sub immediate", 0x83, 0x2b, 0x05],
  ["inc", 0xff, 0x03],
  ["dec byte", 0xfe, 0x0b],
  ["neg", 0xf7, 0x1b],
  ["not", 0xf7, 0x13],
  ["shl by 1", 0xd1, 0x23],
  ["shl by 0", 0xc1, 0x23, 0x00],
  ["rcr by cl", 0xd3, 0x1b],
  ["shld", 0x0f, 0xa4, 0x13, 0x04],
  ["shrd 16-bit", 0x66, 0x0f, 0xac, 0x13, 0x04],
  ["bts", 0x0f, 0xab, 0x0b],
  ["btc immediate", 0x0f, 0xba, 0x3b, 0x03],
  ["xchg", 0x87, 0x03],
  ["xadd", 0x0f, 0xc1, 0x03],
  ["cmpxchg, unequal", 0x0f, 0xb1, 0x0b],
  ["cmpxchg8b", 0x0f, 0xc7, 0x0b],
];
const writes: readonly [name: string, ...bytes: number[]][] = [
  ["mov", 0x89, 0x03],
  ["mov immediate", 0xc7, 0x03, 1, 2, 3, 4],
  ["setc", 0x0f, 0x92, 0x03],
  ["pop", 0x8f, 0x03],
  ["movsd", 0xa5],
  ["stosd", 0xab],
];
const stackWrites: readonly [name: string, ...bytes: number[]][] = [
  ["push", 0x50],
  ["pusha", 0x60],
  ["pushf", 0x9c],
  ["enter 0", 0xc8, 0x10, 0x00, 0x00],
  ["enter 3", 0xc8, 0x10, 0x00, 0x03],
  ["enter whose frame alone would fault", 0xc8, 0x00, 0x20, 0x00],
  ["call", 0xe8, 0x10, 0x00, 0x00, 0x00],
  ["call register", 0xff, 0xd0],
];
const stackReads: readonly [name: string, ...bytes: number[]][] = [
  ["pop", 0x58],
  ["popa", 0x61],
  ["popf", 0x9d],
  ["leave", 0xc9],
  ["ret", 0xc3],
];

/** Executes at `pointer` and demands a page fault that left no trace. */
function assertRestartable(bytes: readonly number[], pointer: number, stack: number, errorCode: number): void {
  const cpu = pagedProcessor();
  const memory = Uint8Array.from({ length: 3 * 4096 }, (_, i) => i * 7);
  poke(cpu, WRITABLE_PAGE, memory);
  cpu.r.set([0x11111111, 2, 0x33333333, pointer, stack, stack, WRITABLE_PAGE, pointer]);
  cpu.setEflags(OF | SF | AF | CF, STATUS_FLAGS | DF);
  const registers = cpu.r.slice(0, 8), flags = cpu.eflags();
  const fault = executeInstruction(cpu, Uint8Array.from(bytes), EIP);
  assertEquals(fault, { vector: S.Vector.pageFault, errorCode });
  assertEquals(cpu.r.slice(0, 8), registers);
  assertEquals(cpu.eflags(), flags);
  assertEquals(peek(cpu, WRITABLE_PAGE, memory.length), memory);
  assertEquals([cpu.r[EBX], cpu.r[ESI], cpu.r[EDI], cpu.r[ESP]], [pointer, WRITABLE_PAGE, pointer, stack]);
}

const WRITE_TO_PRESENT = 7, WRITE_TO_ABSENT = 6, READ_OF_ABSENT = 4;

for (const [name, ...bytes] of [...readModifyWrite, ...writes]) {
  Deno.test(`${name}: a write to a read-only page faults and leaves no trace`, () => {
    assertRestartable(bytes, READ_ONLY_PAGE + 0x10, WRITABLE_PAGE + 0x800, WRITE_TO_PRESENT);
    // A byte operand lies in the read-only page alone; wider ones begin in the page before it.
    const isByte = name.includes("byte") || name === "setc";
    if (!isByte) assertRestartable(bytes, READ_ONLY_PAGE - 1, WRITABLE_PAGE + 0x800, WRITE_TO_PRESENT);
  });
}

for (const [name, ...bytes] of stackWrites) {
  Deno.test(`${name}: a stack that ends in an absent page faults and leaves no trace`, () => {
    const stack = ABSENT_PAGE + 4096 + 2;
    assertRestartable(bytes, WRITABLE_PAGE, stack, WRITE_TO_ABSENT);
  });
}

for (const [name, ...bytes] of stackReads) {
  Deno.test(`${name}: a stack that reaches into an absent page faults and leaves no trace`, () => {
    assertRestartable(bytes, WRITABLE_PAGE, ABSENT_PAGE - 2, READ_OF_ABSENT);
  });
}

Deno.test("CMOVcc reads its memory operand, and faults, when the condition is false too", () => {
  for (const opcode of [0x42, 0x43]) {
    assertRestartable([0x0f, opcode, 0x03], ABSENT_PAGE, WRITABLE_PAGE + 0x800, READ_OF_ABSENT);
  }
});

Deno.test("BT only reads its memory operand", () => {
  const cpu = pagedProcessor();
  cpu.r[EBX] = READ_ONLY_PAGE;
  assertEquals(executeInstruction(cpu, Uint8Array.of(0x0f, 0xa3, 0x03), EIP), undefined);
});

Deno.test("a repetition that crosses into a read-only page stops there, and goes on once the page is writable", () => {
  const cpu = pagedProcessor();
  cpu.r.set([0x55555555, 6, 0, 0, 0, 0, 0, READ_ONLY_PAGE - 14]);
  const fault = executeInstruction(cpu, Uint8Array.of(0xf3, 0xab), EIP);
  assertEquals(fault, { vector: S.Vector.pageFault, errorCode: WRITE_TO_PRESENT });
  assertEquals([cpu.r[1], cpu.r[EDI], cpu.vm.clock.steps], [3, READ_ONLY_PAGE - 2, 3]);
  assertEquals([...peek(cpu, READ_ONLY_PAGE - 2, 2)], [0, 0]);
  poke(cpu, PAGE_TABLE + READ_ONLY_PAGE / 1024, Uint8Array.of(PRESENT | WRITABLE | USER));
  assertEquals(executeInstruction(cpu, Uint8Array.of(0xf3, 0xab), EIP), undefined);
  assertEquals([cpu.r[1], cpu.vm.clock.steps], [0, 6]);
  assertEquals([...peek(cpu, READ_ONLY_PAGE - 14, 25)], [...Array(24).fill(0x55), 0]);
});
