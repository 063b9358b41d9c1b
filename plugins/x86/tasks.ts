// Hardware task switches (SDM 3A, chapter 7): by JMP and CALL to a task-state segment or task gate, by IRET with NT, and by
// events through task gates. Up to the commit point a fault leaves the old task as it was; after it, the new task faults
// before its first instruction.

import { AC, CS, DF, DS, ES, ESP, FS, GS, ID, IF, IOPL, NT, RF, SS, STATUS_FLAGS, TF } from "./instruction.ts";
import { VIF, VIP, VM } from "./instruction.ts";
import { disableLocalBreakpoints, DR6_BT, pendDebugTrap } from "./debug.ts";
import * as D from "./descriptors.ts";
import { StackFrame } from "./stack_frame.ts";
import { GuestFault } from "./fault.ts";
import { Mode, type Processor } from "./processor.ts";
import { setCr3 } from "./interpreter/system.ts";
import * as S from "./state.ts";

const V = S.Vector;

/** A task-state segment that may be switched to. */
export interface Task {
  readonly selector: number;
  readonly tss: D.Descriptor;
}

/** What brought a switch about, as table 7-2 tells them apart. */
export interface Switch {
  /** `call` nests: back link, NT, both tasks busy. `return` is IRET; `jump` abandons the old task too. */
  readonly kind: "jump" | "call" | "return";
  /** EIP that the old task's segment keeps. */
  readonly returnEip: number;
  /** EFLAGS bits added to those that it keeps: RF for a fault. */
  readonly imageFlags?: number;
  /** The EXT bit of error codes: an event from outside the program brings the switch about. */
  readonly ext?: 0 | 1;
  /** Pushed on the new task's stack. */
  readonly errorCode?: number;
}

/** Where the fields of a task-state segment lie, in bytes (figures 7-2 and 7-10), and how it is to be read. */
interface Layout {
  readonly wordBytes: 2 | 4;
  /** Least limit. */
  readonly limit: number;
  readonly eip: number;
  readonly eflags: number;
  /** EAX; the others follow by number. */
  readonly registers: number;
  /** ES; CS, SS, DS follow, and FS, GS in the 32-bit one. */
  readonly segments: number;
  readonly segmentCount: number;
  readonly ldt: number;
  /** First byte past what a switch writes. */
  readonly savedEnd: number;
}

const LINK = 0, CR3_AT = 0x1c, TRAP_AT = 0x64, TRAP_BIT = 1;
const TSS32: Layout = {
  wordBytes: 4,
  limit: 0x67,
  eip: 0x20,
  eflags: 0x24,
  registers: 0x28,
  segments: 0x48,
  segmentCount: 6,
  ldt: 0x60,
  savedEnd: 0x5e,
};
const TSS16: Layout = {
  wordBytes: 2,
  limit: 0x2b,
  eip: 0x0e,
  eflags: 0x10,
  registers: 0x12,
  segments: 0x22,
  segmentCount: 4,
  ldt: 0x2a,
  savedEnd: 0x2a,
};

/** Type bits of a TSS descriptor's high word: 32-bit, busy. */
const TYPE_32 = 8 << 8, TYPE_BUSY = 2 << 8;

const layoutOf = (high: number): Layout => high & TYPE_32 ? TSS32 : TSS16;

/** EFLAGS bits that exist. */
const EFLAGS_BITS = STATUS_FLAGS | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
/** What a 16-bit general register's other half becomes: undefined; ones, as Bochs has it. */
const UPPER_ONES = 0xffff0000 | 0;

const isTss = (high: number): boolean => !D.isSegment(high) && (D.typeOf(high) & ~2 & ~8) === D.SystemType.tss16;

/**
 * The task that a selector names, for JMP, CALL and task gates: its descriptor must be in the GDT, available and present.
 * Raises #GP or #NP with the selector.
 */
export function availableTask(cpu: Processor, selector: number, ext: 0 | 1 = 0): Task {
  const error = D.selectorError(selector) | ext;
  if (selector & 4 || D.selectorError(selector) === 0) cpu.raise(V.generalProtection, error);
  const tss = D.readDescriptor(cpu, selector, V.generalProtection, ext);
  if (!isTss(tss.high) || (tss.high & TYPE_BUSY) !== 0) cpu.raise(V.generalProtection, error);
  if (!D.isPresent(tss.high)) cpu.raise(V.segmentNotPresent, error);
  return { selector, tss };
}

/** The task behind a task gate in GDT, LDT or IDT; the gate itself has passed its checks. */
export function gatedTask(cpu: Processor, gate: { readonly low: number }, ext: 0 | 1 = 0): Task {
  return availableTask(cpu, gate.low >>> 16, ext);
}

