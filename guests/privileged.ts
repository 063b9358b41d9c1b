// Guest `privileged`: a loop of the instructions that a hypervisor must intercept. Each one privileged, sensitive or of memory
// management (BT paper, section 3.2, lists the kinds); whatever can be read back is checked and enters the checksum.

import {
  addr,
  al,
  type Assembler,
  ax,
  cr0,
  cr2,
  cr3,
  cr4,
  cx,
  dr0,
  dr7,
  dx,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  esp,
  mem,
  mem16,
  mem32,
  mem8,
} from "./assembler/mod.ts";
import { checks, checksum, expectEqual, expectValue } from "./checks.ts";
import { defineGuest } from "./guest.ts";
import { CR0, DR7_DISABLED, EFLAGS, FIRST_FREE_VECTOR, MSR, PAGE_SIZE, SELECTOR, UART } from "./hardware.ts";
import {
  ACCESS,
  buildProtected,
  GDT_LIMIT,
  IDT_LIMIT,
  loadTaskRegister,
  print,
  setGate,
  STACK_TOP,
} from "./runtime.ts";
import { maskInterrupts } from "./timer.ts";

export const privileged = defineGuest({
  name: "privileged",
  summary: "a loop of privileged and sensitive instructions",
  description:
    "Each iteration runs CLI, STI, PUSHF, POPF, IN, OUT, INT and IRET, moves to and from control and debug " +
    "registers, CLTS, LMSW, SMSW, INVLPG, LGDT, LIDT, SGDT, SIDT, LLDT, SLDT, LTR, STR, LAR, LSL, VERR, VERW, CPUID, RDTSC, " +
    "RDMSR and WRMSR, and checks what can be read back. Prints `privileged: N iterations, checksum X`.",
  memoryMib: 4,
  options: { iterations: { default: 10_000, min: 1, describe: "times round the loop" } },
  build: ({ iterations }) =>
    buildProtected((asm) => {
      checks(asm, "privileged");
      maskInterrupts(asm);
      loadTaskRegister(asm, STACK_TOP);
      setGate(asm, FIRST_FREE_VECTOR, "softwareInterrupt");
      asm.section("routines", () => asm.align(16).label("softwareInterrupt").inc(ebx).iret());
      asm.section("data", () => asm.align(8).label("tableImage").zeros(8));
      asm.mov(ebp, iterations).align(16).label("iteration");
      interruptFlag(asm);
      inputOutput(asm);
      controlRegisters(asm);
      debugRegisters(asm);
      descriptorTables(asm);
      identification(asm);
      modelSpecificRegisters(asm);
      asm.dec(ebp).jnz("iteration");
      print(asm, "privileged: ");
      asm.mov(eax, iterations).call("printDecimal");
      print(asm, " iterations, checksum ");
      asm.mov(eax, checksum).call("printHex");
      print(asm, "\n");
    }),
});

function interruptFlag(asm: Assembler): void {
  asm.sti().pushf().pop(eax).and(eax, EFLAGS.IF);
  expectValue(asm, EFLAGS.IF, "IF after STI");
  asm.cli().pushf().pop(eax).and(eax, EFLAGS.IF);
  expectValue(asm, 0, "IF after CLI");
  asm.pushf().or(mem32(esp), EFLAGS.IF).popf().pushf().pop(eax).and(eax, EFLAGS.IF).cli();
  expectValue(asm, EFLAGS.IF, "IF after POPF");
  asm.mov(ebx, ebp).int(FIRST_FREE_VECTOR).mov(eax, ebx).sub(eax, ebp);
  expectValue(asm, 1, "visits of INT's handler");
}

/** The UART's scratch register holds what is written to it and does nothing else. */
function inputOutput(asm: Assembler): void {
  asm.mov(eax, ebp).mov(dx, UART.SCR).out(dx, al).xor(eax, eax).in(al, dx).mov(ebx, ebp).and(ebx, 0xff);
  expectEqual(asm, "the UART's scratch register");
}

