// PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER and LEAVE (Intel SDM 2A and 2B). The stack pointer moves last, so that an
// instruction whose access faults can be restarted.

import { AC, DF, EBP, ESP, ID, IF, IOPL, NT, RF, STATUS_FLAGS, TF, VM } from "../instruction.ts";
import { Mode, type Processor } from "../processor.ts";
import { CPL, Vector } from "../state.ts";
import { cutImmediate, displacedAddress, operandRegister } from "./operands.ts";
import { type Binder, halfIndex, type Handler, type Operation, readAddress } from "./operation.ts";
import { framePointer, peekStack, push16, push32, setStackPointer, stackAddress } from "./stack.ts";

/** Binders by handler name. */
export const stackBinders: Record<string, Binder> = {
  push: bindPush,
  pop: bindPop,
  pusha: (op) => op.instruction.operandSize === 32 ? pusha32 : pusha16,
  popa: (op) => op.instruction.operandSize === 32 ? popa32 : popa16,
  pushf: () => pushf,
  popf: () => popf,
  enter: () => enter,
  leave: (op) => op.instruction.operandSize === 32 ? leave32 : leave16,
};

/** A stack in a flat 32-bit segment: no check, no choice of SP. */
function hasFlatStack(op: Operation): boolean {
  return (op.mode & (Mode.flat | Mode.stack32)) === (Mode.flat | Mode.stack32);
}

// PUSH. PUSH ESP pushes what ESP was before.

function bindPush(op: Operation): Handler {
  const [operand] = op.instruction.row.operands;
  const is32 = op.instruction.operandSize === 32;
  if (operand[0] === "I") {
    op.immediate = cutImmediate(op.immediate, op.instruction.operandSize);
    return is32 ? pushImmediate32 : pushImmediate16;
  }
  const register = operandRegister(op, operand);
  if (register < 0) return is32 ? pushMemory32 : pushMemory16;
  op.rm = is32 ? register : halfIndex(register);
  if (!is32) return pushRegister16;
  return hasFlatStack(op) ? pushRegisterFlat : pushRegister32;
}

function pushRegisterFlat(cpu: Processor, op: Operation): void {
  const { r } = cpu;
  const pointer = (r[ESP] - 4) | 0;
  cpu.write32(pointer, r[op.rm]);
  r[ESP] = pointer;
}
function pushRegister32(cpu: Processor, op: Operation): void {
  push32(cpu, cpu.r[op.rm]);
}
function pushRegister16(cpu: Processor, op: Operation): void {
  push16(cpu, cpu.r16[op.rm]);
}
function pushImmediate32(cpu: Processor, op: Operation): void {
  push32(cpu, op.immediate);
}
function pushImmediate16(cpu: Processor, op: Operation): void {
  push16(cpu, op.immediate);
}
function pushMemory32(cpu: Processor, op: Operation): void {
  push32(cpu, cpu.read32(readAddress(cpu, op, 4)));
}
function pushMemory16(cpu: Processor, op: Operation): void {
  push16(cpu, cpu.read16(readAddress(cpu, op, 2)));
}

// POP. POP ESP leaves the value popped; an address with ESP as its base uses ESP after the pop.

function bindPop(op: Operation): Handler {
  const register = operandRegister(op, op.instruction.row.operands[0]);
  const is32 = op.instruction.operandSize === 32;
  if (register < 0) return is32 ? popMemory32 : popMemory16;
  op.rm = is32 ? register : halfIndex(register);
  if (!is32) return popRegister16;
  return hasFlatStack(op) ? popRegisterFlat : popRegister32;
}

