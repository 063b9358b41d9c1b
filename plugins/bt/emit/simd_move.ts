// Moves between XMM registers, general registers and memory (Intel SDM 1, 10.4.1.1, 10.4.6, 11.4.1.1 and 11.4.4; SDM 2A and
// 2B under each instruction). Non-temporal stores are ordinary ones; fences order nothing that is not in order already.

import type { Instruction } from "../../x86/mod.ts";
import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, MACHINE } from "../wasm.ts";
import type { Emitter } from "./emitter.ts";
import type { Chooser } from "./operands.ts";
import { ORDINARY } from "./simd_float.ts";
import { ALL_EMPTY, enterMmx, mmx, mmxOperand, requireMmx, setMmx, storeMmx } from "./simd_mmx.ts";
import { isMmx, isStore, pushVectorAddress, XMM_BYTES } from "./simd_operands.ts";
import { V } from "./simd_opcodes.ts";

const ZERO = [0, 0, 0, 0];

// Whole registers.

/** Copies a register, and what is known of it. */
function copy(e: Emitter, to: number, from: number): void {
  e.f.get(e.xmm(from));
  const { [from]: known } = e.ordinary;
  e.setXmm(to);
  e.ordinary[to] = known;
}

function moveWhole(isAligned: boolean): Chooser {
  return (instruction) => {
    if (isMmx(instruction.row.operands[0])) return undefined;
    const { isMemory, reg, rm } = instruction;
    const isToRm = isStore(instruction);
    return (e) => {
      e.requireFloatingPoint(L.FP_SSE);
      if (!isMemory) return copy(e, isToRm ? rm : reg, isToRm ? reg : rm);
      pushVectorAddress(e, instruction, 128, isToRm, isAligned);
      if (isToRm) e.f.get(e.xmm(reg)).vectorMemory(V.v128Store, MACHINE, 0);
      else {
        e.f.vectorMemory(V.v128Load, MACHINE, 0);
        e.setXmm(reg);
      }
    };
  };
}

// Elements and halves.

/** Loads 32 or 64 bits, the rest of the register being zero. */
function loadLow(e: Emitter, instruction: Instruction, bits: 32 | 64): void {
  if (bits === 64) {
    pushVectorAddress(e, instruction, 64, false, false);
    e.f.vectorMemory(V.v128Load64Zero, MACHINE, 0);
  } else {
    e.pushAddress(instruction);
    e.translateOperand(instruction, 32, false);
    e.f.vectorMemory(V.v128Load32Zero, MACHINE, 0);
  }
  e.setXmm(instruction.reg);
}

/** Stores lane 0 of 32 bits, or a lane of 64 bits. */
function storeLane(e: Emitter, instruction: Instruction, bits: 32 | 64, lane = 0): void {
  if (bits === 64) pushVectorAddress(e, instruction, 64, true, false);
  else {
    e.pushAddress(instruction);
    e.translateOperand(instruction, 32, true);
  }
  e.f.get(e.xmm(instruction.reg)).vectorMemory(bits === 64 ? V.v128Store64Lane : V.v128Store32Lane, MACHINE, 0, lane);
}

const movd: Chooser = (instruction) => {
  if (instruction.row.operands.some(isMmx)) return movdMmx(instruction);
  const { isMemory, reg, rm } = instruction;
  return (e) => {
    const { f } = e;
    e.requireFloatingPoint(L.FP_SSE);
    if (isStore(instruction)) {
      if (isMemory) return storeLane(e, instruction, 32);
      f.get(e.xmm(reg)).lane(V.i32x4ExtractLane, 0);
      e.setRegister(rm);
      return;
    }
    if (isMemory) return loadLow(e, instruction, 32);
    f.constant128(ZERO).get(e.register(rm)).lane(V.i32x4ReplaceLane, 0);
    e.setXmm(reg);
  };
};

const movdMmx: Chooser = (instruction) => (e) => {
  const { f } = e;
  const { isMemory, reg, rm } = instruction;
  requireMmx(e);
  if (isStore(instruction)) {
    if (isMemory) {
      e.pushAddress(instruction);
      e.translateOperand(instruction, 32, true);
    }
    f.get(mmx(e, reg)).lane(V.i32x4ExtractLane, 0);
    if (isMemory) e.store(32);
    else e.setRegister(rm);
    return enterMmx(e);
  }
  const value = e.temporary();
  e.pushOperand(instruction, 32);
  f.set(value).constant128(ZERO).get(value).lane(V.i32x4ReplaceLane, 0);
  setMmx(e, reg);
  enterMmx(e);
};

/** MOVQ between XMM registers clears the high half. */
const movq: Chooser = (instruction) => {
  if (instruction.row.operands.some(isMmx)) return movqMmx(instruction);
  const { isMemory, reg, rm } = instruction;
  const isToRm = isStore(instruction);
  return (e) => {
    e.requireFloatingPoint(L.FP_SSE);
    if (isMemory) return isToRm ? storeLane(e, instruction, 64) : loadLow(e, instruction, 64);
    e.f.get(e.xmm(isToRm ? reg : rm)).constant128([-1, -1, 0, 0]).vector(V.v128And);
    e.setXmm(isToRm ? rm : reg);
  };
};