/** IRET with NT: back to the task that the present segment's link names. Raises #TS and #NP. */
export function returnToTask(cpu: Processor, nextEip: number): void {
  const selector = cpu.systemRead16((cpu.r[S.BASE + S.TR] + LINK) | 0);
  const error = D.selectorError(selector);
  if (selector & 4 || error === 0) cpu.raise(V.invalidTss, error);
  const tss = D.readDescriptor(cpu, selector, V.invalidTss);
  if (!isTss(tss.high) || !(tss.high & TYPE_BUSY)) cpu.raise(V.invalidTss, error);
  if (!D.isPresent(tss.high)) cpu.raise(V.segmentNotPresent, error);
  switchTask(cpu, { selector, tss }, { kind: "return", returnEip: nextEip });
}

/** Switches to a task (7.3, steps 4 to 14). */
export function switchTask(cpu: Processor, task: Task, how: Switch): void {
  const { r } = cpu, { tss, selector } = task, { kind, ext = 0 } = how;
  const layout = layoutOf(tss.high), base = D.baseOf(tss);
  const oldLayout = layoutOf(r[S.ATTRIBUTES + S.TR]), oldBase = r[S.BASE + S.TR], oldSelector = r[S.SELECTOR + S.TR];
  const oldDescriptorHigh = (r[S.GDTR_BASE] + (oldSelector & 0xfff8) + 4) | 0;

  if (D.limitOf(tss) < layout.limit) cpu.raise(V.invalidTss, D.selectorError(selector) | ext);
  if ((r[S.ATTRIBUTES + S.TR] & S.SEG_NULL) !== 0 || r[S.LIMIT + S.TR] >>> 0 < oldLayout.savedEnd - 1) {
    cpu.raise(V.invalidTss, D.selectorError(oldSelector) | ext);
  }
  // Everything that is to be read or written must be in memory: a page fault is the old task's.
  const saved = (oldBase + oldLayout.eip) | 0;
  cpu.mmu.checkSlow(saved, oldLayout.savedEnd - oldLayout.eip, true, 0);
  cpu.mmu.checkSlow(base, layout.limit + 1, false, 0);
  if (kind === "call") cpu.mmu.checkSlow((base + LINK) | 0, 2, true, 0);
  if (kind !== "call") cpu.mmu.checkSlow(oldDescriptorHigh, 4, true, 0);
  if (kind !== "return") cpu.mmu.checkSlow((tss.address + 4) | 0, 4, true, 0);

  if (kind !== "call") cpu.systemWrite32(oldDescriptorHigh, cpu.systemRead32(oldDescriptorHigh) & ~TYPE_BUSY);
  saveState(cpu, oldBase, oldLayout, how);
  const state = readState(cpu, base, layout);
  if (kind === "call") cpu.systemWrite16((base + LINK) | 0, oldSelector);
  const busy = { ...tss, high: tss.high | TYPE_BUSY };
  if (kind !== "return") cpu.systemWrite32((tss.address + 4) | 0, busy.high);
  try {
    // The commit point (step 12).
    D.setSegment(cpu, S.TR, selector, busy);
    enterTask(cpu, layout, state, how);
  } catch (signal) {
    if (signal instanceof GuestFault) signal.inNewTask = true;
    throw signal;
  }
}

/** Writes registers, flags and selectors into the old task's segment. */
function saveState(cpu: Processor, base: number, layout: Layout, how: Switch): void {
  const { r } = cpu;
  const write = (at: number, value: number) => cpu.mmu.writeSlow((base + at) | 0, layout.wordBytes, value, 0);
  const flags = cpu.eflags() | (how.imageFlags ?? 0);
  write(layout.eip, how.returnEip);
  write(layout.eflags, how.kind === "return" ? flags & ~NT : flags);
  for (let i = 0; i < 8; i++) write(layout.registers + i * layout.wordBytes, r[S.REG + i]);
  for (let i = 0; i < layout.segmentCount; i++) {
    cpu.systemWrite16((base + layout.segments + i * layout.wordBytes) | 0, r[S.SELECTOR + i]);
  }
}

/** What a task-state segment says of its task. */
interface TaskState {
  readonly cr3: number | undefined;
  readonly eip: number;
  readonly eflags: number;
  readonly registers: readonly number[];
  readonly selectors: readonly number[];
  readonly ldt: number;
  readonly traps: boolean;
}

function readState(cpu: Processor, base: number, layout: Layout): TaskState {
  const { wordBytes } = layout;
  const half = (at: number) => cpu.systemRead16((base + at) | 0);
  const read = (at: number) => wordBytes === 4 ? cpu.systemRead32((base + at) | 0) : half(at);
  const each = (count: number, field: (i: number) => number) => Array.from({ length: count }, (_, i) => field(i));
  const is32 = wordBytes === 4;
  return {
    cr3: is32 ? read(CR3_AT) : undefined,
    eip: read(layout.eip),
    eflags: read(layout.eflags),
    registers: each(8, (i) => read(layout.registers + i * wordBytes) | (is32 ? 0 : UPPER_ONES)),
    // The 16-bit segment has no FS and GS: they become null.
    selectors: each(6, (i) => i < layout.segmentCount ? half(layout.segments + i * wordBytes) : 0),
    ldt: half(layout.ldt),
    traps: is32 && (half(TRAP_AT) & TRAP_BIT) !== 0,
  };
}

