// Memory operands of arithmetic and comparison: read, with all their faults, before the instruction starts, and widened into
// `right` (Intel SDM 1, 4.2 and 8.3.5).

import { type Operation, readAddress } from "../../interpreter/operation.ts";
import type { Processor } from "../../processor.ts";
import { operandFromFloat32, operandFromFloat64 } from "../formats.ts";
import type { Fpu } from "../fpu.ts";
import { fromInt32 } from "../integers.ts";
import { right, startMemory, waited } from "./entry.ts";

/** Starts an instruction on a binary32 operand: right = the operand. The others do so for their formats. */
export function startWithFloat32(cpu: Processor, op: Operation): Fpu {
  const fpu = waited(cpu);
  const bits = cpu.read32(readAddress(cpu, op, 4));
  startMemory(cpu, op, fpu);
  operandFromFloat32(fpu.environment, right, bits);
  return fpu;
}

export function startWithFloat64(cpu: Processor, op: Operation): Fpu {
  const fpu = waited(cpu);
  const address = readAddress(cpu, op, 8);
  cpu.checkAlignment(address, 8, 8, false);
  const lo = cpu.read32(address), hi = cpu.read32((address + 4) | 0);
  startMemory(cpu, op, fpu);
  operandFromFloat64(fpu.environment, right, hi, lo);
  return fpu;
}

export function startWithInt16(cpu: Processor, op: Operation): Fpu {
  const fpu = waited(cpu);
  const bits = cpu.read16(readAddress(cpu, op, 2));
  startMemory(cpu, op, fpu);
  fromInt32(right, bits << 16 >> 16);
  return fpu;
}

export function startWithInt32(cpu: Processor, op: Operation): Fpu {
  const fpu = waited(cpu);
  const bits = cpu.read32(readAddress(cpu, op, 4));
  startMemory(cpu, op, fpu);
  fromInt32(right, bits);
  return fpu;
}