function popRegisterFlat(cpu: Processor, op: Operation): void {
  const { r } = cpu;
  const pointer = r[ESP];
  const value = cpu.read32(pointer);
  r[ESP] = pointer + 4;
  r[op.rm] = value;
}
function popRegister32(cpu: Processor, op: Operation): void {
  const value = peekStack(cpu, 0, 4);
  setStackPointer(cpu, (cpu.r[ESP] + 4) | 0);
  cpu.r[op.rm] = value;
}
function popRegister16(cpu: Processor, op: Operation): void {
  const value = peekStack(cpu, 0, 2);
  setStackPointer(cpu, (cpu.r[ESP] + 2) | 0);
  cpu.r16[op.rm] = value;
}
function popMemory32(cpu: Processor, op: Operation): void {
  const value = peekStack(cpu, 0, 4);
  cpu.write32(displacedAddress(cpu, op, poppedBase(cpu, op, 4), 4, true), value);
  setStackPointer(cpu, (cpu.r[ESP] + 4) | 0);
}
function popMemory16(cpu: Processor, op: Operation): void {
  const value = peekStack(cpu, 0, 2);
  cpu.write16(displacedAddress(cpu, op, poppedBase(cpu, op, 2), 2, true), value);
  setStackPointer(cpu, (cpu.r[ESP] + 2) | 0);
}

/** How much the base register will have moved by the pop. */
function poppedBase(cpu: Processor, op: Operation, size: number): number {
  if (op.base !== ESP) return 0;
  if (cpu.mode & Mode.stack32) return size;
  return ((cpu.r[ESP] + size) & 0xffff) - (cpu.r[ESP] & 0xffff);
}

// PUSHA and POPA: EAX, ECX, EDX, EBX, ESP as it was, EBP, ESI, EDI. Every word is checked before the first is written.

function pusha32(cpu: Processor): void {
  const pointer = cpu.r[ESP];
  for (let i = 1; i <= 8; i++) cpu.checkWrite(stackAddress(cpu, (pointer - 4 * i) | 0, 4, true), 4);
  for (let i = 0; i < 8; i++) cpu.write32(stackAddress(cpu, (pointer - 4 * (i + 1)) | 0, 4, true), cpu.r[i]);
  setStackPointer(cpu, (pointer - 32) | 0);
}
function pusha16(cpu: Processor): void {
  const pointer = cpu.r[ESP];
  for (let i = 1; i <= 8; i++) cpu.checkWrite(stackAddress(cpu, (pointer - 2 * i) | 0, 2, true), 2);
  for (let i = 0; i < 8; i++) cpu.write16(stackAddress(cpu, (pointer - 2 * (i + 1)) | 0, 2, true), cpu.r16[2 * i]);
  setStackPointer(cpu, (pointer - 16) | 0);
}
function popa32(cpu: Processor): void {
  const { r } = cpu;
  const edi = peekStack(cpu, 0, 4), esi = peekStack(cpu, 4, 4), ebp = peekStack(cpu, 8, 4);
  const ebx = peekStack(cpu, 16, 4), edx = peekStack(cpu, 20, 4), ecx = peekStack(cpu, 24, 4);
  r[0] = peekStack(cpu, 28, 4);
  r[1] = ecx;
  r[2] = edx;
  r[3] = ebx;
  r[5] = ebp;
  r[6] = esi;
  r[7] = edi;
  setStackPointer(cpu, (r[ESP] + 32) | 0);
}
function popa16(cpu: Processor): void {
  const { r16 } = cpu;
  const di = peekStack(cpu, 0, 2), si = peekStack(cpu, 2, 2), bp = peekStack(cpu, 4, 2);
  const bx = peekStack(cpu, 8, 2), dx = peekStack(cpu, 10, 2), cx = peekStack(cpu, 12, 2);
  r16[0] = peekStack(cpu, 14, 2);
  r16[2] = cx;
  r16[4] = dx;
  r16[6] = bx;
  r16[10] = bp;
  r16[12] = si;
  r16[14] = di;
  setStackPointer(cpu, (cpu.r[ESP] + 16) | 0);
}

// PUSHF and POPF. In V86 mode, which runs at CPL 3, both need IOPL 3.

