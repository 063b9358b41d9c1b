// Control transfers between segments and privilege levels: far JMP, CALL and RET, call gates, IRET, SYSENTER and SYSEXIT
// (SDM 3A, 5.8; SDM 2A and 2B under each instruction). Every check comes before the first change.

import { CS, DS, ECX, EDX, ES, ESP, FS, GS, IF, IOPL, NT, RF, SS, VM } from "./instruction.ts";
import { AC, DF, ID, STATUS_FLAGS, TF, VIF, VIP } from "./instruction.ts";
import * as D from "./descriptors.ts";
import { innerStack } from "./interrupts.ts";
import { Mode, type Processor } from "./processor.ts";
import { StackFrame } from "./stack_frame.ts";
import { availableTask, gatedTask, returnToTask, switchTask, type Task } from "./tasks.ts";
import { peekStack, setStackPointer } from "./interpreter/stack.ts";
import * as S from "./state.ts";

const V = S.Vector;

/** Loads CS and EIP for real and V86 mode. */
function jumpReal(cpu: Processor, selector: number, offset: number): void {
  if (offset >>> 0 > cpu.r[S.LIMIT + CS] >>> 0) cpu.raise(V.generalProtection, 0);
  if (cpu.isV86) D.setV86Segment(cpu, CS, selector);
  else D.setRealSegment(cpu, CS, selector);
  cpu.r[S.EIP] = offset;
}

/** Checks a code segment as the direct target of a far JMP or CALL. */
function checkDirectTarget(cpu: Processor, selector: number, d: D.Descriptor): void {
  const error = D.selectorError(selector), cpl = cpu.r[S.CPL], dpl = D.dplOf(d.high);
  const allowed = D.isConforming(d.high) ? dpl <= cpl : (selector & 3) <= cpl && dpl === cpl;
  if (!allowed) cpu.raise(V.generalProtection, error);
  if (!D.isPresent(d.high)) cpu.raise(V.segmentNotPresent, error);
}

function setCode(cpu: Processor, selector: number, d: D.Descriptor, offset: number): void {
  const marked = D.markAccessed(cpu, d);
  D.setSegment(cpu, CS, (selector & ~3) | cpu.r[S.CPL], marked);
  cpu.r[S.EIP] = offset;
}

/** A call gate that has passed its own checks. */
interface CallGate {
  readonly is32: boolean;
  readonly selector: number;
  readonly offset: number;
  readonly parameters: number;
  readonly code: D.Descriptor;
}

/** Reads and checks a call gate and its target; raises #GP where the descriptor is none. A jump stays within its level. */
function openGate(cpu: Processor, selector: number, d: D.Descriptor, isJump: boolean): CallGate {
  const error = D.selectorError(selector), cpl = cpu.r[S.CPL];
  const type = D.typeOf(d.high);
  if (type !== D.SystemType.callGate16 && type !== D.SystemType.callGate32) cpu.raise(V.generalProtection, error);
  if (D.dplOf(d.high) < cpl || D.dplOf(d.high) < (selector & 3)) cpu.raise(V.generalProtection, error);
  if (!D.isPresent(d.high)) cpu.raise(V.segmentNotPresent, error);
  const is32 = type === D.SystemType.callGate32;
  const target = d.low >>> 16, targetError = D.selectorError(target);
  if (targetError === 0) cpu.raise(V.generalProtection, 0);
  const code = D.readDescriptor(cpu, target, V.generalProtection);
  if (!D.isCode(code.high) || D.dplOf(code.high) > cpl) cpu.raise(V.generalProtection, targetError);
  if (isJump && !D.isConforming(code.high) && D.dplOf(code.high) !== cpl) cpu.raise(V.generalProtection, targetError);
  if (!D.isPresent(code.high)) cpu.raise(V.segmentNotPresent, targetError);
  const offset = is32 ? (d.low & 0xffff) | (d.high & 0xffff0000) : d.low & 0xffff;
  return { is32, selector: target, offset, parameters: d.high & 0x1f, code };
}

/** The task that a far JMP or CALL to a TSS or task gate means, after the privilege check; undefined for other descriptors. */
function openTask(cpu: Processor, selector: number, d: D.Descriptor): Task | undefined {
  const error = D.selectorError(selector), type = D.typeOf(d.high);
  const isTss = (type & ~(D.SystemType.tss16Busy | D.SystemType.tss32)) === 0 && (type & 1) !== 0;
  if (!isTss && type !== D.SystemType.taskGate) return undefined;
  if (D.dplOf(d.high) < Math.max(cpu.r[S.CPL], selector & 3)) cpu.raise(V.generalProtection, error);
  if (isTss) return availableTask(cpu, selector);
  if (!D.isPresent(d.high)) cpu.raise(V.segmentNotPresent, error);
  return gatedTask(cpu, d);
}

