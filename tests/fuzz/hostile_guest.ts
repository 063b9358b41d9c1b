// A guest made of random code that survives itself: exception handlers that go on at the next slot of code, a task that takes
// over after a double fault, and launches into every mode (CPL 0 and 3, 16 and 32 bits, V86, or real mode from the start),
// over page and descriptor tables of which some entries are garbage. Whatever state it is in, it got there by instructions.

import * as a from "../../guests/assembler/mod.ts";
import type { FlatImage } from "../../plugins/boot/mod.ts";
import { hostileCode, word } from "./hostile_code.ts";
import type { Dice } from "./target.ts";

/** Guest-physical addresses. */
const AT = {
  COUNTER: 0x500,
  LAUNCH: 0x504,
  GDT: 0x1000,
  IDT: 0x2000,
  LDT: 0x2800,
  TSS_FAULT: 0x3000,
  TSS_OTHER: 0x3100,
  TSS16: 0x3200,
  POINTERS: 0x3300,
  HANDLERS: 0x4000,
  REAL_HANDLER: 0x5c00,
  FAULT_STACK: 0x6800,
  KERNEL_STACK: 0x7c00,
  TSS: 0x8000,
  PAGE_DIRECTORY: 0x1_0000,
  PAGE_TABLE: 0x1_1000,
  POINTER_TABLE: 0x1_2000,
  PAE_DIRECTORY: 0x1_3000,
  PAE_TABLE: 0x1_4000,
  FRAMES: 0x1_8000,
  CODE: 0x2_0000,
  DATA: 0x3_0000,
  STACK: 0x4_0000,
  STUB: 0x10_0000,
} as const;
const CODE_BYTES = 0x2000, DATA_BYTES = 0x2000, FRAME_BYTES = 0x200, FRAMES = 8, FRAME_AT = 0x180;
const PAGE = 4096, GIB = 1 << 30;
export const MEMORY_MIB = 4;

const SELECTOR = {
  CODE: 0x08,
  DATA: 0x10,
  USER_CODE: 0x1b,
  USER_DATA: 0x23,
  CODE16: 0x28,
  USER_CODE16: 0x33,
  TSS: 0x38,
  TSS_FAULT: 0x40,
  TSS_OTHER: 0x48,
  LDT: 0x50,
  TSS16: 0x58,
  CALL_GATE: 0x60,
  TASK_GATE: 0x68,
  CONFORMING: 0x70,
  FLAT_CODE: 0x78,
} as const;
const DESCRIPTORS = 32;

/** Places that operands are near to: tables, code, data, the ends of pages and of memory, devices. */
const ADDRESSES: readonly number[] = [
  ...[AT.COUNTER, AT.GDT, AT.IDT, AT.LDT, AT.TSS, AT.TSS_OTHER, AT.KERNEL_STACK - 0x100, AT.FRAMES],
  ...[AT.PAGE_DIRECTORY, AT.PAGE_TABLE, AT.PAE_DIRECTORY, AT.PAE_TABLE],
  ...[AT.CODE, AT.CODE + 0xf80, AT.CODE + PAGE, AT.DATA, AT.DATA + 0xf80, AT.DATA + PAGE, AT.DATA + 0x1f80, AT.STACK],
  ...[AT.DATA, AT.DATA + 0x400, AT.DATA + 0x800, AT.DATA + 0x1400],
  ...[0xa_0000, 0xb_8000, 0xf_fff0, (MEMORY_MIB << 20) - 0x80, MEMORY_MIB << 20, 0xe000_0000, 0xe000_1000],
  ...[0xfec0_0000, 0xfee0_0000, 0xfee0_0300, 0xfee0_0380, 0xffff_ff80, 0x7fff_ff80],
];

/** Ports of devices: interrupt controllers, timers, serial, CMOS, PCI, DMA, VGA, ACPI, VMware's, and those that end a VM. */
export const PORTS: readonly number[] = [
  ...[0x00, 0x08, 0x0b, 0x20, 0x21, 0x40, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x81, 0x92, 0xa0, 0xa1, 0xc0],
  ...[0xf0, 0x3c0, 0x3c4, 0x3c5, 0x3ce, 0x3d4, 0x3d5, 0x3da, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x4d0, 0x4d1],
  ...[0x5658, 0x5670, 0x600, 0x604, 0x608, 0x60c, 0xcf8, 0xcfc, 0xcfe],
];

