// Near control transfers: Jcc, JMP, CALL, RET, LOOP, JCXZ; and BOUND (Intel SDM 2A and 2B). A target outside the code segment
// raises #GP(0) before anything has changed. The engine has set EIP to the next instruction: only a taken branch sets it.

import { CS, ECX, ESP } from "../instruction.ts";
import { Mode, type Processor } from "../processor.ts";
import { EIP, FLAG_AUX, FLAG_RESULT, LIMIT, Vector } from "../state.ts";
import { displacedAddress, operandRegister } from "./operands.ts";
import { type Binder, halfIndex, type Handler, type Operation, readAddress } from "./operation.ts";
import { peekStack, push16, push32, setStackPointer } from "./stack.ts";

/** Binders by handler name. */
export const controlBinders: Record<string, Binder> = {
  jcc: bindJcc,
  jmp: bindJmp,
  call: bindCall,
  ret: bindRet,
  jmpIndirect: bindJmpIndirect,
  callIndirect: bindCallIndirect,
  loop: bindLoop,
  jcxz: bindLoop,
  bound: (op) => op.instruction.operandSize === 32 ? bound32 : bound16,
};

/** CX as an index of r16. */
const CX = 2;

/** Whether a relative branch needs neither a cut to 16 bits nor a check against the limit of CS. */
function isFree(op: Operation): boolean {
  return op.instruction.operandSize === 32 && (op.mode & Mode.flat) !== 0;
}

/** Makes `op.immediate` count from the start of the block, so that a target is one addition. */
function relativeToBlock(op: Operation): void {
  op.immediate = (op.immediate + op.end) | 0;
}

/** Target of a relative branch, cut to the operand size and checked. */
function relativeTarget(cpu: Processor, op: Operation): number {
  const target = (cpu.blockEip + op.immediate) | 0;
  return checkedTarget(cpu, op.instruction.operandSize === 32 ? target : target & 0xffff);
}

/** EIP of the instruction after this one, as CALL pushes it. */
function returnAddress(cpu: Processor, op: Operation): number {
  return (cpu.blockEip + op.end) | 0;
}

function checkedTarget(cpu: Processor, target: number): number {
  if (!(cpu.mode & Mode.flat) && (target >>> 0) > (cpu.r[LIMIT + CS] >>> 0)) cpu.raise(Vector.generalProtection, 0);
  return target;
}

// Jcc, one function a condition, because they are the hottest of all.

function bindJcc(op: Operation): Handler {
  relativeToBlock(op);
  return isFree(op) ? JCC[op.variant] : jccChecked;
}