/** JMP ptr16:16/32 and JMP m16:16/32; `nextEip` is the address after the instruction. */
export function jumpFar(cpu: Processor, selector: number, offset: number, nextEip: number): void {
  if (!cpu.isProtected || cpu.isV86) return jumpReal(cpu, selector, offset);
  if (D.selectorError(selector) === 0) cpu.raise(V.generalProtection, 0);
  const d = D.readDescriptor(cpu, selector, V.generalProtection);
  if (D.isSegment(d.high)) {
    if (!D.isCode(d.high)) cpu.raise(V.generalProtection, D.selectorError(selector));
    checkDirectTarget(cpu, selector, d);
    if (offset >>> 0 > D.limitOf(d)) cpu.raise(V.generalProtection, 0);
    return setCode(cpu, selector, d, offset);
  }
  const task = openTask(cpu, selector, d);
  if (task !== undefined) return switchTask(cpu, task, { kind: "jump", returnEip: nextEip });
  const gate = openGate(cpu, selector, d, true);
  if (gate.offset >>> 0 > D.limitOf(gate.code)) cpu.raise(V.generalProtection, 0);
  setCode(cpu, gate.selector, gate.code, gate.offset);
}

/** CALL ptr16:16/32 and CALL m16:16/32; `wordBytes` is the operand size, `nextEip` the address after the instruction. */
export function callFar(cpu: Processor, selector: number, offset: number, wordBytes: 2 | 4, nextEip: number): void {
  const { r } = cpu;
  const sameStack = (size: 2 | 4) => {
    const frame = new StackFrame(cpu, r[S.BASE + SS], r[ESP], cpu.mode & Mode.stack32 ? -1 : 0xffff, size, r[S.CPL]);
    frame.check(2, r[S.LIMIT + SS], r[S.ATTRIBUTES + SS], 0);
    return frame;
  };
  const pushReturn = (frame: StackFrame, cs: number) => {
    frame.push(cs);
    frame.push(nextEip);
    frame.commit();
  };
  const cs = r[S.SELECTOR + CS];
  if (!cpu.isProtected || cpu.isV86) {
    const frame = sameStack(wordBytes);
    if (offset >>> 0 > r[S.LIMIT + CS] >>> 0) cpu.raise(V.generalProtection, 0);
    pushReturn(frame, cs);
    return jumpReal(cpu, selector, offset);
  }
  if (D.selectorError(selector) === 0) cpu.raise(V.generalProtection, 0);
  const d = D.readDescriptor(cpu, selector, V.generalProtection);
  if (D.isSegment(d.high)) {
    if (!D.isCode(d.high)) cpu.raise(V.generalProtection, D.selectorError(selector));
    checkDirectTarget(cpu, selector, d);
    const frame = sameStack(wordBytes);
    if (offset >>> 0 > D.limitOf(d)) cpu.raise(V.generalProtection, 0);
    pushReturn(frame, cs);
    return setCode(cpu, selector, d, offset);
  }
  const task = openTask(cpu, selector, d);
  if (task !== undefined) return switchTask(cpu, task, { kind: "call", returnEip: nextEip });
  const gate = openGate(cpu, selector, d, false);
  const size = gate.is32 ? 4 : 2;
  const dpl = D.dplOf(gate.code.high);
  if (D.isConforming(gate.code.high) || dpl === r[S.CPL]) {
    const frame = sameStack(size);
    if (gate.offset >>> 0 > D.limitOf(gate.code)) cpu.raise(V.generalProtection, 0);
    pushReturn(frame, cs);
    return setCode(cpu, gate.selector, gate.code, gate.offset);
  }
  const [stackSelector, stackPointer] = innerStack(cpu, dpl, 0);
  const stack = D.checkStackSegment(cpu, stackSelector, dpl, V.invalidTss);
  const frame = StackFrame.inSegment(cpu, stack, stackPointer, size, dpl);
  frame.checkDescriptor(4 + gate.parameters, stack, D.selectorError(stackSelector));
  if (gate.offset >>> 0 > D.limitOf(gate.code)) cpu.raise(V.generalProtection, 0);
  const parameters = Array.from({ length: gate.parameters }, (_, i) => peekStack(cpu, i * size, size));
  const marked = D.markAccessed(cpu, stack);
  const old = { ss: r[S.SELECTOR + SS], esp: r[ESP] };
  frame.push(old.ss);
  frame.push(old.esp);
  for (const parameter of parameters.toReversed()) frame.push(parameter);
  cpu.setCpl(dpl);
  D.setSegment(cpu, SS, stackSelector, marked);
  pushReturn(frame, cs);
  setCode(cpu, gate.selector, gate.code, gate.offset);
}

