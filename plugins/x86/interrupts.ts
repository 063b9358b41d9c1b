// Delivery of exceptions, interrupts and INT n through the interrupt table (SDM 3A, chapter 6; SDM 2A, "INT n"): real-mode
// vectors, interrupt and trap gates, stack switch through the TSS, error codes, double and triple faults.

import { CS, DS, ES, ESP, FS, GS, IF, NT, RF, SS, TF, VM } from "./instruction.ts";
import { AC } from "./instruction.ts";
import * as D from "./descriptors.ts";
import { GuestFault } from "./fault.ts";
import { Mode, type Processor } from "./processor.ts";
import { allowDebugAccess } from "./debug.ts";
import { describeState } from "./registers.ts";
import { StackFrame } from "./stack_frame.ts";
import { gatedTask, switchTask } from "./tasks.ts";
import * as S from "./state.ts";

/** What an event is to the guest: `fault` an exception, `interrupt` external, `software` INT n, INT3 or INTO. */
export type EventKind = "fault" | "interrupt" | "software";

const V = S.Vector;

/** Exceptions that make a double fault of a second one (SDM 3A, table 6-5). */
const isContributory = (vector: number): boolean =>
  vector === V.divideError || (vector >= V.invalidTss && vector <= V.generalProtection);

/**
 * Delivers an exception, EIP being that of the instruction that raised it, or of the next one for a trap. `imageFlags` is
 * added to the EFLAGS that are pushed: RF for all faults but instruction breakpoints (SDM 3B, 17.3.1.1). A fault during
 * delivery becomes a double fault where the SDM says so; a fault during that ends the VM.
 */
export function deliverFault(
  cpu: Processor,
  vector: number,
  errorCode: number | undefined,
  imageFlags: number = RF,
): void {
  let first = vector, code = errorCode;
  for (;;) {
    try {
      // What an instruction that has not completed met of data breakpoints does not count.
      cpu.breakpointHits = 0;
      return deliver(cpu, first, code, "fault", cpu.r[S.EIP], first === vector ? imageFlags : RF);
    } catch (signal) {
      if (!(signal instanceof GuestFault)) throw signal;
      const second = signal.vector;
      if (first === V.doubleFault) return tripleFault(cpu, vector);
      const doubles = (isContributory(first) && isContributory(second)) ||
        (first === V.pageFault && (isContributory(second) || second === V.pageFault));
      code = doubles ? 0 : signal.errorCode;
      first = doubles ? V.doubleFault : second;
    }
  }
}

/** Delivers an external interrupt or NMI: a fault during it is handled as that of an instruction at EIP. */
export function deliverInterrupt(cpu: Processor, vector: number): void {
  try {
    deliver(cpu, vector, undefined, "interrupt", cpu.r[S.EIP], 0);
  } catch (signal) {
    if (!(signal instanceof GuestFault)) throw signal;
    deliverFault(cpu, signal.vector, signal.errorCode);
  }
}

/** INT n, INT3 and INTO: raises what the gate's checks find; pushes the address after the instruction. */
export function softwareInterrupt(cpu: Processor, vector: number, nextEip: number): void {
  deliver(cpu, vector, undefined, "software", nextEip, 0);
}

/** INT1: as INT n with the vector of the debug exception, but no gate's DPL keeps it out (SDM 2A, "INT n"). */
export function debugInterrupt(cpu: Processor, nextEip: number): void {
  deliver(cpu, V.debug, undefined, "fault", nextEip, 0);
}

function tripleFault(cpu: Processor, cause: number): void {
  const detail = `triple fault: exception ${cause}, and no double-fault handler\n${describeState(cpu)}`;
  cpu.vm.end({ reason: "triple-fault", status: 3, detail });
}

function deliver(
  cpu: Processor,
  vector: number,
  errorCode: number | undefined,
  kind: EventKind,
  returnEip: number,
  imageFlags: number,
): void {
  if (!cpu.isProtected) deliverReal(cpu, vector, returnEip);
  else deliverProtected(cpu, vector, errorCode, kind, returnEip, imageFlags);
  cpu.r[S.HALTED] = 0;
  cpu.suppressTrap = true;
  if (vector === V.debug && kind === "fault") allowDebugAccess(cpu);
  cpu.updateAttention();
  if (cpu.delivered.active) cpu.delivered.emit({ vm: cpu.vm, vector, kind, eip: returnEip >>> 0, errorCode });
}

/** Through the real-mode vector table: FLAGS, CS and IP on a 16-bit frame. */
function deliverReal(cpu: Processor, vector: number, returnEip: number): void {
  const { r } = cpu;
  const entry = vector * 4;
  if (entry + 3 > r[S.IDTR_LIMIT] >>> 0) cpu.raise(V.generalProtection, 0);
  const target = cpu.systemRead32((r[S.IDTR_BASE] + entry) | 0);
  const frame = new StackFrame(cpu, r[S.BASE + SS], r[ESP], cpu.mode & Mode.stack32 ? -1 : 0xffff, 2, 0);
  frame.check(3, r[S.LIMIT + SS], r[S.ATTRIBUTES + SS], 0);
  frame.push(cpu.eflags());
  frame.push(r[S.SELECTOR + CS]);
  frame.push(returnEip);
  frame.commit();
  D.setRealSegment(cpu, CS, target >>> 16);
  r[S.EIP] = target & 0xffff;
  cpu.setEflags(0, IF | TF | AC | RF);
}

