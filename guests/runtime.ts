// The runtime that protected-mode guests share: start-up with their own descriptor tables, printing on the serial port, and
// an exception handler that tells what went wrong and ends the machine. Everything is emitted into the guest's assembler.

import {
  addr,
  ah,
  al,
  Assembler,
  ax,
  cr2,
  ds,
  dx,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  far,
  fs,
  gs,
  mem,
  mem16,
  mem32,
  mem8,
  ss,
} from "./assembler/mod.ts";
import type { GuestImage } from "./guest.ts";
import { DEBUG_EXIT_PORT, EXIT_FAILURE, SELECTOR, UART } from "./hardware.ts";

/** Where protected-mode guests are loaded and start: above the first MiB's firmware and display holes. */
export const LOAD_ADDRESS = 0x10_0000;

/** Top of the stack that a guest starts with. */
export const STACK_TOP = 0x9000;

/** First address past the image that guests use for tables and data of their own. */
export const FREE_MEMORY = 0x20_0000;

/** Attributes of an IDT entry: present 32-bit interrupt gate that ring 0 (or ring 3) may call with INT. */
export const GATE = { INTERRUPT: 0x8e00, USER_INTERRUPT: 0xee00 } as const;

/**
 * Assembles a protected-mode guest around `main`, which is emitted right after the start-up code: descriptor tables loaded,
 * exceptions handled, stack empty. `main` runs off its end into power-off; its routines go to the section "routines" and its
 * variables to the section "data".
 */
export function buildProtected(main: (asm: Assembler) => void): GuestImage {
  const asm = new Assembler({ origin: LOAD_ADDRESS });
  asm.label("start");
  loadDescriptorTables(asm);
  main(asm);
  powerOff(asm);
  asm.section("routines");
  printing(asm);
  exceptions(asm);
  descriptorTables(asm);
  const { bytes, origin, labels } = asm.assemble();
  if (origin + bytes.length > FREE_MEMORY) {
    throw new Error(`guest image of ${bytes.length} bytes runs into free memory`);
  }
  return { loads: [{ address: origin, bytes }], entry: origin, mode: "protected", symbols: labels };
}

/** Prints a constant text; keeps all registers but EFLAGS. */
export function print(asm: Assembler, text: string): void {
  const label = asm.uniqueLabel("text");
  asm.section("data", () => asm.label(label).string(text).db(0));
  asm.push(esi).mov(esi, addr(label)).call("printString").pop(esi);
}

/** Ends the machine: halts with interrupts off, which is status 0. */
export function powerOff(asm: Assembler): void {
  const label = asm.uniqueLabel("off");
  asm.label(label).cli().hlt().jmp(label);
}

/** Ends the machine as failed through the debug-exit port. */
export function fail(asm: Assembler): void {
  asm.mov(al, EXIT_FAILURE).out(DEBUG_EXIT_PORT, al);
  powerOff(asm);
}

/** Points interrupt `vector` to the code at `handler`; clobbers eax, ecx and edx. */
export function setGate(asm: Assembler, vector: number, handler: string, attributes: number = GATE.INTERRUPT): void {
  asm.mov(eax, addr(handler)).mov(ecx, vector).mov(edx, attributes).call("setGate");
}

/** Loads the task register, so that interrupts out of ring 3 find a stack whose top is `esp0`; clobbers eax. */
export function loadTaskRegister(asm: Assembler, esp0: number): void {
  asm.mov(mem32(addr("tss", TSS.ESP0)), esp0).mov(mem32(addr("tss", TSS.SS0)), SELECTOR.DATA);
  asm.mov(mem16(addr("tss", TSS.IO_MAP_BASE)), TSS_BYTES);
  asm.mov(eax, addr("tss")).mov(mem16(addr("gdt.task", 2)), ax).shr(eax, 16);
  asm.mov(mem8(addr("gdt.task", 4)), al).mov(mem8(addr("gdt.task", 7)), ah);
  asm.mov(ax, SELECTOR.TASK).ltr(ax);
}

/** Limits of the guests' descriptor tables, which are at the labels `gdt` and `idt`. */
export const GDT_LIMIT = (SELECTOR.TASK & ~7) + 8 - 1;

const VECTORS = 256;
export const IDT_LIMIT = VECTORS * 8 - 1;

const EXCEPTIONS = 32;
const DESCRIPTOR_BYTES = 8;
/** Distance between two exception entry points. */
const STUB_BYTES = 16;

/** Exceptions that push an error code, Intel SDM volume 3A table 6-1. */
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

function loadDescriptorTables(asm: Assembler): void {
  asm.cld().mov(dx, UART.LCR).mov(al, UART.LCR_8N1).out(dx, al);
  asm.lgdt(mem(addr("gdtPointer"))).jmpFar(far(SELECTOR.CODE, addr("reloaded")));
  asm.label("reloaded").mov(eax, SELECTOR.DATA);
  for (const segment of [ds, es, fs, gs, ss]) asm.mov(segment, ax);
  asm.mov(ecx, 0).label("nextGate");
  asm.imul(eax, ecx, STUB_BYTES).add(eax, addr("exceptionStubs")).mov(edx, GATE.INTERRUPT).call("setGate");
  asm.inc(ecx).cmp(ecx, EXCEPTIONS).jb("nextGate");
  asm.lidt(mem(addr("idtPointer")));
}

