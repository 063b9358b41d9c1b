// The interpreter: runs pre-decoded blocks, exactly. It is the reference that translators are compared with, and what they
// call out to. The loop is shaped by measurement: an indexed call per operation, the place in the block kept in the
// processor, EIP written once per block. bench/interpreter.bench.ts measures it.

import type { GuestClock, Vm } from "../../../core/mod.ts";
import { decode, MAX_INSTRUCTION_LENGTH } from "../decoder.ts";
import { deliverFault } from "../interrupts.ts";
import { GuestFault } from "../fault.ts";
import type { Instruction } from "../instruction.ts";
import { Mode, type Processor } from "../processor.ts";
import type { Engine } from "../services.ts";
import * as S from "../state.ts";
import { bind, bindFailure } from "./bind.ts";
import { Block, type BlockCache } from "./blocks.ts";
import { runOperations } from "./dispatch.ts";
import type { Operation } from "./operation.ts";

const CS_BASE = S.BASE + 1, CS_LIMIT = S.LIMIT + 1;

export class Interpreter implements Engine {
  readonly name = "interpreter";

  readonly #crossings: ({ linear: number; bytes: Uint8Array; block: Block } | undefined)[] = Array.from(
    { length: CROSSINGS },
    () => undefined,
  );

  constructor(readonly blocks: BlockCache, readonly processorOf: (vm: Vm) => Processor) {}

  execute(vm: Vm): void {
    const cpu = this.processorOf(vm), { clock } = vm;
    while (clock.steps < clock.deadlineSteps && cpu.attention === 0) this.#runBlock(cpu, clock);
  }

  /** Runs the block at EIP once, or what of it the deadline allows; for engines that fall back to this one. */
  runOnce(cpu: Processor): void {
    this.#runBlock(cpu, cpu.vm.clock);
  }

  /** Runs the instruction at EIP alone; the deadline must be ahead. False where it faulted and the fault was delivered. */
  runInstruction(cpu: Processor): boolean {
    return this.#runBlock(cpu, cpu.vm.clock, 1);
  }

  /**
   * As `runInstruction`, from a block that stays decoded and is marked as code: a repeated string instruction that overwrites
   * itself stops, and one that is run again is not decoded again.
   */
  runFirst(cpu: Processor): boolean {
    return this.#runBlock(cpu, cpu.vm.clock, 1, true);
  }

  /** Makes a decoded instruction ready for `runOperation`, in the mode that it was decoded in. */
  prepare(instruction: Instruction, mode: number): Operation {
    return bind(instruction, mode, 0);
  }

  /**
   * Runs the instruction at EIP, which the caller has at hand, without fetching it again; otherwise as `runInstruction`. The
   * instruction TLB must hold its page, and the processor be in the mode that it was prepared for.
   */
  runOperation(cpu: Processor, operation: Operation): boolean {
    const { r } = cpu, { clock } = cpu.vm;
    const eip = r[S.EIP];
    cpu.blockEip = eip;
    cpu.blockSteps = clock.steps;
    cpu.index = 0;
    cpu.count = 1;
    r[S.EIP] = (eip + operation.end) | 0;
    try {
      operation.handler(cpu, operation);
      clock.steps = cpu.blockSteps + 1;
      return true;
    } catch (signal) {
      this.#deliver(cpu, clock, eip, signal);
      return false;
    }
  }

  step(vm: Vm): boolean {
    const { clock } = vm;
    const { deadlineSteps } = clock;
    clock.deadlineSteps = clock.steps + 1;
    const completed = this.#runBlock(this.processorOf(vm), clock, 1);
    clock.deadlineSteps = deadlineSteps;
    clock.reschedule();
    return completed;
  }

  /** Runs the block at EIP, or what the deadline and `most` allow of it; false where it ended with the delivery of a fault. */
  #runBlock(cpu: Processor, clock: GuestClock, most = MOST_OPERATIONS, isKept = false): boolean {
    const { r } = cpu;
    const eip = r[S.EIP], steps = clock.steps;
    cpu.blockEip = eip;
    cpu.blockSteps = steps;
    cpu.index = 0;
    let operations = noOperations;
    try {
      const linear = (r[CS_BASE] + eip) | 0;
      const flat = (cpu.mode & Mode.flat) !== 0;
      if (!flat && eip >>> 0 > r[CS_LIMIT] >>> 0) cpu.raise(S.Vector.generalProtection, 0);
      const mpn = cpu.mmu.fetchFrame(linear);
      const address = (mpn << 12) | (linear & 0xfff);
      const found = mpn < 0
        ? undefined
        : most === 1 && !isKept
        ? this.blocks.findSingle(address, cpu.mode)
        : this.blocks.find(address, cpu.mode);
      const block = found ?? this.#crossing(cpu, linear);
      let count = block.operations.length;
      if (count > most) count = most;
      if (steps + count > clock.deadlineSteps) count = clock.deadlineSteps - steps;
      if (!flat && eip >>> 0 > (r[CS_LIMIT] >>> 0) - block.length + 1) count = this.#withinLimit(cpu, block, count);
      operations = block.operations;
      cpu.count = count;
      r[S.EIP] = (eip + block.length) | 0;
      runOperations(cpu, operations);
      clock.steps = cpu.blockSteps + cpu.index;
      if (cpu.index < operations.length) r[S.EIP] = (eip + operations[cpu.index].start) | 0;
      return true;
    } catch (signal) {
      const start = cpu.index < operations.length ? operations[cpu.index].start : 0;
      this.#deliver(cpu, clock, (eip + start) | 0, signal);
      return false;
    }
  }

  /** Makes an event of a guest fault that the instruction at `eip` raised: that is no step, its delivery is one. */
  #deliver(cpu: Processor, clock: GuestClock, eip: number, signal: unknown): void {
    if (!(signal instanceof GuestFault)) throw signal;
    const { vector, errorCode, inNewTask } = signal;
    clock.steps = cpu.blockSteps + cpu.index;
    if (!inNewTask) cpu.r[S.EIP] = eip;
    deliverFault(cpu, vector, errorCode);
    clock.steps++;
  }

  /** How many operations lie within the CS limit; the first that does not raises #GP(0) when its turn comes. */
  #withinLimit(cpu: Processor, block: Block, count: number): number {
    const room = (cpu.r[CS_LIMIT] >>> 0) - (cpu.r[S.EIP] >>> 0) + 1;
    let within = 0;
    while (within < count && block.operations[within].end <= room) within++;
    if (within === 0) cpu.raise(S.Vector.generalProtection, 0);
    return within;
  }

  /**
   * An instruction that crosses a page, or lies in no RAM: fetched byte by byte each time, as the TLB must see it, and
   * decoded again only if its bytes are not those of the last time.
   */
  #crossing(cpu: Processor, linear: number): Block {
    const at = (linear ^ (linear >>> 12)) & (CROSSINGS - 1);
    const last = this.#crossings[at];
    if (last !== undefined && last.linear === linear && last.block.mode === cpu.mode) {
      if (last.bytes.every((byte, i) => cpu.mmu.fetchByte((linear + i) | 0) === byte)) return last.block;
    }
    const codeSize = cpu.mode & Mode.code32 ? 32 : 16;
    const bytes = new Uint8Array(MAX_INSTRUCTION_LENGTH);
    for (let length = 1;; length++) {
      bytes[length - 1] = cpu.mmu.fetchByte((linear + length - 1) | 0);
      const instruction = decode(bytes, 0, length, codeSize);
      if (instruction === "truncated" && length < MAX_INSTRUCTION_LENGTH) continue;
      const operation = typeof instruction === "string"
        ? bindFailure(instruction === "truncated" ? "too-long" : instruction, cpu.mode)
        : bind(instruction, cpu.mode, 0);
      const block = new Block(0, cpu.mode, [operation], operation.end);
      this.#crossings[at] = { linear, bytes: bytes.slice(0, length), block };
      return block;
    }
  }
}

/** More than a block has: all of it. */
const MOST_OPERATIONS = 1 << 20;
/** Instructions across pages that are kept decoded, directly mapped. */
const CROSSINGS = 256;
const noOperations: readonly Operation[] = [];