/** Checks CS popped by RET or IRET. */
function checkReturnCode(cpu: Processor, selector: number): D.Descriptor {
  const error = D.selectorError(selector), rpl = selector & 3;
  if (error === 0) cpu.raise(V.generalProtection, 0);
  const d = D.readDescriptor(cpu, selector, V.generalProtection);
  if (!D.isCode(d.high) || rpl < cpu.r[S.CPL]) cpu.raise(V.generalProtection, error);
  const dpl = D.dplOf(d.high);
  if (D.isConforming(d.high) ? dpl > rpl : dpl !== rpl) cpu.raise(V.generalProtection, error);
  if (!D.isPresent(d.high)) cpu.raise(V.segmentNotPresent, error);
  return d;
}

/** After a return to an outer level: data segments that it may not use become null (SDM 2B, "RET"). */
function dropInnerSegments(cpu: Processor): void {
  const { r } = cpu;
  for (const segment of [ES, FS, GS, DS]) {
    const attributes = r[S.ATTRIBUTES + segment];
    if (attributes & S.SEG_NULL) continue;
    const isConformingCode = (attributes & S.SEG_CODE) !== 0 && (attributes & S.SEG_CONFORMING) !== 0;
    if (!isConformingCode && D.dplOf(attributes) < r[S.CPL]) D.setNullSegment(cpu, segment, 0);
  }
}

/** RETF and RETF imm16: `release` bytes of parameters go too. */
export function returnFar(cpu: Processor, wordBytes: 2 | 4, release: number): void {
  const { r } = cpu;
  const offset = peekStack(cpu, 0, wordBytes), selector = peekStack(cpu, wordBytes, wordBytes) & 0xffff;
  const popped = 2 * wordBytes + release;
  if (!cpu.isProtected || cpu.isV86) {
    if (offset >>> 0 > r[S.LIMIT + CS] >>> 0) cpu.raise(V.generalProtection, 0);
    setStackPointer(cpu, (r[ESP] + popped) | 0);
    return jumpReal(cpu, selector, offset);
  }
  const d = checkReturnCode(cpu, selector);
  if ((selector & 3) === r[S.CPL]) {
    if (offset >>> 0 > D.limitOf(d)) cpu.raise(V.generalProtection, 0);
    setStackPointer(cpu, (r[ESP] + popped) | 0);
    return setCode(cpu, selector, d, offset);
  }
  const esp = peekStack(cpu, popped, wordBytes), ss = peekStack(cpu, popped + wordBytes, wordBytes) & 0xffff;
  returnOuter(cpu, selector, d, offset, ss, (esp + release) | 0, V.stackFault);
}

/** Switches to an outer level's code and stack. `absent` is the vector for a stack segment that is not present. */
function returnOuter(
  cpu: Processor,
  selector: number,
  d: D.Descriptor,
  offset: number,
  ss: number,
  esp: number,
  absent: number,
): void {
  const level = selector & 3;
  const stack = D.checkStackSegment(cpu, ss, level, V.generalProtection, 0, absent);
  if (offset >>> 0 > D.limitOf(d)) cpu.raise(V.generalProtection, 0);
  const markedStack = D.markAccessed(cpu, stack), markedCode = D.markAccessed(cpu, d);
  cpu.setCpl(level);
  D.setSegment(cpu, SS, ss, markedStack);
  setStackPointer(cpu, esp);
  setCode(cpu, selector, markedCode, offset);
  dropInnerSegments(cpu);
}

