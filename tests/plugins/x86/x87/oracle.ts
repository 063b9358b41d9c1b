// Reads the answers of a real x87 that tests/fixtures/x87/generate.c recorded, and replays its cases on operations of
// plugins/x86/x87. The format is described in generate.c.

import { Bits64, Float80, FpuEnvironment, LIMB } from "../../../../plugins/x86/x87/float80.ts";

/** C1 and C3, C2, C0 in the status word. */
export const C0 = 0x100, C1 = 0x200, C2 = 0x400, C3 = 0x4000;

/** Operands and results of one case. `memory` holds a memory operand's bytes, lowest first; a store writes them. */
export class Case {
  readonly environment = new FpuEnvironment();
  readonly a = new Float80();
  readonly b = new Float80();
  readonly result = new Float80();
  readonly second = new Float80();
  memory = new Uint8Array(16);
  view = new DataView(this.memory.buffer);
  /** Condition codes other than C1 as rounding direction. */
  conditionCodes = 0;
}

/** How to run one operation: what it leaves in ST(0), in a new ST(0), in ST(0) and ST(1), in memory, or in the status word only. */
export interface Operation {
  readonly leaves: "register" | "loaded" | "registers" | "status" | number;
  run(c: Case, env: FpuEnvironment): void;
}

/** A group of cases of one operation: the control words and the recorded lines. */
export interface Group {
  readonly name: string;
  readonly controlWords: readonly number[];
  readonly lines: readonly string[];
}

/** Reads a gzipped fixture of tests/fixtures/x87. */
export async function readGroups(file: string): Promise<Map<string, Group>> {
  const bytes = await Deno.readFile(new URL(`../../../fixtures/x87/${file}`, import.meta.url));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return parseGroups(await new Response(stream).text());
}

/** Cuts a fixture's text into groups. */
export function parseGroups(text: string): Map<string, Group> {
  const groups = new Map<string, Group>();
  let lines: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("op ")) {
      const [, name, ...words] = line.split(" ");
      lines = [];
      groups.set(name, { name, controlWords: words.map((word) => parseInt(word, 16)), lines });
    } else if (line !== "") lines.push(line);
  }
  return groups;
}

/** Replays a group bit by bit. Returns how many answers agree and a line for each that differs. */
export function replay(group: Group, operation: Operation): { agreed: number; differences: string[] } {
  const c = new Case();
  let agreed = 0;
  const differences: string[] = [];
  for (const line of group.lines) {
    const [textA, textB, ...answers] = line.split(" ");
    let expected = "";
    answers.forEach((answer, mode) => {
      if (answer !== "=") expected = answer;
      const word = group.controlWords[mode];
      const got = answerOf(c, operation, textA, textB, word);
      if (got === expected) agreed += 1;
      else {
        const control = word.toString(16).padStart(4, "0");
        differences.push(`${group.name} ${textA} ${textB} under ${control}: got ${got}, the FPU says ${expected}`);
      }
    });
  }
  return { agreed, differences };
}

function answerOf(c: Case, operation: Operation, textA: string, textB: string, controlWord: number): string {
  parseFloat80(c.a, textA);
  c.memory.fill(0);
  if (textB.length === 20) parseFloat80(c.b, textB);
  else c.b.set(0x3fff, LIMB / 2, 0);
  parseBytes(c.memory, textB);
  const env = c.environment;
  env.setControlWord(controlWord);
  env.begin();
  c.conditionCodes = 0;
  const stores = typeof operation.leaves === "number";
  if (stores) c.memory.fill(0xa5);
  operation.run(c, env);
  const status = env.raised | (env.roundedUp ? C1 : 0) | c.conditionCodes;
  return `${resultText(c, operation, env)},${status.toString(16)}`;
}

function resultText(c: Case, operation: Operation, env: FpuEnvironment): string {
  const { leaves } = operation;
  if (leaves === "status") return "-";
  if (leaves === "register") return float80Text(env.suppressed() ? c.a : c.result);
  if (leaves === "loaded") return float80Text(env.loadSuppressed() ? c.a : c.result);
  if (leaves === "registers") {
    return env.suppressed()
      ? `${float80Text(c.a)};${float80Text(c.b)}`
      : `${float80Text(c.result)};${float80Text(c.second)}`;
  }
  if (env.storeSuppressed()) c.memory.fill(0xa5);
  let text = "";
  for (let i = leaves - 1; i >= 0; i--) text += c.memory[i].toString(16).padStart(2, "0");
  return text;
}

/** Reads sign and exponent, then significand, as 20 hexadecimal digits. */
export function parseFloat80(out: Float80, text: string): void {
  out.set(parseInt(text.slice(0, 4), 16), parseInt(text.slice(4, 12), 16), parseInt(text.slice(12, 20), 16));
}

function parseBytes(bytes: Uint8Array, text: string): void {
  for (let i = 0; i < text.length / 2; i++) {
    bytes[i] = parseInt(text.slice(text.length - 2 * i - 2, text.length - 2 * i), 16);
  }
}

/** Writes a value as `parseFloat80` reads it. */
export function float80Text(x: Readonly<Float80>): string {
  return x.se.toString(16).padStart(4, "0") + x.hi.toString(16).padStart(8, "0") + x.lo.toString(16).padStart(8, "0");
}

/** Stores the limbs of a 64-bit result in memory. */
export function storeBits64(c: Case, bits: Readonly<Bits64>): void {
  c.view.setUint32(0, bits.lo, true);
  c.view.setUint32(4, bits.hi, true);
}