function deliverProtected(
  cpu: Processor,
  vector: number,
  errorCode: number | undefined,
  kind: EventKind,
  returnEip: number,
  imageFlags: number,
): void {
  const { r } = cpu;
  const isSoftware = kind === "software";
  const ext = isSoftware ? 0 : 1;
  const idtError = vector * 8 + 2 + ext;
  const entry = vector * 8;
  if (entry + 7 > r[S.IDTR_LIMIT] >>> 0) cpu.raise(V.generalProtection, idtError);
  const low = cpu.systemRead32((r[S.IDTR_BASE] + entry) | 0), high = cpu.systemRead32((r[S.IDTR_BASE] + entry + 4) | 0);
  const type = D.typeOf(high);
  const isTrap = type === D.SystemType.trapGate16 || type === D.SystemType.trapGate32;
  const isGate = isTrap || type === D.SystemType.interruptGate16 || type === D.SystemType.interruptGate32;
  const isTaskGate = type === D.SystemType.taskGate;
  if (D.isSegment(high) || !(isGate || isTaskGate)) cpu.raise(V.generalProtection, idtError);
  if (isSoftware && D.dplOf(high) < r[S.CPL]) cpu.raise(V.generalProtection, idtError);
  if (!D.isPresent(high)) cpu.raise(V.segmentNotPresent, idtError);
  if (isTaskGate) {
    return switchTask(cpu, gatedTask(cpu, { low }, ext), { kind: "call", returnEip, imageFlags, ext, errorCode });
  }
  const is32 = (type & 8) !== 0;
  const offset = is32 ? (low & 0xffff) | (high & 0xffff0000) : low & 0xffff;

  const selector = low >>> 16;
  const codeError = D.selectorError(selector) | ext;
  if (D.selectorError(selector) === 0) cpu.raise(V.generalProtection, ext);
  const code = D.readDescriptor(cpu, selector, V.generalProtection, ext);
  const cpl = r[S.CPL], dpl = D.dplOf(code.high);
  if (!D.isCode(code.high) || dpl > cpl) cpu.raise(V.generalProtection, codeError);
  if (!D.isPresent(code.high)) cpu.raise(V.segmentNotPresent, codeError);

  const flags = cpu.eflags() | imageFlags;
  const wordBytes = is32 ? 4 : 2;
  const fromV86 = cpu.isV86;
  const inner = !D.isConforming(code.high) && dpl < cpl;
  if (fromV86 && (!inner || dpl !== 0)) cpu.raise(V.generalProtection, codeError);
  const words = 3 + (errorCode === undefined ? 0 : 1);
  let frame: StackFrame;
  if (inner) {
    const [stackSelector, stackPointer] = innerStack(cpu, dpl, ext);
    const stack = D.checkStackSegment(cpu, stackSelector, dpl, V.invalidTss, ext);
    const old = { ss: r[S.SELECTOR + SS], esp: r[ESP] };
    frame = StackFrame.inSegment(cpu, stack, stackPointer, wordBytes, dpl);
    frame.checkDescriptor(words + 2 + (fromV86 ? 4 : 0), stack, D.selectorError(stackSelector) | ext);
    if (offset >>> 0 > D.limitOf(code)) cpu.raise(V.generalProtection, ext);
    if (fromV86) { for (const segment of [GS, FS, DS, ES]) frame.push(r[S.SELECTOR + segment]); }
    frame.push(old.ss);
    frame.push(old.esp);
    pushReturn(cpu, frame, flags, returnEip, errorCode);
    const markedStack = D.markAccessed(cpu, stack);
    if (fromV86) {
      cpu.setEflags(0, VM);
      for (const segment of [GS, FS, DS, ES]) D.setNullSegment(cpu, segment, 0);
    }
    cpu.setCpl(dpl);
    D.setSegment(cpu, SS, stackSelector, markedStack);
  } else {
    frame = new StackFrame(cpu, r[S.BASE + SS], r[ESP], cpu.mode & Mode.stack32 ? -1 : 0xffff, wordBytes, cpl);
    frame.check(words, r[S.LIMIT + SS], r[S.ATTRIBUTES + SS], ext);
    if (offset >>> 0 > D.limitOf(code)) cpu.raise(V.generalProtection, ext);
    pushReturn(cpu, frame, flags, returnEip, errorCode);
  }
  const marked = D.markAccessed(cpu, code);
  frame.commit();
  D.setSegment(cpu, CS, (selector & ~3) | r[S.CPL], marked);
  r[S.EIP] = offset;
  cpu.setEflags(0, TF | NT | RF | VM | (isTrap ? 0 : IF));
}

function pushReturn(
  cpu: Processor,
  frame: StackFrame,
  flags: number,
  eip: number,
  errorCode: number | undefined,
): void {
  frame.push(flags);
  frame.push(cpu.r[S.SELECTOR + CS]);
  frame.push(eip);
  if (errorCode !== undefined) frame.push(errorCode);
}

/** SS and ESP for an inner level, from the present task-state segment (SDM 3A, 7.2.1). Raises #TS. */
export function innerStack(cpu: Processor, level: number, ext: number): [selector: number, pointer: number] {
  const { r } = cpu;
  const is32 = (r[S.ATTRIBUTES + S.TR] & (8 << 8)) !== 0;
  const at = is32 ? 4 + level * 8 : 2 + level * 4;
  const last = at + (is32 ? 5 : 3);
  if ((r[S.ATTRIBUTES + S.TR] & S.SEG_NULL) !== 0 || last > r[S.LIMIT + S.TR] >>> 0) {
    cpu.raise(V.invalidTss, D.selectorError(r[S.SELECTOR + S.TR]) | ext);
  }
  const address = (r[S.BASE + S.TR] + at) | 0;
  if (!is32) return [cpu.systemRead16((address + 2) | 0), cpu.systemRead16(address)];
  return [cpu.systemRead16((address + 4) | 0), cpu.systemRead32(address)];
}