/**
 * The program of a case. A flat one has its 32-bit code in segments that begin at 0, as the translator wants it, and code that
 * gets hot.
 */
export function hostileGuest(dice: Dice, isFlat = false): FlatImage {
  const base = isFlat ? 0 : AT.CODE;
  const code = hostileCode(dice, CODE_BYTES / 16, {
    bits: dice.oneIn(isFlat ? 12 : 3) ? 16 : 32,
    addresses: ADDRESSES,
    ports: PORTS,
    codeBytes: CODE_BYTES,
    codeStart: AT.CODE - base,
    isBusy: isFlat,
  });
  const common = [
    { address: AT.CODE, bytes: code },
    { address: AT.DATA, bytes: words(dice, DATA_BYTES / 4) },
    { address: AT.STACK, bytes: words(dice, PAGE / 4) },
    { address: 0, bytes: interruptVectors() },
    { address: AT.REAL_HANDLER, bytes: realHandler() },
  ];
  if (dice.oneIn(isFlat ? 60 : 6)) return { loads: common, entry: AT.CODE, mode: "real" };
  const isPae = dice.oneIn(3);
  const loads = [
    ...common,
    { address: AT.GDT, bytes: descriptors(dice, base) },
    { address: AT.LDT, bytes: dice.bytes(128) },
    { address: AT.IDT, bytes: gates(dice) },
    { address: AT.HANDLERS, bytes: handlers(dice, base) },
    { address: AT.TSS, bytes: taskState(dice) },
    { address: AT.TSS_FAULT, bytes: faultTask(isPae) },
    { address: AT.TSS_OTHER, bytes: otherTask(dice, isPae, base) },
    { address: AT.TSS16, bytes: dice.bytes(44) },
    { address: AT.FRAMES, bytes: frames(dice, base) },
    ...pageTables(dice),
    { address: AT.STUB, bytes: stub(dice, isPae, base) },
  ];
  return { loads, entry: AT.STUB, mode: "protected" };
}

function words(dice: Dice, count: number): Uint8Array {
  const values = Uint32Array.from({ length: count }, () => dice.oneIn(2) ? dice.pick(ADDRESSES) : dice.value());
  return new Uint8Array(values.buffer);
}

// Descriptor tables.