function checkV86(cpu: Processor): void {
  if (cpu.isV86 && cpu.iopl < 3) cpu.raise(Vector.generalProtection, 0);
}

function pushf(cpu: Processor, op: Operation): void {
  checkV86(cpu);
  const flags = cpu.eflags() & ~(RF | VM);
  if (op.instruction.operandSize === 32) push32(cpu, flags);
  else push16(cpu, flags & 0xffff);
}

function popf(cpu: Processor, op: Operation): void {
  checkV86(cpu);
  const cpl = cpu.r[CPL];
  let mask = STATUS_FLAGS | TF | DF | NT;
  if (cpl === 0) mask |= IOPL;
  if (cpl <= cpu.iopl) mask |= IF;
  if (op.instruction.operandSize === 32) {
    // RF is cleared; VM, VIF and VIP stay.
    const flags = peekStack(cpu, 0, 4) & ~RF;
    setStackPointer(cpu, (cpu.r[ESP] + 4) | 0);
    cpu.setEflags(flags, mask | AC | ID | RF);
  } else {
    const flags = peekStack(cpu, 0, 2);
    setStackPointer(cpu, (cpu.r[ESP] + 2) | 0);
    cpu.setEflags(flags, mask);
  }
}

// ENTER and LEAVE.

/**
 * ENTER: pushes EBP, copies `level - 1` frame pointers of the enclosing procedures, pushes the new one, reserves space.
 * The frame pointer's width follows the stack size where it is an address, the operand size where it is a value (SDM 2A,
 * "ENTER": FrameTemp is ESP).
 */
function enter(cpu: Processor, op: Operation): void {
  const size = op.instruction.operandSize === 32 ? 4 : 2;
  const level = op.instruction.immediate2 & 31;
  const pointer = cpu.r[ESP];
  const frame = (pointer - size) | 0;
  // All of ESP, of which a 16-bit stack moves the lower half.
  const frameValue = cpu.mode & Mode.stack32 ? frame : (pointer & 0xffff0000) | (frame & 0xffff);
  for (let i = 1; i <= level + 1; i++) {
    cpu.checkWrite(stackAddress(cpu, (pointer - i * size) | 0, size, true), size);
  }
  const bottom = (frame - level * size - op.immediate) | 0;
  // A write at the final stack pointer must be possible, though none is made.
  cpu.checkWrite(stackAddress(cpu, bottom, size, true), size);
  for (let i = 1; i < level; i++) {
    cpu.checkRead(stackAddress(cpu, (framePointer(cpu) - i * size) | 0, size, false), size);
  }
  store(cpu, frame, size, cpu.r[EBP]);
  for (let i = 1; i < level; i++) {
    const from = stackAddress(cpu, (framePointer(cpu) - i * size) | 0, size, false);
    store(cpu, (frame - i * size) | 0, size, size === 4 ? cpu.read32(from) : cpu.read16(from));
  }
  if (level > 0) store(cpu, (frame - level * size) | 0, size, frameValue);
  if (size === 4) cpu.r[EBP] = frameValue;
  else cpu.r16[EBP * 2] = frameValue;
  setStackPointer(cpu, bottom);
}

function store(cpu: Processor, pointer: number, size: number, value: number): void {
  const address = stackAddress(cpu, pointer, size, true);
  if (size === 4) cpu.write32(address, value);
  else cpu.write16(address, value & 0xffff);
}

function leave32(cpu: Processor): void {
  const frame = framePointer(cpu);
  const value = cpu.read32(stackAddress(cpu, frame, 4, false));
  setStackPointer(cpu, (frame + 4) | 0);
  cpu.r[EBP] = value;
}
function leave16(cpu: Processor): void {
  const frame = framePointer(cpu);
  const value = cpu.read16(stackAddress(cpu, frame, 2, false));
  setStackPointer(cpu, (frame + 2) | 0);
  cpu.r16[EBP * 2] = value;
}
