// Instructions of the form a = a op b on either register file, whatever the operation: shared by integer arithmetic, logic
// and shuffles, which raise no exceptions of their own (Intel SDM 1, 9.3 and 10.4.2 to 11.4.2).

import type { Binder, Handler } from "../interpreter/operation.ts";
import { enterMmx, isMmx, operandBytes, readOperand, requireMmx, requireSse } from "./entry.ts";
import { destination, loadMmx, loadXmm, MMX_BYTES, source, storeMmx, storeXmm, XMM_BYTES } from "./lanes.ts";
import type { Lanes } from "./lanes.ts";

/** An operation: a = a op b over 8 or 16 bytes. Those without an immediate ignore it. */
export type Kernel = (a: Lanes, b: Lanes, bytes: number, immediate: number) => void;

/** Binder of an instruction with operands P,Q or V,W and perhaps an immediate byte. */
export function packed(kernel: Kernel): Binder {
  const mmxRegister: Handler = (cpu, op) => {
    const fpu = requireMmx(cpu);
    enterMmx(fpu);
    loadMmx(fpu, op.rm, source);
    loadMmx(fpu, op.reg, destination);
    kernel(destination, source, MMX_BYTES, op.immediate);
    storeMmx(fpu, op.reg, destination);
  };
  const mmxMemory = (bytes: number): Handler => (cpu, op) => {
    const fpu = requireMmx(cpu);
    readOperand(cpu, op, bytes, source);
    enterMmx(fpu);
    loadMmx(fpu, op.reg, destination);
    kernel(destination, source, MMX_BYTES, op.immediate);
    storeMmx(fpu, op.reg, destination);
  };
  const mmxMemory32 = mmxMemory(MMX_BYTES / 2), mmxMemory64 = mmxMemory(MMX_BYTES);
  const xmmRegister: Handler = (cpu, op) => {
    requireSse(cpu);
    loadXmm(cpu, op.rm, source);
    loadXmm(cpu, op.reg, destination);
    kernel(destination, source, XMM_BYTES, op.immediate);
    storeXmm(cpu, op.reg, destination);
  };
  const xmmMemory: Handler = (cpu, op) => {
    requireSse(cpu);
    readOperand(cpu, op, XMM_BYTES, source);
    loadXmm(cpu, op.reg, destination);
    kernel(destination, source, XMM_BYTES, op.immediate);
    storeXmm(cpu, op.reg, destination);
  };
  return (op) => {
    const [to, from] = op.instruction.row.operands;
    if (!op.instruction.isMemory) return isMmx(to) ? mmxRegister : xmmRegister;
    if (!isMmx(to)) return xmmMemory;
    return operandBytes(from) === MMX_BYTES ? mmxMemory64 : mmxMemory32;
  };
}

/** An operation on one register by a count: a = a op count over 8 or 16 bytes. */
export type CountKernel = (a: Lanes, count: number, bytes: number) => void;

/** A count that no element is as wide as: what any larger one of 64 bits stands for. */
const EXCESSIVE_COUNT = 0xff;

/** Binder of a shift: the count is an immediate byte or the low 64 bits of the second operand (SDM 2B, PSLLW). */
export function packedShift(kernel: CountKernel): Binder {
  const byOperand = packed((a, b, bytes) =>
    kernel(a, b.u32[1] !== 0 || b.u32[0] > EXCESSIVE_COUNT ? EXCESSIVE_COUNT : b.u32[0], bytes)
  );
  const mmxImmediate: Handler = (cpu, op) => {
    const fpu = requireMmx(cpu);
    enterMmx(fpu);
    loadMmx(fpu, op.rm, destination);
    kernel(destination, op.immediate, MMX_BYTES);
    storeMmx(fpu, op.rm, destination);
  };
  const xmmImmediate: Handler = (cpu, op) => {
    requireSse(cpu);
    loadXmm(cpu, op.rm, destination);
    kernel(destination, op.immediate, XMM_BYTES);
    storeXmm(cpu, op.rm, destination);
  };
  return (op) => {
    const [to, from] = op.instruction.row.operands;
    if (from !== "Ib") return byOperand(op);
    return isMmx(to) ? mmxImmediate : xmmImmediate;
  };
}