function descriptor(type: number, base: number, limit: number, flags: number, dpl = 0, isSystem = false): number[] {
  const low = ((base & 0xffff) << 16) | (limit & 0xffff);
  const access = 0x80 | (dpl << 5) | (isSystem ? 0 : 0x10) | type;
  const high = ((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf0000) | (flags << 20) | (base & 0xff000000);
  return [...word(low), ...word(high)];
}

function gate(type: number, selector: number, offset: number, dpl: number): number[] {
  return [
    ...word((selector << 16) | (offset & 0xffff)),
    ...word((offset & 0xffff0000) | ((0x80 | (dpl << 5) | type) << 8)),
  ];
}

/** `base`: of the segments of 32-bit code. */
function descriptors(dice: Dice, base: number): Uint8Array {
  const CODE = 0xa, DATA = 2, WIDE = 0xc, NARROW = 0x8, ALL = 0xfffff;
  const table = [
    new Array<number>(8).fill(0),
    descriptor(CODE, base, ALL, WIDE),
    descriptor(DATA, 0, ALL, WIDE),
    descriptor(CODE, base, ALL, WIDE, 3),
    descriptor(DATA, 0, ALL, WIDE, 3),
    descriptor(CODE, AT.CODE, ALL, NARROW),
    descriptor(CODE, AT.CODE, ALL, NARROW, 3),
    descriptor(9, AT.TSS, dice.pick([0x67, 0x2067, 0x100]), 0, 0, true),
    descriptor(9, AT.TSS_FAULT, 0x67, 0, 0, true),
    descriptor(9, AT.TSS_OTHER, dice.pick([0x67, 0x66, 0x10]), 0, dice.below(4), true),
    descriptor(2, AT.LDT, 127, 0, 0, true),
    descriptor(1, AT.TSS16, 43, 0, dice.below(4), true),
    gate(dice.pick([4, 0xc]), SELECTOR.CODE, AT.CODE - base + dice.below(CODE_BYTES / 16) * 16, 3),
    gate(5, SELECTOR.TSS_OTHER, 0, 3),
    descriptor(0xe, base, ALL, WIDE),
    descriptor(CODE, 0, ALL, WIDE),
    descriptor(6, AT.DATA, dice.below(0x2000), dice.pick([0, 4, 8]), 3),
    descriptor(DATA, AT.DATA, dice.below(0x2000), 4, 3),
  ];
  while (table.length < DESCRIPTORS) {
    table.push(
      dice.oneIn(2) ? [...dice.bytes(8)] : descriptor(
        dice.below(16),
        dice.pick(ADDRESSES),
        dice.below(0x100000),
        dice.below(16),
        dice.below(4),
        dice.oneIn(2),
      ),
    );
  }
  return Uint8Array.from(table.flat());
}

function gates(dice: Dice): Uint8Array {
  const garbage = dice.oneIn(4) ? 20 : 0;
  const table = Array.from({ length: 256 }, (_, vector) => {
    if (vector === 8) return gate(5, SELECTOR.TSS_FAULT, 0, 0);
    if (garbage > 0 && dice.oneIn(garbage)) {
      return dice.oneIn(2)
        ? [...dice.bytes(8)]
        : gate(dice.pick([5, 6, 7, 0xe, 0xf]), dice.below(32) * 8, dice.word(), 3);
    }
    return gate(
      dice.oneIn(3) ? 0xf : 0xe,
      SELECTOR.FLAT_CODE,
      AT.HANDLERS + 0x10 * Math.min(vector, 0x40),
      dice.oneIn(4) ? 0 : 3,
    );
  });
  return Uint8Array.from(table.flat());
}

// Handlers.

const WITH_ERROR_CODE = [8, 10, 11, 12, 13, 14, 17];
const TF_NT_AC = 0x4_4100, VM = 0x2_0000;

/** Stubs for 64 vectors and one for the others, and their common part: on with the next slot of code. */
function handlers(dice: Dice, base: number): Uint8Array {
  const asm = new a.Assembler({ origin: AT.HANDLERS, bits: 32 });
  for (let vector = 0; vector <= 0x40; vector++) {
    asm.org(AT.HANDLERS + vector * 0x10);
    if (!WITH_ERROR_CODE.includes(vector)) asm.push(0);
    // Interrupts of the 8259s are acknowledged; sometimes nobody does.
    asm.jmp(a.near(vector >= 0x20 && vector < 0x30 && !dice.oneIn(8) ? "interrupt" : "common"));
  }
  asm.label("interrupt").push(a.eax).mov(a.al, 0x20).out(0x20, a.al).out(0xa0, a.al).pop(a.eax);
  // A stack beyond memory holds nothing, and every mode shall have its turn: both begin anew.
  asm.label("common").cmp(a.esp, MEMORY_MIB << 20).ja("again").test(a.mem32(AT.COUNTER, { segment: a.cs }), 0x1f0).jz(
    "again",
  );
  asm.push(a.ds).push(a.eax).mov(a.eax, SELECTOR.DATA).mov(a.ds, a.ax);
  asm.add(a.mem32(AT.COUNTER), 16).and(a.mem32(AT.COUNTER), CODE_BYTES - 16).mov(a.eax, a.mem32(AT.COUNTER));
  if (base !== AT.CODE) {
    asm.test(a.mem32(a.esp, { disp: 20 }), VM).jnz("narrow");
    for (const selector of [SELECTOR.CODE16, SELECTOR.USER_CODE16]) {
      asm.cmp(a.mem16(a.esp, { disp: 16 }), selector).jz("narrow");
    }
    asm.add(a.eax, AT.CODE - base).label("narrow");
  }
  asm.mov(a.mem32(a.esp, { disp: 12 }), a.eax).and(a.mem32(a.esp, { disp: 20 }), ~TF_NT_AC);
  asm.cmp(a.mem16(a.esp, { disp: 16 }), SELECTOR.FLAT_CODE).jnz("keep");
  asm.mov(a.mem16(a.esp, { disp: 16 }), SELECTOR.CODE);
  asm.label("keep").pop(a.eax).pop(a.ds).add(a.esp, 4).iret();
  asm.label("again").mov(a.eax, SELECTOR.DATA).mov(a.ds, a.ax).mov(a.ss, a.ax).mov(a.esp, AT.FAULT_STACK);
  asm.add(a.mem32(AT.COUNTER), 16).jmp(AT.STUB);
  return asm.assemble().bytes;
}

/** The real mode's table: every vector to one handler, which does the same. */
function interruptVectors(): Uint8Array {
  return new Uint8Array(new Uint32Array(256).fill(AT.REAL_HANDLER).buffer);
}

function realHandler(): Uint8Array {
  const asm = new a.Assembler({ origin: AT.REAL_HANDLER, bits: 16 });
  asm.push(a.bp).mov(a.bp, a.sp).push(a.ds).push(a.ax).xor(a.ax, a.ax).mov(a.ds, a.ax);
  asm.add(a.mem16(AT.COUNTER), 16).and(a.mem16(AT.COUNTER), CODE_BYTES - 16).mov(a.ax, a.mem16(AT.COUNTER));
  asm.mov(a.mem16(a.bp, { disp: 2 }), a.ax).mov(a.mem16(a.bp, { disp: 4 }), AT.CODE >> 4);
  asm.and(a.mem16(a.bp, { disp: 6 }), ~0x4100 & 0xffff).pop(a.ax).pop(a.ds).pop(a.bp).iret();
  return asm.assemble().bytes;
}

// Tasks.

function taskState(dice: Dice): Uint8Array {
  const tss = new Uint8Array(0x2068);
  const view = new DataView(tss.buffer);
  for (const [at, stack] of [[4, AT.KERNEL_STACK], [12, AT.STACK + 0x800], [20, AT.STACK + 0xc00]] as const) {
    view.setUint32(at, stack, true);
    view.setUint32(at + 4, SELECTOR.DATA, true);
  }
  view.setUint16(0x66, dice.oneIn(8) ? dice.word() : 0x68, true);
  if (!dice.oneIn(3)) tss.set(dice.bytes(0x800), 0x68);
  return tss;
}

/** The task that takes over after a double fault: mends the tables and launches again. */
function faultTask(isPae: boolean): Uint8Array {
  const tss = new Uint8Array(0x68), view = new DataView(tss.buffer);
  view.setUint32(0x1c, isPae ? AT.POINTER_TABLE : AT.PAGE_DIRECTORY, true);
  view.setUint32(0x20, AT.STUB, true);
  view.setUint32(0x24, 2, true);
  view.setUint32(0x38, AT.FAULT_STACK, true);
  const selectors = [[0x48, SELECTOR.DATA], [0x4c, SELECTOR.FLAT_CODE], [0x50, SELECTOR.DATA], [0x54, SELECTOR.DATA]];
  for (const [at, selector] of selectors) view.setUint16(at, selector, true);
  return tss;
}

function otherTask(dice: Dice, isPae: boolean, base: number): Uint8Array {
  const tss = faultTask(isPae), view = new DataView(tss.buffer);
  view.setUint32(0x20, AT.CODE - base + dice.below(CODE_BYTES / 16) * 16, true);
  view.setUint32(0x24, 2 | (dice.word() & 0x7_7fd5), true);
  view.setUint32(0x38, AT.STACK + 0x700, true);
  view.setUint16(0x4c, SELECTOR.CODE, true);
  while (dice.oneIn(2)) tss[dice.below(tss.length)] = dice.byte();
  return tss;
}

// Page tables.

const PRESENT = 1, WRITABLE = 2, USER = 4, LARGE = 0x80;

/** Identity of the first 4 MiB, devices above, and garbage here and there; without PAE and with. */
function pageTables(dice: Dice): { address: number; bytes: Uint8Array }[] {
  const all = PRESENT | WRITABLE | USER;
  const garbage = dice.pick([0, 400, 60]);
  const entry = (page: number) => {
    const address = page * PAGE;
    const isNeeded = address < 0x1_0000 || address === AT.STUB || address === AT.FRAMES;
    if (garbage === 0 || !dice.oneIn(isNeeded ? garbage * 20 : garbage)) return address | all;
    return dice.pick([
      0,
      dice.word(),
      address | dice.below(8),
      dice.pick(ADDRESSES) & -PAGE | dice.below(256),
      address | 0x1e7,
    ]);
  };
  const directory = new Uint32Array(1024), table = Uint32Array.from({ length: 1024 }, (_, page) => entry(page));
  directory[0] = AT.PAGE_TABLE | all;
  directory[1] = dice.pick([0, LARGE | all, AT.PAGE_TABLE | all, AT.PAGE_DIRECTORY | all, dice.word()]);
  directory[0x1ff] = AT.PAGE_DIRECTORY | all;
  for (const high of [0x380, 0x3fb, 0x3ff]) directory[high] = (high << 22) | LARGE | all;
  while (garbage > 0 && dice.oneIn(2)) directory[1 + dice.below(1023)] = dice.word();
  const pointers = new Uint32Array(8), pae = new Uint32Array(1024), paeTable = new Uint32Array(2048);
  for (let page = 0; page < 1024; page++) paeTable[page * 2] = entry(page);
  pointers[0] = AT.PAE_DIRECTORY | PRESENT;
  pointers[6] = AT.PAE_DIRECTORY | PRESENT;
  if (dice.oneIn(4)) pointers[2 + dice.below(6)] = dice.word();
  pae[0] = AT.PAE_TABLE | all;
  pae[2] = (AT.PAE_TABLE + PAGE) | all;
  // The devices, through the fourth GiB's directory, which is the same one.
  pae[0x1f6 * 2] = 0xfec0_0000 | LARGE | all;
  pae[0x1f7 * 2] = 0xfee0_0000 | LARGE | all;
  pae[0x100 * 2] = (3 * GIB + 0x2000_0000) | LARGE | all;
  while (garbage > 0 && dice.oneIn(2)) pae[4 + dice.below(1020)] = dice.word();
  const bytes = (of: Uint32Array) => new Uint8Array(of.buffer);
  return [
    { address: AT.PAGE_DIRECTORY, bytes: bytes(directory) },
    { address: AT.PAGE_TABLE, bytes: bytes(table) },
    { address: AT.POINTER_TABLE, bytes: bytes(pointers) },
    { address: AT.PAE_DIRECTORY, bytes: bytes(pae) },
    { address: AT.PAE_TABLE, bytes: bytes(paeTable) },
  ];
}

// The start.

/** What the launch pops: registers, segments, and IRET's frame, one for each mode. */
function frames(dice: Dice, base: number): Uint8Array {
  const bytes = new Uint8Array(FRAMES * FRAME_BYTES), view = new DataView(bytes.buffer);
  for (let frame = 0; frame < FRAMES; frame++) {
    const slot = dice.below(CODE_BYTES / 16) * 16;
    const wide = AT.CODE - base + slot;
    const kinds = ["system", "system16", "user", "user16", "v86", "garbage"];
    const kind = dice.pick(base === 0 ? [...kinds, "system", "system", "user", "user"] : kinds);
    const stack = AT.STACK + 0x400 + dice.below(0x200) * 4;
    const data = kind.startsWith("user") ? SELECTOR.USER_DATA : SELECTOR.DATA;
    const anyData = () => dice.oneIn(4) ? dice.pick([0, 0x80, 0x88, SELECTOR.USER_DATA, dice.word() & 0xffff]) : data;
    const flags = 2 | (dice.word() & 0x0cd5) | (dice.oneIn(2) ? 0x200 : 0) | (dice.oneIn(8) ? 0x100 : 0) |
      (dice.oneIn(3) ? dice.below(4) << 12 : 0) | (dice.oneIn(8) ? dice.word() & 0x3d_4000 & ~0x2_0000 : 0);
    const registers = Array.from({ length: 8 }, () => dice.oneIn(2) ? dice.pick(ADDRESSES) : dice.value());
    const segments = [anyData(), anyData(), data, data];
    const iret: readonly number[] = {
      system: [wide, SELECTOR.CODE, flags],
      system16: [slot, SELECTOR.CODE16, flags],
      user: [wide, SELECTOR.USER_CODE, flags, stack, SELECTOR.USER_DATA],
      user16: [slot, SELECTOR.USER_CODE16, flags, stack, SELECTOR.USER_DATA],
      v86: [
        slot,
        AT.CODE >> 4,
        flags | 0x2_0000,
        0x800,
        AT.STACK >> 4,
        AT.DATA >> 4,
        AT.DATA >> 4,
        0,
        dice.word() & 0xffff,
      ],
      garbage: Array.from({ length: 9 }, () => dice.value()),
    }[kind] ?? [];
    [...registers, ...segments, ...iret].forEach((value, i) =>
      view.setUint32(frame * FRAME_BYTES + FRAME_AT + i * 4, value >>> 0, true)
    );
  }
  return bytes;
}

/** TSD, DE, PGE. */
const CR4_BITS = 0x8c;

/** Loads the tables and control registers, sets timers and interrupt controllers up, and launches. */
function stub(dice: Dice, isPae: boolean, base: number): Uint8Array {
  const asm = new a.Assembler({ origin: AT.STUB, bits: 32 });
  const isPaged = !dice.oneIn(4);
  const cr4 = (dice.word() & CR4_BITS) | (dice.oneIn(8) ? 0 : 0x10) | (dice.oneIn(4) ? 0 : 0x600);
  const cr0 = 0x11 | (dice.word() & 0x1_0020) | (dice.oneIn(4) ? dice.word() & 0x6004_000e : 0) |
    (isPaged ? 0x8000_0000 : 0);
  const tableBase = AT.POINTERS;
  // After a double fault this is where the rescuer begins: busy bits go, and so do changes of the tables' places.
  asm.mov(a.mem8(AT.GDT + SELECTOR.TSS + 5), 0x89).mov(a.mem8(AT.GDT + SELECTOR.TSS_FAULT + 5), 0x89);
  asm.mov(a.mem16(tableBase), DESCRIPTORS * 8 - 1).mov(a.mem32(tableBase + 2), AT.GDT);
  asm.mov(a.mem16(tableBase + 8), 0x7ff).mov(a.mem32(tableBase + 10), AT.IDT);
  asm.lgdt(a.mem(tableBase)).lidt(a.mem(tableBase + 8));
  asm.mov(a.ax, SELECTOR.LDT).lldt(a.ax).mov(a.ax, SELECTOR.TSS).ltr(a.ax);
  asm.mov(a.eax, ((cr4 & ~0x20) | (isPae ? 0x20 : 0)) >>> 0).mov(a.cr4, a.eax);
  asm.mov(a.eax, isPae ? AT.POINTER_TABLE : AT.PAGE_DIRECTORY).mov(a.cr3, a.eax);
  asm.mov(a.eax, cr0 >>> 0).mov(a.cr0, a.eax).jmp("on").label("on");
  for (
    const [port, value] of [[0x20, 0x11], [0x21, 0x20], [0x21, 4], [0x21, 1], [0xa0, 0x11], [0xa1, 0x28], [0xa1, 2], [
      0xa1,
      1,
    ]]
  ) {
    asm.mov(a.al, value).out(port, a.al);
  }
  asm.mov(a.al, dice.oneIn(2) ? 0 : dice.byte()).out(0x21, a.al).mov(a.al, dice.byte()).out(0xa1, a.al);
  if (dice.oneIn(2)) {
    asm.mov(a.al, dice.byte() & 0x3f).out(0x43, a.al).mov(a.al, dice.byte()).out(0x40, a.al).mov(a.al, dice.byte());
    asm.out(0x40, a.al);
  }
  const debugRegisters = [a.dr0, a.dr1, a.dr2, a.dr3];
  if (dice.oneIn(4)) {
    for (const register of debugRegisters) asm.mov(a.eax, dice.pick(ADDRESSES)).mov(register, a.eax);
    asm.mov(a.eax, (dice.word() & 0xffff_03ff | 0x400) >>> 0).mov(a.dr7, a.eax);
  }
  if (dice.oneIn(2)) {
    for (
      const [msr, value] of [[0x174, SELECTOR.CODE], [0x175, AT.KERNEL_STACK], [
        0x176,
        AT.CODE - base + dice.below(512) * 16,
      ]]
    ) {
      asm.mov(a.ecx, msr).mov(a.eax, value).xor(a.edx, a.edx).wrmsr();
    }
  }
  asm.mov(a.eax, a.mem32(AT.LAUNCH)).inc(a.mem32(AT.LAUNCH)).and(a.eax, FRAMES - 1).imul(a.eax, a.eax, FRAME_BYTES);
  asm.lea(a.esp, a.mem(a.eax, { disp: AT.FRAMES + FRAME_AT })).popa().pop(a.gs).pop(a.fs).pop(a.es).pop(a.ds).iret();
  return asm.assemble().bytes;
}