function printing(asm: Assembler): void {
  // printString: the text at esi, up to a zero byte.
  asm.align(16).label("printString").push(eax).push(esi).label("printString.next");
  asm.mov(al, mem8(esi)).inc(esi).test(al, al).jz("printString.done").call("putChar").jmp("printString.next");
  asm.label("printString.done").pop(esi).pop(eax).ret();

  // putChar: al, once the transmitter has room.
  asm.align(16).label("putChar").push(edx).push(eax).mov(dx, UART.LSR).label("putChar.wait");
  asm.in(al, dx).test(al, UART.LSR_THRE).jz("putChar.wait");
  asm.pop(eax).mov(dx, UART.THR).out(dx, al).pop(edx).ret();

  // printHex: eax as eight digits.
  asm.align(16).label("printHex").push(eax).push(ecx).push(edx).mov(edx, eax).mov(ecx, 8).label("printHex.next");
  asm.rol(edx, 4).mov(eax, edx).and(eax, 0xf).mov(al, mem8(eax, { disp: addr("digits") })).call("putChar");
  asm.dec(ecx).jnz("printHex.next").pop(edx).pop(ecx).pop(eax).ret();

  // printDecimal: eax, unsigned; digits are pushed from the last and popped from the first.
  asm.align(16).label("printDecimal").pushad().xor(ecx, ecx).mov(ebx, 10).label("printDecimal.divide");
  asm.xor(edx, edx).div(ebx).push(edx).inc(ecx).test(eax, eax).jnz("printDecimal.divide");
  asm.label("printDecimal.next").pop(eax).add(al, "0".charCodeAt(0)).call("putChar");
  asm.dec(ecx).jnz("printDecimal.next").popad().ret();

  asm.section("data", () => asm.label("digits").string("0123456789abcdef"));
}

function exceptions(asm: Assembler): void {
  // setGate: points vector ecx to the code at eax with the attributes in edx.
  asm.align(16).label("setGate").push(edi).mov(edi, ecx).shl(edi, 3).add(edi, addr("idt"));
  asm.mov(mem16(edi), ax).mov(mem16(edi, { disp: 2 }), SELECTOR.CODE).mov(mem16(edi, { disp: 4 }), dx);
  asm.shr(eax, 16).mov(mem16(edi, { disp: 6 }), ax).pop(edi).ret();

  // One entry point per exception, at a fixed distance, each leaving vector and error code on the stack.
  asm.align(STUB_BYTES).label("exceptionStubs");
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    asm.align(STUB_BYTES);
    if (!WITH_ERROR_CODE.has(vector)) asm.push(0);
    asm.push(vector).jmp("exception");
  }

  asm.align(16).label("exception").pop(ebx).pop(ecx).pop(ebp);
  print(asm, "\nexception ");
  asm.mov(eax, ebx).call("printDecimal");
  for (const [name, register] of [["error", ecx], ["eip", ebp]] as const) {
    print(asm, `, ${name} `);
    asm.mov(eax, register).call("printHex");
  }
  print(asm, ", cr2 ");
  asm.mov(eax, cr2).call("printHex");
  print(asm, "\n");
  fail(asm);
}

/** A 32-bit task state segment without an I/O bitmap, Intel SDM volume 3A figure 8-2: fields the guests write. */
const TSS_BYTES = 104;
const TSS = { ESP0: 4, SS0: 8, IO_MAP_BASE: 102 } as const;

const FLAT_LIMIT_LOW = 0xffff;
/** Access bytes of the descriptors: present, accessed, readable code and writable data of rings 0 and 3, an available task. */
export const ACCESS = { CODE: 0x9b, DATA: 0x93, USER_CODE: 0xfb, USER_DATA: 0xf3, TASK: 0x89 } as const;
/** Flags and limit bits 16..19 of a flat 32-bit segment: granularity of pages, 32-bit. */
const FLAT_FLAGS = 0xcf;

function descriptorTables(asm: Assembler): void {
  asm.section("data").align(8).label("gdt").zeros(DESCRIPTOR_BYTES);
  for (const access of [ACCESS.CODE, ACCESS.DATA, ACCESS.USER_CODE, ACCESS.USER_DATA]) {
    asm.dw(FLAT_LIMIT_LOW, 0).db(0, access, FLAT_FLAGS, 0);
  }
  // The task's base is spread over the descriptor, which no label can be: loadTaskRegister writes it.
  asm.label("gdt.task").dw(TSS_BYTES - 1, 0).db(0, ACCESS.TASK, 0, 0);
  asm.align(4).label("tss").zeros(TSS_BYTES);
  asm.align(8).label("idt").zeros(VECTORS * DESCRIPTOR_BYTES);
  asm.align(4).label("gdtPointer").dw(GDT_LIMIT).dd(addr("gdt"));
  asm.align(4).label("idtPointer").dw(IDT_LIMIT).dd(addr("idt"));
}