/** Also MOVNTQ. */
const movqMmx: Chooser = (instruction) => (e) => {
  const { isMemory, reg, rm } = instruction;
  requireMmx(e);
  if (isStore(instruction) && isMemory) {
    storeMmx(e, instruction);
    return enterMmx(e);
  }
  const value = isStore(instruction) ? mmx(e, reg) : mmxOperand(e, instruction);
  enterMmx(e);
  e.f.get(value);
  setMmx(e, isStore(instruction) ? rm : reg);
};

/** MOVQ2DQ and MOVDQ2Q. */
function moveBetweenFiles(isToXmm: boolean): Chooser {
  return ({ reg, rm }) => (e) => {
    e.requireFloatingPoint(L.FP_SSE);
    requireMmx(e);
    enterMmx(e);
    if (isToXmm) {
      e.f.get(mmx(e, rm));
      e.setXmm(reg);
    } else {
      e.f.get(e.xmm(rm));
      setMmx(e, reg);
    }
  };
}

/** The first `count` bytes of the second vector, and the rest of the first. */
function lowBytes(count: number): number[] {
  return Array.from({ length: XMM_BYTES }, (_, i) => i < count ? XMM_BYTES + i : i);
}

/** MOVSS and MOVSD between registers change the low element alone; from memory they clear the rest. */
const movScalar: Chooser = (instruction) => {
  const { isMemory, reg, rm } = instruction;
  const isToRm = isStore(instruction);
  const isDouble = instruction.row.operands.includes("Wsd");
  const bits = isDouble ? 64 : 32;
  const moved = isDouble ? ORDINARY.lowDouble : ORDINARY.lowSingle;
  const kept = isDouble ? ORDINARY.besideLowDouble : ORDINARY.besideLowSingle;
  return (e) => {
    e.requireFloatingPoint(L.FP_SSE);
    if (isMemory) return isToRm ? storeLane(e, instruction, bits) : loadLow(e, instruction, bits);
    const to = isToRm ? rm : reg, from = isToRm ? reg : rm;
    const known = (e.ordinary[to] & kept) | (e.ordinary[from] & moved);
    e.f.get(e.xmm(to)).get(e.xmm(from)).shuffle(lowBytes(bits / 8));
    e.setXmm(to);
    e.ordinary[to] = known;
  };
};

/** MOVLPS to MOVHPD: one half of a register and memory. */
function moveHalf(half: 0 | 1): Chooser {
  return (instruction) => (e) => {
    e.requireFloatingPoint(L.FP_SSE);
    if (isStore(instruction)) return storeLane(e, instruction, 64, half);
    pushVectorAddress(e, instruction, 64, false, false);
    e.f.get(e.xmm(instruction.reg)).vectorMemory(V.v128Load64Lane, MACHINE, 0, half);
    e.setXmm(instruction.reg);
  };
}

/** One half of a register from the other half of another. */
function moveAcross(lanes: readonly number[]): Chooser {
  return ({ reg, rm }) => (e) => {
    e.requireFloatingPoint(L.FP_SSE);
    e.f.get(e.xmm(reg)).get(e.xmm(rm)).shuffle(lanes);
    e.setXmm(reg);
  };
}

const HIGH_TO_LOW = Array.from({ length: XMM_BYTES }, (_, i) => i < 8 ? 24 + i : i);
const LOW_TO_HIGH = Array.from({ length: XMM_BYTES }, (_, i) => i < 8 ? i : 8 + i);

// What is no vector's.

/** MOVNTI has none of SSE's conditions. */
const movnti: Chooser = (instruction) => (e) => {
  e.pushAddress(instruction);
  e.translateOperand(instruction, 32, true);
  e.pushRegister(instruction.reg, 32);
  e.store(32);
};

const stmxcsr: Chooser = (instruction) => (e) => {
  e.requireFloatingPoint(L.FP_SSE);
  e.pushAddress(instruction);
  e.translateOperand(instruction, 32, true);
  e.f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + S.MXCSR * 4);
  e.store(32);
};

export const moveSimdChoosers: Readonly<Record<string, Chooser>> = {
  movd,
  movq,
  movAligned: moveWhole(true),
  movUnaligned: moveWhole(false),
  movScalar,
  movLow: moveHalf(0),
  movHigh: moveHalf(1),
  movhlps: moveAcross(HIGH_TO_LOW),
  movlhps: moveAcross(LOW_TO_HIGH),
  movnti,
  stmxcsr,
  fence: () => () => {},
  movq2dq: moveBetweenFiles(true),
  movdq2q: moveBetweenFiles(false),
  emms: () => (e) => {
    requireMmx(e);
    enterMmx(e, ALL_EMPTY);
  },
};
