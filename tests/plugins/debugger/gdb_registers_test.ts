// Registers as gdb writes them: segment registers with what their selectors imply, control registers, the FPU and SSE; what
// no instruction could load is refused, and the guest goes on with what was written.

import { assert, assertEquals } from "@std/assert";
import { eax, ebx, mem } from "../../../guests/assembler/mod.ts";
import { gdbRegisters } from "../../../plugins/debugger/gdb/registers.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { type Dialogue, dialogueOf, hex, wordHex } from "./dialogue.ts";
import { ORIGIN, program } from "./machine.ts";

const { state: S } = x86;

function numberOf(name: string): string {
  const number = gdbRegisters.findIndex((register) => register.name === name);
  assert(number >= 0, name);
  return hex(number);
}

/** Writes a 32-bit register. */
const put = ({ ask }: Dialogue, name: string, value: number) => ask(`P${numberOf(name)}=${wordHex(value)}`);
const get = ({ ask }: Dialogue, name: string) => ask(`p${numberOf(name)}`);

const GDT = 0x20_0000, DATA = 0x30_0000, PAGES = 0x28_0000;
/** Low and high words: flat code and data for CPL 0 and 3, data at 1 MiB, a task-state segment, one not present, read-only, 1 MiB. */
const DESCRIPTORS: readonly (readonly [number, number])[] = [
  [0, 0],
  [0xffff, 0xcf9a00],
  [0xffff, 0xcf9200],
  [0xffff, 0xcffa00],
  [0xffff, 0xcff200],
  [0x0000ffff, 0x40f210],
  [0x67, 0x8900],
  [0xffff, 0xcf1200],
  [0xffff, 0xcf9000],
  [0xff, 0xc09200],
];
const CODE0 = 0x08,
  DATA0 = 0x10,
  CODE3 = 0x1b,
  DATA3 = 0x23,
  HIGH3 = 0x2b,
  TASK = 0x30,
  ABSENT = 0x38,
  READ_ONLY = 0x40;
const SMALL = 0x48, BEYOND = 0x50;

function machine(): Dialogue {
  const dialogue = dialogueOf([
    program((asm) => {
      asm.mov(eax, mem(DATA)).mov(ebx, eax).cli().hlt();
    }).guest,
  ]);
  const { cpus: [cpu], ask } = dialogue;
  const words = DESCRIPTORS.flat().map(wordHex).join("");
  assertEquals(ask(`M${hex(GDT)},${hex(words.length / 2)}:${words}`), "OK");
  cpu.setRegister(S.GDTR_BASE, GDT);
  cpu.setRegister(S.GDTR_LIMIT, DESCRIPTORS.length * 8 - 1);
  return dialogue;
}

const loads: readonly [string, number, number, number][] = [
  ["ds", READ_ONLY, 0, -1],
  ["es", DATA3, 0, -1],
  ["fs", HIGH3, 0x10_0000, 0xffff],
  ["gs", CODE0, 0, -1],
  ["fs", 0, 0, 0],
  ["gs", 3, 0, 0],
  ["ss", SMALL, 0, 0xfffff],
];
const numbers: Readonly<Record<string, number>> = {
  cs: x86.CS,
  ss: x86.SS,
  ds: x86.DS,
  es: x86.ES,
  fs: x86.FS,
  gs: x86.GS,
};
for (const [name, selector, base, limit] of loads) {
  Deno.test(`gdb's ${name} = 0x${hex(selector)} loads what the selector implies`, () => {
    const dialogue = machine(), { cpus: [cpu], host, vms: [vm] } = dialogue;
    const before = host.service(x86.processor)(vm).mmu.save();
    assertEquals(put(dialogue, name, selector), "OK");
    assertEquals(get(dialogue, name), wordHex(selector));
    const segment = numbers[name];
    assertEquals([cpu.r[S.BASE + segment], cpu.r[S.LIMIT + segment]], [base, limit]);
    assertEquals((cpu.r[S.ATTRIBUTES + segment] & S.SEG_NULL) !== 0, selector < 4);
    assertEquals(cpu.mmu.save(), before, "the guest's TLB saw nothing");
  });
}

