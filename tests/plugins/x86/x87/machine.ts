// A virtual processor on which tests execute single x87 instructions: a host with the memory and x86 plugins, and the way
// of an instruction through decoder, binder and handler.

import { Host } from "../../../../core/mod.ts";
import memory from "../../../../plugins/memory/mod.ts";
import { decode } from "../../../../plugins/x86/decoder.ts";
import { bind } from "../../../../plugins/x86/interpreter/bind.ts";
import x86, { type Processor, processor } from "../../../../plugins/x86/mod.ts";
import { GuestFault } from "../../../../plugins/x86/fault.ts";
import { Mode } from "../../../../plugins/x86/processor.ts";
import { Vector } from "../../../../plugins/x86/state.ts";
import { vmConfig } from "../../../core/fake_executor.ts";

/** MiB of the VM and of its host. */
const VM_MIB = 4, HOST_MIB = 16;

/** A processor in flat 32-bit protected mode at CPL 0, paging off. */
export function makeProcessor(codeSelector = 0x08, dataSelector = 0x10): Processor {
  const host = new Host({ memoryMib: HOST_MIB, seed: 1, quantumNs: 1e6 });
  host.load({ plugin: memory }, { plugin: x86 });
  const cpu = host.service(processor)(host.add(vmConfig("vm", { memoryMib: VM_MIB })));
  cpu.enterProtectedFlat({ eip: 0, esp: 0, codeSelector, dataSelector });
  return cpu;
}

/** Executes the instruction that `bytes` encode as if it lay at `eip`; EIP itself stays. Returns the vector of its fault, or undefined. */
export function execute(cpu: Processor, bytes: Uint8Array, eip: number): number | undefined {
  const instruction = decode(bytes, 0, bytes.length, cpu.mode & Mode.code32 ? 32 : 16);
  if (instruction === "invalid") return Vector.invalidOpcode;
  if (typeof instruction === "string") throw new Error(`${instruction} instruction ${bytes}`);
  if (instruction.length !== bytes.length) {
    throw new Error(`${instruction.length} bytes of ${bytes} are an instruction`);
  }
  const operation = bind(instruction, cpu.mode, 0);
  cpu.blockEip = eip;
  try {
    operation.handler(cpu, operation);
    return undefined;
  } catch (signal) {
    if (!(signal instanceof GuestFault)) throw signal;
    return signal.vector;
  }
}

/** Bytes written as pairs of hexadecimal digits. */
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Bytes of memory as pairs of hexadecimal digits. */
export function memoryText(cpu: Processor, address: number, size: number): string {
  let text = "";
  for (let i = 0; i < size; i++) text += cpu.read8(address + i).toString(16).padStart(2, "0");
  return text;
}
