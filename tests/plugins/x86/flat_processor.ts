// A processor of a VM with a few MiB, in flat 32-bit protected mode without paging, for tests that execute single
// instructions without an engine.

import { Host } from "../../../core/mod.ts";
import memory from "../../../plugins/memory/mod.ts";
import { decode } from "../../../plugins/x86/decoder.ts";
import { bind } from "../../../plugins/x86/interpreter/bind.ts";
import x86, { processor } from "../../../plugins/x86/mod.ts";
import { GuestFault } from "../../../plugins/x86/fault.ts";
import type { Processor } from "../../../plugins/x86/processor.ts";
import * as S from "../../../plugins/x86/state.ts";
import { vmConfig } from "../../core/fake_executor.ts";

const FLAT_CODE = S.SEG_P | S.SEG_S | S.SEG_CODE | S.SEG_READABLE | S.SEG_ACCESSED | S.SEG_DB | S.SEG_G;
const FLAT_DATA = S.SEG_P | S.SEG_S | S.SEG_WRITABLE | S.SEG_ACCESSED | S.SEG_DB | S.SEG_G;

/** A processor in flat protected mode at a privilege level. */
export function flatProcessor(cpl: number, memoryMib = 8): Processor {
  const host = new Host({ memoryMib: 2 * memoryMib, seed: 1, quantumNs: 1e6 });
  host.load({ plugin: memory }, { plugin: x86 });
  const cpu = host.service(processor)(host.add(vmConfig("test", { memoryMib })));
  cpu.r[S.CR0] |= S.CR0_PE;
  for (let segment = 0; segment < 6; segment++) setFlat(cpu, segment, cpl);
  cpu.setCpl(cpl);
  cpu.vm.clock.deadlineSteps = Infinity;
  return cpu;
}

/** Gives a segment register base 0 and a limit of 4 GiB. */
export function setFlat(cpu: Processor, segment: number, cpl: number): void {
  cpu.r[S.SELECTOR + segment] = 8 * (segment + 1) | cpl;
  cpu.r[S.BASE + segment] = 0;
  cpu.r[S.LIMIT + segment] = -1;
  cpu.r[S.ATTRIBUTES + segment] = (segment === 1 ? FLAT_CODE : FLAT_DATA) | (cpl << S.SEG_DPL_SHIFT);
  cpu.updateMode();
}

/**
 * Executes one instruction as the engine would at `eip`, and counts its steps in `clock.steps`. Returns the fault that it
 * raised; EIP is then that of the instruction.
 */
export function executeInstruction(
  cpu: Processor,
  bytes: Uint8Array,
  eip: number,
): { vector: number; errorCode: number | undefined } | undefined {
  const instruction = decode(bytes, 0, bytes.length, cpu.mode & 1 ? 32 : 16);
  if (typeof instruction === "string") throw new Error(`bytes ${bytes} are ${instruction}`);
  const operation = bind(instruction, cpu.mode, 0);
  const { clock } = cpu.vm;
  cpu.blockEip = eip;
  cpu.blockSteps = clock.steps;
  cpu.index = 0;
  cpu.count = 1;
  cpu.r[S.EIP] = eip + instruction.length;
  try {
    operation.handler(cpu, operation);
  } catch (signal) {
    if (!(signal instanceof GuestFault)) throw signal;
    cpu.r[S.EIP] = eip;
    clock.steps = cpu.blockSteps;
    return { vector: signal.vector, errorCode: signal.errorCode };
  }
  clock.steps = cpu.blockSteps + 1;
  return undefined;
}

/** Copies bytes to guest memory by linear address, where it is the guest-physical one. */
export function poke(cpu: Processor, address: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    const at = address + done, count = Math.min(bytes.length - done, 4096 - (at & 0xfff));
    cpu.bytes.set(bytes.subarray(done, done + count), hostAddress(cpu, at));
    done += count;
  }
}

/** Reads guest memory by linear address, where it is the guest-physical one. */
export function peek(cpu: Processor, address: number, length: number): Uint8Array {
  const target = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const at = hostAddress(cpu, address + done), count = Math.min(length - done, 4096 - (at & 0xfff));
    target.set(cpu.bytes.subarray(at, at + count), done);
    done += count;
  }
  return target;
}

function hostAddress(cpu: Processor, address: number): number {
  return cpu.mmu.memory.frameForWrite(address >>> 12) * 4096 + (address & 0xfff);
}