function jccChecked(cpu: Processor, op: Operation): void {
  if (cpu.condition(op.variant)) cpu.r[EIP] = relativeTarget(cpu, op);
}
function jo(cpu: Processor, op: Operation): void {
  if (cpu.of !== 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jno(cpu: Processor, op: Operation): void {
  if (cpu.of === 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jb(cpu: Processor, op: Operation): void {
  if (cpu.r[FLAG_AUX] < 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jae(cpu: Processor, op: Operation): void {
  if (cpu.r[FLAG_AUX] >= 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function je(cpu: Processor, op: Operation): void {
  if (cpu.r[FLAG_RESULT] === 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jne(cpu: Processor, op: Operation): void {
  if (cpu.r[FLAG_RESULT] !== 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jbe(cpu: Processor, op: Operation): void {
  if (cpu.r[FLAG_AUX] < 0 || cpu.r[FLAG_RESULT] === 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function ja(cpu: Processor, op: Operation): void {
  if (cpu.r[FLAG_AUX] >= 0 && cpu.r[FLAG_RESULT] !== 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function js(cpu: Processor, op: Operation): void {
  if (cpu.sf !== 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jns(cpu: Processor, op: Operation): void {
  if (cpu.sf === 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jp(cpu: Processor, op: Operation): void {
  if (cpu.pf !== 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jnp(cpu: Processor, op: Operation): void {
  if (cpu.pf === 0) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jl(cpu: Processor, op: Operation): void {
  if (cpu.sf !== cpu.of) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jge(cpu: Processor, op: Operation): void {
  if (cpu.sf === cpu.of) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jle(cpu: Processor, op: Operation): void {
  if (cpu.r[FLAG_RESULT] === 0 || cpu.sf !== cpu.of) cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jg(cpu: Processor, op: Operation): void {
  if (cpu.r[FLAG_RESULT] !== 0 && cpu.sf === cpu.of) cpu.r[EIP] = cpu.blockEip + op.immediate;
}

/** By condition code. */
const JCC: readonly Handler[] = [jo, jno, jb, jae, je, jne, jbe, ja, js, jns, jp, jnp, jl, jge, jle, jg];

// JMP.

function bindJmp(op: Operation): Handler {
  relativeToBlock(op);
  return isFree(op) ? jmp : jmpChecked;
}

function jmp(cpu: Processor, op: Operation): void {
  cpu.r[EIP] = cpu.blockEip + op.immediate;
}
function jmpChecked(cpu: Processor, op: Operation): void {
  cpu.r[EIP] = relativeTarget(cpu, op);
}

function bindJmpIndirect(op: Operation): Handler {
  const is32 = op.instruction.operandSize === 32;
  if (operandRegister(op, "Ev") < 0) return is32 ? jmpMemory32 : jmpMemory16;
  if (is32) return jmpRegister32;
  op.rm = halfIndex(op.rm);
  return jmpRegister16;
}

function jmpRegister16(cpu: Processor, op: Operation): void {
  cpu.r[EIP] = checkedTarget(cpu, cpu.r16[op.rm]);
}
function jmpRegister32(cpu: Processor, op: Operation): void {
  cpu.r[EIP] = checkedTarget(cpu, cpu.r[op.rm]);
}
function jmpMemory16(cpu: Processor, op: Operation): void {
  cpu.r[EIP] = checkedTarget(cpu, cpu.read16(readAddress(cpu, op, 2)));
}
function jmpMemory32(cpu: Processor, op: Operation): void {
  cpu.r[EIP] = checkedTarget(cpu, cpu.read32(readAddress(cpu, op, 4)));
}

// CALL.

function bindCall(op: Operation): Handler {
  relativeToBlock(op);
  return op.instruction.operandSize === 32 ? call32 : call16;
}

function call16(cpu: Processor, op: Operation): void {
  const target = relativeTarget(cpu, op);
  push16(cpu, returnAddress(cpu, op) & 0xffff);
  cpu.r[EIP] = target;
}
function call32(cpu: Processor, op: Operation): void {
  const target = checkedTarget(cpu, (cpu.blockEip + op.immediate) | 0);
  push32(cpu, returnAddress(cpu, op));
  cpu.r[EIP] = target;
}

function bindCallIndirect(op: Operation): Handler {
  const is32 = op.instruction.operandSize === 32;
  if (operandRegister(op, "Ev") < 0) return is32 ? callMemory32 : callMemory16;
  if (is32) return callRegister32;
  op.rm = halfIndex(op.rm);
  return callRegister16;
}

function callRegister16(cpu: Processor, op: Operation): void {
  const target = checkedTarget(cpu, cpu.r16[op.rm]);
  push16(cpu, returnAddress(cpu, op) & 0xffff);
  cpu.r[EIP] = target;
}
function callRegister32(cpu: Processor, op: Operation): void {
  const target = checkedTarget(cpu, cpu.r[op.rm]);
  push32(cpu, returnAddress(cpu, op));
  cpu.r[EIP] = target;
}
function callMemory16(cpu: Processor, op: Operation): void {
  const target = checkedTarget(cpu, cpu.read16(readAddress(cpu, op, 2)));
  push16(cpu, returnAddress(cpu, op) & 0xffff);
  cpu.r[EIP] = target;
}
function callMemory32(cpu: Processor, op: Operation): void {
  const target = checkedTarget(cpu, cpu.read32(readAddress(cpu, op, 4)));
  push32(cpu, returnAddress(cpu, op));
  cpu.r[EIP] = target;
}

// RET. The immediate, zero without one, is added to the stack pointer after the return address is popped.

function bindRet(op: Operation): Handler {
  return op.instruction.operandSize === 32 ? ret32 : ret16;
}

function ret16(cpu: Processor, op: Operation): void {
  const target = checkedTarget(cpu, peekStack(cpu, 0, 2));
  setStackPointer(cpu, (cpu.r[ESP] + 2 + op.immediate) | 0);
  cpu.r[EIP] = target;
}
function ret32(cpu: Processor, op: Operation): void {
  const target = checkedTarget(cpu, peekStack(cpu, 0, 4));
  setStackPointer(cpu, (cpu.r[ESP] + 4 + op.immediate) | 0);
  cpu.r[EIP] = target;
}

// LOOPNE, LOOPE, LOOP (variants 0, 1, 2) and JCXZ: the counter is CX or ECX by the address size.

const LOOPNE = 0, LOOPE = 1;

function bindLoop(op: Operation): Handler {
  relativeToBlock(op);
  if (op.instruction.row.handler === "jcxz") return op.address16 ? jcxz : jecxz;
  return op.address16 ? loop16 : loop32;
}

function loop16(cpu: Processor, op: Operation): void {
  const count = (cpu.r16[CX] - 1) & 0xffff;
  const target = count !== 0 && loopCondition(cpu, op) ? relativeTarget(cpu, op) : cpu.r[EIP];
  cpu.r16[CX] = count;
  cpu.r[EIP] = target;
}
function loop32(cpu: Processor, op: Operation): void {
  const count = (cpu.r[ECX] - 1) | 0;
  const target = count !== 0 && loopCondition(cpu, op) ? relativeTarget(cpu, op) : cpu.r[EIP];
  cpu.r[ECX] = count;
  cpu.r[EIP] = target;
}
function loopCondition(cpu: Processor, op: Operation): boolean {
  if (op.variant === LOOPNE) return cpu.r[FLAG_RESULT] !== 0;
  if (op.variant === LOOPE) return cpu.r[FLAG_RESULT] === 0;
  return true;
}
function jcxz(cpu: Processor, op: Operation): void {
  if (cpu.r16[CX] === 0) cpu.r[EIP] = relativeTarget(cpu, op);
}
function jecxz(cpu: Processor, op: Operation): void {
  if (cpu.r[ECX] === 0) cpu.r[EIP] = relativeTarget(cpu, op);
}

// BOUND: a signed index outside the pair of bounds in memory raises #BR, a fault.

function bound16(cpu: Processor, op: Operation): void {
  const lower = (cpu.read16(displacedAddress(cpu, op, 0, 2, false)) << 16) >> 16;
  const upper = (cpu.read16(displacedAddress(cpu, op, 2, 2, false)) << 16) >> 16;
  const index = (cpu.r[op.reg] << 16) >> 16;
  if (index < lower || index > upper) cpu.raise(Vector.bound);
}
function bound32(cpu: Processor, op: Operation): void {
  const lower = cpu.read32(displacedAddress(cpu, op, 0, 4, false));
  const upper = cpu.read32(displacedAddress(cpu, op, 4, 4, false));
  const index = cpu.r[op.reg];
  if (index < lower || index > upper) cpu.raise(Vector.bound);
}
