// Runs single-instruction CPU vectors (SingleStepTests' format) on the processor in force: sets a real-mode state up, runs
// to the HLT after the instruction, compares registers and memory.

import { Host, type Vm, z } from "../core/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import * as x86 from "../plugins/x86/mod.ts";

const state = z.object({
  regs: z.record(z.string(), z.number()),
  ram: z.array(z.tuple([z.number(), z.number()])),
});

/** One vector: the form of the opcode, the instruction, the state before and what of it changed. */
export const vectorSchema = z.object({
  form: z.string(),
  name: z.string(),
  bytes: z.array(z.number()),
  initial: state,
  final: state.partial(),
  exception: z.object({ number: z.number(), flag_address: z.number() }).optional(),
});
export type Vector = z.output<typeof vectorSchema>;

/** Real-mode addresses reach to FFFF:FFFF. */
const VM_MIB = 2;
/** More steps than any one instruction of the vectors takes, repeated 65,535 times. */
const MOST_STEPS = 200_000;
/** Flag bits that the processor of the vectors has: the top four cannot be set in real mode there. */
const COMPARED_FLAGS = 0x0fff;

const generalRegisters: readonly (readonly [string, number])[] = [
  ["ax", x86.EAX],
  ["cx", x86.ECX],
  ["dx", x86.EDX],
  ["bx", x86.EBX],
  ["sp", x86.ESP],
  ["bp", x86.EBP],
  ["si", x86.ESI],
  ["di", x86.EDI],
];
const segmentRegisters: readonly (readonly [string, number])[] = [
  ["es", x86.ES],
  ["cs", x86.CS],
  ["ss", x86.SS],
  ["ds", x86.DS],
];

/** A bare processor and memory, used for one vector after another. */
export class VectorRunner {
  readonly #host: Host;
  readonly #vm: Vm;

  constructor() {
    // Processor and memory alone: no device answers, as on the machine that the vectors were captured on.
    this.#host = new Host({ memoryMib: VM_MIB * 2, seed: 1, quantumNs: 1e6 });
    this.#host.load({ plugin: memory.default }, { plugin: x86.default });
    const config = { name: "vectors", memoryMib: VM_MIB, minMib: 0, shares: 1, cpuMhz: 1, options: {} };
    this.#vm = this.#host.add(config);
  }

  /** Runs a vector; returns what differs, a line each. */
  run(vector: Vector): string[] {
    const cpu = this.#host.service(x86.processor)(this.#vm);
    const guestMemory = this.#host.service(memory.guest)(this.#vm);
    for (const [address, byte] of vector.initial.ram) guestMemory.write(address, Uint8Array.of(byte));
    const before = vector.initial.regs;
    cpu.reset(0);
    for (const [name, segment] of segmentRegisters) {
      cpu.setRegister(x86.state.SELECTOR + segment, before[name]);
      cpu.setRegister(x86.state.BASE + segment, before[name] << 4);
    }
    for (const [name, register] of generalRegisters) cpu.setRegister(register, before[name]);
    cpu.setRegister(x86.state.EIP, before.ip);
    cpu.setEflags(before.flags, COMPARED_FLAGS);
    const engine = this.#host.service(x86.engine);
    let steps = 0;
    while (!cpu.getRegister(x86.state.HALTED) && steps++ < MOST_STEPS) engine.step(this.#vm);
    const differences = steps >= MOST_STEPS ? [`no HLT within ${MOST_STEPS} steps`] : this.#compare(vector);
    const touched = [...vector.initial.ram, ...vector.final.ram ?? []];
    for (const [address] of touched) guestMemory.write(address, Uint8Array.of(0));
    return differences;
  }

  #compare(vector: Vector): string[] {
    const cpu = this.#host.service(x86.processor)(this.#vm);
    const differences: string[] = [];
    const compare = (what: string, actual: number, expected: number, mask = 0xffff) => {
      if (((actual ^ expected) & mask) === 0) return;
      differences.push(`${what} is ${hex(actual & mask)}, expected ${hex(expected & mask)}`);
    };
    const expected = { ...vector.initial.regs, ...vector.final.regs };
    for (const [name, register] of generalRegisters) compare(name, cpu.getRegister(register), expected[name]);
    for (const [name, segment] of segmentRegisters) {
      compare(name, cpu.getRegister(x86.state.SELECTOR + segment), expected[name]);
    }
    compare("ip", cpu.getRegister(x86.state.EIP), expected.ip);
    const flagsMask = COMPARED_FLAGS & ~undefinedFlags(vector);
    compare("flags", cpu.eflags(), expected.flags, flagsMask);
    const guestMemory = this.#host.service(memory.guest)(this.#vm);
    const ram = new Map([...vector.initial.ram, ...vector.final.ram ?? []]);
    const flagAddress = vector.exception?.flag_address ?? -2;
    const byte = new Uint8Array(1);
    for (const [address, value] of ram) {
      guestMemory.read(address, byte);
      const half = address - flagAddress;
      const mask = half === 0 ? flagsMask & 0xff : half === 1 ? flagsMask >> 8 : 0xff;
      compare(`memory at ${hex(address)}`, byte[0], value, mask);
    }
    return differences;
  }
}

/** Flags that the instruction leaves undefined. */
function undefinedFlags({ bytes }: Vector): number {
  const decoded = x86.decode(Uint8Array.from(bytes), 0, bytes.length, 16);
  return typeof decoded === "object" && "row" in decoded ? decoded.row.undefined : 0;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