function controlRegisters(asm: Assembler): void {
  asm.mov(eax, cr0).or(eax, CR0.TS).mov(cr0, eax).smsw(ax).and(eax, CR0.TS);
  expectValue(asm, CR0.TS, "CR0.TS after a move to CR0");
  asm.clts().mov(eax, cr0).and(eax, CR0.TS);
  expectValue(asm, 0, "CR0.TS after CLTS");
  asm.mov(eax, cr0).or(eax, CR0.TS).lmsw(ax).mov(eax, cr0).and(eax, CR0.TS).clts();
  expectValue(asm, CR0.TS, "CR0.TS after LMSW");
  asm.mov(ebx, ebp).mov(cr2, ebx).mov(eax, cr2);
  expectEqual(asm, "CR2");
  asm.mov(ebx, ebp).shl(ebx, PAGE_SHIFT).mov(cr3, ebx).mov(eax, cr3);
  expectEqual(asm, "CR3");
  asm.mov(eax, cr4).mov(cr4, eax).invlpg(mem(addr("gdt")));
}

function debugRegisters(asm: Assembler): void {
  asm.mov(eax, DR7_DISABLED).mov(dr7, eax).mov(ebx, ebp).mov(dr0, ebx).mov(eax, dr0);
  expectEqual(asm, "DR0");
  asm.mov(eax, dr7);
  expectValue(asm, DR7_DISABLED, "DR7");
}

function descriptorTables(asm: Assembler): void {
  const image = addr("tableImage");
  asm.sgdt(mem(image)).lgdt(mem(image)).movzx(eax, mem16(image));
  expectValue(asm, GDT_LIMIT, "SGDT's limit");
  asm.mov(eax, mem(image, { disp: 2 })).sub(eax, addr("gdt"));
  expectValue(asm, 0, "SGDT's base");
  asm.sidt(mem(image)).lidt(mem(image)).movzx(eax, mem16(image));
  expectValue(asm, IDT_LIMIT, "SIDT's limit");
  asm.mov(eax, mem(image, { disp: 2 })).sub(eax, addr("idt"));
  expectValue(asm, 0, "SIDT's base");
  asm.xor(eax, eax).lldt(ax).mov(ax, SELECTOR.DATA).sldt(ax).and(eax, SELECTOR_MASK);
  expectValue(asm, 0, "SLDT");
  // LTR marks the task busy and refuses a busy one.
  asm.mov(mem8(addr("gdt.task", ACCESS_BYTE)), ACCESS.TASK).mov(ax, SELECTOR.TASK).ltr(ax);
  asm.xor(eax, eax).str(ax);
  expectValue(asm, SELECTOR.TASK, "STR");
  asm.movzx(eax, mem8(addr("gdt.task", ACCESS_BYTE)));
  expectValue(asm, ACCESS.TASK | TASK_BUSY, "the task's access byte after LTR");
  asm.mov(ecx, SELECTOR.CODE).lar(eax, ecx).shr(eax, 8).and(eax, 0xff);
  expectValue(asm, ACCESS.CODE, "LAR");
  asm.lsl(eax, ecx);
  expectValue(asm, FLAT_LIMIT, "LSL");
  asm.xor(eax, eax).verr(cx).setz(al);
  expectValue(asm, 1, "VERR of readable code");
  asm.xor(eax, eax).verw(cx).setz(al);
  expectValue(asm, 0, "VERW of code");
}

/** What CPUID and RDTSC tell differs between machines, so that only what holds on all of them is checked. */
function identification(asm: Assembler): void {
  asm.xor(eax, eax).cpuid().test(eax, eax).setnz(al).and(eax, 1);
  expectValue(asm, 1, "CPUID has leaf 1");
  asm.rdtsc().mov(esi, eax).mov(edi, edx).rdtsc().sub(eax, esi).sbb(edx, edi).sbb(eax, eax);
  expectValue(asm, 0, "borrow of a later time stamp less an earlier");
}

function modelSpecificRegisters(asm: Assembler): void {
  asm.mov(ecx, MSR.SYSENTER_CS).mov(eax, ebp).and(eax, SELECTOR_MASK).mov(ebx, eax).xor(edx, edx).wrmsr();
  asm.xor(eax, eax).rdmsr();
  expectEqual(asm, "IA32_SYSENTER_CS");
}

const PAGE_SHIFT = Math.log2(PAGE_SIZE);
const SELECTOR_MASK = 0xffff;
/** Offset of the access byte in a descriptor, and the bit in it that marks a task busy. */
const ACCESS_BYTE = 5;
const TASK_BUSY = 0x2;
const FLAT_LIMIT = 0xffff_ffff;