/** Loads the new task's state; what faults here faults in the new task. */
function enterTask(cpu: Processor, layout: Layout, state: TaskState, how: Switch): void {
  const { r } = cpu, { ext = 0 } = how, { selectors } = state;
  r[S.CR0] |= S.CR0_TS;
  disableLocalBreakpoints(cpu);
  r[S.EIP] = state.eip;
  for (let i = 0; i < 8; i++) r[S.REG + i] = state.registers[i];
  // Selectors first, with nothing behind them; then the descriptors one by one.
  for (let segment = 0; segment < 6; segment++) D.setNullSegment(cpu, segment, selectors[segment]);
  D.setNullSegment(cpu, S.LDTR, state.ldt);
  cpu.setEflags(state.eflags | (how.kind === "call" ? NT : 0), EFLAGS_BITS);
  cpu.setCpl(cpu.isV86 ? 3 : selectors[CS] & 3);
  if (state.cr3 !== undefined && (r[S.CR0] & S.CR0_PG) !== 0) setCr3(cpu, state.cr3);

  loadTaskLdt(cpu, state.ldt, ext);
  if (cpu.isV86) { for (let segment = 0; segment < 6; segment++) D.setV86Segment(cpu, segment, selectors[segment]); }
  else {
    loadTaskCode(cpu, selectors[CS], ext);
    D.loadStackSegment(cpu, selectors[SS], r[S.CPL], V.invalidTss, ext);
    for (const segment of [ES, DS, FS, GS]) loadTaskData(cpu, segment, selectors[segment], ext);
  }
  if (how.errorCode !== undefined) pushErrorCode(cpu, layout.wordBytes, how.errorCode, ext);
  if (r[S.EIP] >>> 0 > r[S.LIMIT + CS] >>> 0) cpu.raise(V.generalProtection, ext);
  if (state.traps) pendDebugTrap(cpu, DR6_BT);
}

function loadTaskLdt(cpu: Processor, selector: number, ext: number): void {
  const error = D.selectorError(selector) | ext;
  if (D.selectorError(selector) === 0) return;
  if (selector & 4) cpu.raise(V.invalidTss, error);
  const d = D.readDescriptor(cpu, selector, V.invalidTss, ext);
  if (D.isSegment(d.high) || D.typeOf(d.high) !== D.SystemType.ldt || !D.isPresent(d.high)) {
    cpu.raise(V.invalidTss, error);
  }
  D.setSegment(cpu, S.LDTR, selector, d);
}

function loadTaskCode(cpu: Processor, selector: number, ext: number): void {
  const error = D.selectorError(selector) | ext, rpl = selector & 3;
  if (D.selectorError(selector) === 0) cpu.raise(V.invalidTss, error);
  const d = D.readDescriptor(cpu, selector, V.invalidTss, ext), dpl = D.dplOf(d.high);
  const fits = D.isCode(d.high) && (D.isConforming(d.high) ? dpl <= rpl : dpl === rpl);
  if (!fits) cpu.raise(V.invalidTss, error);
  if (!D.isPresent(d.high)) cpu.raise(V.segmentNotPresent, error);
  D.setSegment(cpu, CS, selector, D.markAccessed(cpu, d));
}

function loadTaskData(cpu: Processor, segment: number, selector: number, ext: number): void {
  const error = D.selectorError(selector) | ext;
  if (D.selectorError(selector) === 0) return;
  const d = D.readDescriptor(cpu, selector, V.invalidTss, ext);
  const isReadable = D.isSegment(d.high) && (!D.isCode(d.high) || (d.high & S.SEG_READABLE) !== 0);
  const privilege = Math.max(cpu.r[S.CPL], selector & 3);
  const isOpen = (D.isCode(d.high) && D.isConforming(d.high)) || D.dplOf(d.high) >= privilege;
  if (!isReadable || !isOpen) cpu.raise(V.invalidTss, error);
  if (!D.isPresent(d.high)) cpu.raise(V.segmentNotPresent, error);
  D.setSegment(cpu, segment, selector, D.markAccessed(cpu, d));
}

function pushErrorCode(cpu: Processor, wordBytes: 2 | 4, errorCode: number, ext: number): void {
  const { r } = cpu;
  const mask = cpu.mode & Mode.stack32 ? -1 : 0xffff;
  const frame = new StackFrame(cpu, r[S.BASE + SS], r[ESP], mask, wordBytes, r[S.CPL]);
  frame.check(1, r[S.LIMIT + SS], r[S.ATTRIBUTES + SS], ext);
  frame.push(errorCode);
  frame.commit();
}