/** IRET and IRETD (SDM 2A): within a level, to an outer level, to V86 mode, or from a nested task. */
export function returnFromInterrupt(cpu: Processor, wordBytes: 2 | 4, nextEip: number): void {
  const { r } = cpu;
  r[S.PENDING] &= ~S.Pending.nmiBlocked;
  const size32 = wordBytes === 4;
  if (cpu.isProtected && !cpu.isV86 && (r[S.FLAGS_OTHER] & NT) !== 0) return returnToTask(cpu, nextEip);
  if (cpu.isV86 && cpu.iopl < 3) cpu.raise(V.generalProtection, 0);
  const offset = peekStack(cpu, 0, wordBytes), selector = peekStack(cpu, wordBytes, wordBytes) & 0xffff;
  const flags = peekStack(cpu, 2 * wordBytes, wordBytes);
  const common = STATUS_FLAGS | TF | DF | NT | (size32 ? RF | AC | ID : 0);
  if (!cpu.isProtected || cpu.isV86) {
    if (offset >>> 0 > r[S.LIMIT + CS] >>> 0) cpu.raise(V.generalProtection, 0);
    const iopl = cpu.isV86 ? 0 : IOPL;
    setStackPointer(cpu, (r[ESP] + 3 * wordBytes) | 0);
    jumpReal(cpu, selector, offset);
    return cpu.setEflags(flags, common | IF | iopl);
  }
  if (size32 && (flags & VM) !== 0 && r[S.CPL] === 0) return returnToV86(cpu, offset, selector, flags);
  const cpl = r[S.CPL];
  const mask = common | (cpl <= cpu.iopl ? IF : 0) | (cpl === 0 ? IOPL | (size32 ? VIF | VIP : 0) : 0);
  const d = checkReturnCode(cpu, selector);
  if ((selector & 3) === cpl) {
    if (offset >>> 0 > D.limitOf(d)) cpu.raise(V.generalProtection, 0);
    setStackPointer(cpu, (r[ESP] + 3 * wordBytes) | 0);
    setCode(cpu, selector, d, offset);
  } else {
    const esp = peekStack(cpu, 3 * wordBytes, wordBytes), ss = peekStack(cpu, 4 * wordBytes, wordBytes) & 0xffff;
    returnOuter(cpu, selector, d, offset, ss, esp, V.segmentNotPresent);
  }
  cpu.setEflags(flags, mask);
}

/** Limit of every segment in V86 mode. */
const V86_LIMIT = 0xffff;

function returnToV86(cpu: Processor, offset: number, selector: number, flags: number): void {
  const esp = peekStack(cpu, 12, 4), ss = peekStack(cpu, 16, 4);
  const [es, ds, fs, gs] = [20, 24, 28, 32].map((at) => peekStack(cpu, at, 4));
  if (offset >>> 0 > V86_LIMIT) cpu.raise(V.generalProtection, 0);
  cpu.setEflags(flags, STATUS_FLAGS | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID);
  cpu.setCpl(3);
  for (const [segment, value] of [[CS, selector], [SS, ss], [ES, es], [DS, ds], [FS, fs], [GS, gs]]) {
    D.setV86Segment(cpu, segment, value);
  }
  cpu.r[ESP] = esp;
  cpu.r[S.EIP] = offset;
}

/** A flat 4 GiB descriptor of SYSENTER and SYSEXIT: code or data, at a privilege level. */
function flatDescriptor(isCode: boolean, dpl: number): D.Descriptor {
  const type = isCode ? S.SEG_CODE | S.SEG_READABLE : S.SEG_WRITABLE;
  const high = 0x000f0000 | S.SEG_G | S.SEG_DB | S.SEG_P | S.SEG_S | S.SEG_ACCESSED | type | (dpl << S.SEG_DPL_SHIFT);
  return { low: 0xffff, high, address: 0 };
}

function enterFlat(cpu: Processor, cs: number, ss: number, level: number): void {
  cpu.setCpl(level);
  D.setSegment(cpu, CS, cs, flatDescriptor(true, level));
  D.setSegment(cpu, SS, ss, flatDescriptor(false, level));
}

export function systemEnter(cpu: Processor): void {
  const { r } = cpu;
  const cs = r[S.SYSENTER_CS] & 0xfffc;
  if (!cpu.isProtected || cs === 0) cpu.raise(V.generalProtection, 0);
  cpu.setEflags(0, VM | IF | RF);
  enterFlat(cpu, cs, cs + 8, 0);
  r[ESP] = r[S.SYSENTER_ESP];
  r[S.EIP] = r[S.SYSENTER_EIP];
}

export function systemExit(cpu: Processor): void {
  const { r } = cpu;
  const cs = r[S.SYSENTER_CS] & 0xfffc;
  if (!cpu.isProtected || r[S.CPL] !== 0 || cs === 0) cpu.raise(V.generalProtection, 0);
  enterFlat(cpu, (cs + 16) | 3, (cs + 24) | 3, 3);
  r[ESP] = r[ECX];
  r[S.EIP] = r[EDX];
}