const refusals: readonly [string, number, string][] = [
  ["ds", TASK, "a system segment"],
  ["ds", ABSENT, "a segment that is not present"],
  ["ds", BEYOND, "a selector beyond the table"],
  ["ds", 0x0c, "a local selector without a local table"],
  ["ss", 0, "a null stack"],
  ["ss", READ_ONLY, "a stack that is not writable"],
  ["ss", DATA3, "a stack of another privilege level"],
  ["cs", DATA0, "data as code"],
  ["cs", 0x18, "code of another level than the selector's"],
  ["cs", 0, "null code"],
];
for (const [name, selector, what] of refusals) {
  Deno.test(`gdb's ${name} = 0x${hex(selector)}, ${what}, is refused`, () => {
    const dialogue = machine(), { cpus: [cpu] } = dialogue;
    const before = cpu.r.slice();
    assertEquals(put(dialogue, name, selector), "E16");
    assertEquals(cpu.r, before);
  });
}

Deno.test("gdb takes a guest to user mode by CS and SS, and the guest faults there as it would", async () => {
  const dialogue = machine(), { cpus: [cpu], run } = dialogue;
  assertEquals([put(dialogue, "cs", CODE3), put(dialogue, "ss", DATA3)], ["OK", "OK"]);
  assertEquals([cpu.r[S.CPL], cpu.bank], [3, cpu.mmu.userBank]);
  assertEquals(put(dialogue, "ds", SMALL), "E16", "a segment of the kernel's");
  assertEquals(put(dialogue, "ds", DATA3), "OK");
  assertEquals(await run("vCont;s:1"), "T05thread:1;");
  assertEquals(cpu.eip, ORIGIN + 5);
  // CLI with IOPL 0 and no IDT: a triple fault.
  assertEquals(await run("c"), "W03");
});

Deno.test("a guest reads through the segment that gdb loaded", async () => {
  const dialogue = machine(), { ask, run } = dialogue;
  // From DATA through DS with base 1 MiB: its limit of 64 KiB is below, so the first instruction faults.
  assertEquals(put(dialogue, "ds", HIGH3), "OK");
  assertEquals(await run("c"), "W03");
  const flat = machine();
  flat.ask(`M${hex(DATA)},4:${wordHex(0x1234)}`);
  assertEquals(put(flat, "ds", READ_ONLY), "OK");
  await flat.run("vCont;s:1");
  assertEquals(get(flat, "eax"), wordHex(0x1234));
  assertEquals(ask("?"), "W03");
});

Deno.test("in real mode a selector is a paragraph", () => {
  const dialogue = dialogueOf(["hello"]), { cpus: [cpu] } = dialogue;
  assertEquals([put(dialogue, "ds", 0x1234), cpu.r[S.BASE + x86.DS]], ["OK", 0x12340]);
  // EIP is shown as a linear address, and so moves with CS.
  assertEquals([put(dialogue, "cs", 0x700), get(dialogue, "eip")], ["OK", wordHex(0x7000 + cpu.r[S.EIP])]);
});

const CR0 = S.CR0_PE | S.CR0_ET;
const controls: readonly [string, number, string, number][] = [
  ["cr0", CR0 | S.CR0_WP | S.CR0_TS, "OK", CR0 | S.CR0_WP | S.CR0_TS],
  ["cr0", S.CR0_PE, "OK", CR0],
  ["cr0", S.CR0_PG | S.CR0_ET, "E16", CR0],
  ["cr0", CR0 | S.CR0_NW, "E16", CR0],
  ["cr2", 0xdeadbeef, "OK", 0xdeadbeef],
  ["cr3", 0x1000, "OK", 0x1000],
  ["cr4", S.CR4_PSE | S.CR4_OSFXSR, "OK", S.CR4_PSE | S.CR4_OSFXSR],
  ["cr4", 1 << 20, "E16", 0],
  ["fs_base", 0x1000, "E16", 0],
];
for (const [name, value, answer, after] of controls) {
  Deno.test(`gdb's ${name} = 0x${hex(value >>> 0)} is answered ${answer}`, () => {
    const dialogue = machine();
    assertEquals([put(dialogue, name, value), get(dialogue, name)], [answer, wordHex(after)]);
  });
}

