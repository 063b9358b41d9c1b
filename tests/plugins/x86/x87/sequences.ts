// Reads what tests/fixtures/x87/generate_sequences.c recorded of a real FPU, and replays its cases on a virtual processor.
// The format is described there.

import { EAX, EDX, STATUS_FLAGS } from "../../../../plugins/x86/instruction.ts";
import type { Processor } from "../../../../plugins/x86/processor.ts";
import { Vector } from "../../../../plugins/x86/state.ts";
import { Float80 } from "../../../../plugins/x86/x87/float80.ts";
import { float80Text, parseFloat80 } from "./oracle.ts";
import { bytesOf, execute, memoryText } from "./machine.ts";

/** What holds for all cases. */
export interface Setting {
  /** Offset and selector of instruction, opcode, offset and selector of data before each instruction. */
  readonly pointers: readonly number[];
  readonly ax: number;
  readonly eip: number;
  readonly codeSelector: number;
  readonly dataAddress: number;
  readonly dataSelector: number;
  readonly pool: readonly string[];
}

/** One case: the instruction's bytes, all fields before it, and the recorded outcome. */
export interface Sequence {
  readonly bytes: string;
  readonly before: readonly string[];
  readonly outcome: string;
  readonly line: string;
}

/** Reads the fixture. */
export async function readSequences(): Promise<{ setting: Setting; sequences: Sequence[] }> {
  const file = await Deno.readFile(new URL("../../../fixtures/x87/sequences.txt.gz", import.meta.url));
  const stream = new Blob([file]).stream().pipeThrough(new DecompressionStream("gzip"));
  const [first, second, ...lines] = (await new Response(stream).text()).trimEnd().split("\n");
  const numbers = first.split(" ").filter((word) => /^[0-9a-f]+$/.test(word)).map((word) => parseInt(word, 16));
  const [eip, codeSelector, dataAddress, dataSelector] = numbers.slice(6);
  const setting = {
    pointers: numbers.slice(0, 5),
    ax: numbers[5],
    eip,
    codeSelector,
    dataAddress,
    dataSelector,
    pool: second.split(" ").slice(1),
  };
  return { setting, sequences: lines.map(parseSequence) };
}

function parseSequence(line: string): Sequence {
  const [left, outcome] = line.split(" > ");
  const [bytes, ...before] = left.split(" ");
  return { bytes, before, outcome, line };
}

const FAULTS = new Map<number, string>([[Vector.invalidOpcode, "#UD"], [Vector.floatingPoint, "#MF"]]);

const value = new Float80();

/** Executes one case and describes the outcome as the fixture does. */
export function outcomeOf(cpu: Processor, setting: Setting, sequence: Sequence): string {
  const { fpu } = cpu;
  const [cw, sw, tw, registers, flags, memory] = sequence.before;
  const values = (registers.match(/../g) ?? []).map((index) => setting.pool[parseInt(index, 16)]);
  fpu.control = parseInt(cw, 16);
  fpu.statusWord = parseInt(sw, 16);
  fpu.tagWord = parseInt(tw, 16);
  fpu.updatePending(true);
  [fpu.instructionOffset, fpu.instructionSelector, fpu.opcode, fpu.dataOffset, fpu.dataSelector] = setting.pointers;
  values.forEach((text, register) => {
    parseFloat80(value, text);
    fpu.se[register] = value.se;
    [fpu.significands[register * 2 + 1], fpu.significands[register * 2]] = [value.hi, value.lo];
  });
  cpu.r[EAX] = setting.ax;
  cpu.r[EDX] = setting.dataAddress;
  cpu.setStatusFlags(parseInt(flags, 16));
  const size = memory === "-" ? 0 : memory.length / 2;
  bytesOf(memory).forEach((byte, i) => cpu.write8(setting.dataAddress + i, byte));

  const vector = execute(cpu, bytesOf(sequence.bytes), setting.eip);
  if (vector !== undefined) return FAULTS.get(vector) ?? `vector ${vector}`;
  const pointers = [fpu.instructionOffset, fpu.instructionSelector, fpu.opcode, fpu.dataOffset, fpu.dataSelector];
  const changed = values.flatMap((before, register) => {
    const text = float80Text(
      value.set(fpu.se[register], fpu.significands[register * 2 + 1], fpu.significands[register * 2]),
    );
    return text === before ? [] : [`${register}:${text}`];
  });
  const memoryAfter = memoryText(cpu, setting.dataAddress, size);
  return [
    hex(fpu.control),
    hex(fpu.statusWord),
    hex(fpu.tagWord),
    pointers.join() === setting.pointers.join() ? "=" : pointers.map(hex).join(),
    changed.join() || "=",
    hex(cpu.statusFlags() & STATUS_FLAGS),
    cpu.r[EAX] === setting.ax ? "=" : hex(cpu.r[EAX]),
    size === 0 || memoryAfter === memory ? "=" : memoryAfter,
  ].join(" ");
}

function hex(word: number): string {
  return (word >>> 0).toString(16);
}

/** Opcodes of F2XM1, FYL2X, FPTAN, FPATAN, FYL2XP1, FSINCOS, FSIN and FCOS. */
const TRANSCENDENTAL = new Set(["d9f0", "d9f1", "d9f2", "d9f3", "d9f9", "d9fb", "d9fe", "d9ff"]);
/** FUCOMI, FCOMI, FUCOMIP, FCOMIP with any register. */
const COMPARE_TO_FLAGS = /^d[bf](e[89a-f]|f[0-7])$/;
const STATUS = 1, REGISTERS = 4, C1 = 0x200;

/** Whether results of this instruction may differ in the last place. */
export function isTranscendental({ bytes }: Sequence): boolean {
  return TRANSCENDENTAL.has(bytes);
}

/**
 * Whether an outcome is that of the recorded FPU where both are defined: FCOMI and its kin clear C1 by the SDM, which AMD's
 * processors leave as it was; transcendental results may be a unit in the last place apart, with C1 by their rounding.
 */
export function agrees(sequence: Sequence, outcome: string): boolean {
  if (outcome === sequence.outcome) return true;
  const got = outcome.split(" "), expected = sequence.outcome.split(" ");
  const isClose = isTranscendental(sequence);
  if (got.length !== expected.length || !isClose && !COMPARE_TO_FLAGS.test(sequence.bytes)) return false;
  return got.every((field, i) => {
    if (i === STATUS) return (parseInt(field, 16) & ~C1) === (parseInt(expected[i], 16) & ~C1);
    return field === expected[i] || isClose && i === REGISTERS && areClose(field, expected[i]);
  });
}

/** Compares lists of registers as "I:VALUE,...". */
function areClose(got: string, expected: string): boolean {
  const left = got.split(","), right = expected.split(",");
  return left.length === right.length && left.every((register, i) => {
    const [number, text] = register.split(":"), [otherNumber, otherText] = right[i].split(":");
    if (number !== otherNumber) return false;
    const distance = position(text) - position(otherText);
    return distance >= -1n && distance <= 1n;
  });
}

/** Position of a finite value in the order of all values: neighbours are one apart. */
function position(text: string): bigint {
  const bits = BigInt(`0x${text}`);
  const magnitude = (bits >> 64n & 0x7fffn) << 63n | bits & 0x7fff_ffff_ffff_ffffn;
  return bits >> 79n === 0n ? magnitude : -magnitude;
}