Deno.test("gdb turns paging on, and off again", () => {
  const dialogue = machine(), { ask, cpus: [cpu] } = dialogue;
  // One directory that maps 4 MiB pages: the first onto itself, the second onto the first.
  assertEquals(ask(`M${hex(PAGES)},8:${wordHex(0x83)}${wordHex(0x83)}`), "OK");
  for (const [name, value] of [["cr4", S.CR4_PSE], ["cr3", PAGES], ["cr0", CR0 | S.CR0_PG]] as const) {
    assertEquals(put(dialogue, name, value), "OK", name);
  }
  assertEquals([cpu.mmu.probe(0x40_0000 + GDT), cpu.mmu.probe(0x80_0000)], [GDT, undefined]);
  assertEquals(ask(`m${hex(0x40_0000 + GDT + 8)},4`), wordHex(DESCRIPTORS[1][0]));
  assertEquals([put(dialogue, "cr0", CR0), cpu.mmu.probe(0x40_0000 + GDT)], ["OK", 0x40_0000 + GDT]);
});

Deno.test("PAE's pointers are loaded where gdb turns it on, and malformed ones are refused", () => {
  const dialogue = machine(), { ask } = dialogue;
  assertEquals([put(dialogue, "cr4", S.CR4_PAE), put(dialogue, "cr3", PAGES)], ["OK", "OK"]);
  ask(`M${hex(PAGES)},8:${wordHex(0x1e7)}00000000`);
  assertEquals([put(dialogue, "cr0", CR0 | S.CR0_PG), get(dialogue, "cr0")], ["E16", wordHex(CR0)]);
  ask(`M${hex(PAGES)},8:${wordHex(PAGES + 0x1001)}00000000`);
  assertEquals(put(dialogue, "cr0", CR0 | S.CR0_PG), "OK");
  assertEquals(dialogue.cpus[0].r[S.PDPTE], PAGES + 0x1001);
});

const XMM = Array.from({ length: 16 }, (_, i) => (i * 17).toString(16).padStart(2, "0")).join("");
const units: readonly [string, string, string, string][] = [
  ["xmm0", XMM, "OK", XMM],
  ["xmm7", XMM, "OK", XMM],
  ["xmm7", XMM.slice(2), "E16", "00".repeat(16)],
  ["mxcsr", wordHex(0x9fc0), "OK", wordHex(0x9fc0)],
  ["mxcsr", wordHex(0x1_1f80), "E16", wordHex(0x1f80)],
  ["st0", "0000000000000080ff3f", "OK", "0000000000000080ff3f"],
  ["fctrl", wordHex(0x37f), "OK", wordHex(0x37f)],
  ["ftag", wordHex(0xfffc), "OK", wordHex(0xfffd)],
  ["fop", wordHex(0xffff), "OK", wordHex(0x7ff)],
  ["fiseg", wordHex(0x12345), "OK", wordHex(0x2345)],
  ["fioff", wordHex(0xc0001234), "OK", wordHex(0xc0001234)],
  ["foseg", wordHex(0x7b), "OK", wordHex(0x7b)],
  ["fooff", wordHex(0x1234), "OK", wordHex(0x1234)],
];
for (const [name, value, answer, after] of units) {
  Deno.test(`gdb's ${name} = ${value} is answered ${answer}`, () => {
    const { ask } = machine(), number = numberOf(name);
    assertEquals([ask(`P${number}=${value}`), ask(`p${number}`)], [answer, after]);
  });
}

Deno.test("an unmasked x87 exception that gdb sets waits, and its stack turns", () => {
  const dialogue = machine(), { cpus: [cpu] } = dialogue;
  assertEquals([put(dialogue, "fctrl", 0x37e), put(dialogue, "fstat", 0x1801)], ["OK", "OK"]);
  // ES and B follow.
  assertEquals([get(dialogue, "fstat"), cpu.fpu.top, cpu.fpu.pending], [wordHex(0x9881), 3, true]);
  assertEquals([put(dialogue, "fctrl", 0x37f), get(dialogue, "fstat")], ["OK", wordHex(0x1801)]);
});

Deno.test("what gdb reads of all registers it may write back", () => {
  const dialogue = machine(), { ask, cpus: [cpu], host, vms: [vm] } = dialogue;
  cpu.setRegister(S.CR2, 0x1234);
  cpu.setRegister(S.XMM + 5, 99);
  const hash = host.stateHash(vm), all = ask("g") ?? "";
  assertEquals([ask(`G${all}`), host.stateHash(vm)], ["OK", hash]);
});
