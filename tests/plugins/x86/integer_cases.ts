// Reads tests/fixtures/integer/cases.txt.gz: what integer instructions did on a real processor. generate.c beside it says
// how the cases were made and what a line means.

/** Where the cases' instruction and data page were. */
export const CODE_ADDRESS = 0x0040_0100, DATA_ADDRESS = 0x8000, DATA_BYTES = 4096;

/** One instruction, the state before and the state after it. */
export interface IntegerCase {
  readonly line: string;
  readonly bytes: Uint8Array;
  readonly before: CaseState;
  /** Undefined where the instruction faulted. */
  readonly after: CaseState | undefined;
  /** Vector of the fault. */
  readonly fault: number | undefined;
}

export interface CaseState {
  /** EAX to EDI, unsigned. */
  readonly registers: readonly number[];
  /** Status flags and DF. */
  readonly flags: number;
  readonly eip: number;
  readonly memory: Uint8Array;
}

const REGISTER_KEYS = "acdbspio";
const DEFAULT_REGISTERS = [0x11223344, 1, 2, 0x200, 0x800, 0x900, 0x400, 0x600].map((value, register) =>
  register < 3 ? value : DATA_ADDRESS + value
);

function freshMemory(): Uint8Array {
  return Uint8Array.from({ length: DATA_BYTES }, (_, offset) => (offset * 37 + 11) & 0xff);
}

/** All cases, in the file's order. */
export async function integerCases(): Promise<IntegerCase[]> {
  const file = await Deno.open(new URL("../../fixtures/integer/cases.txt.gz", import.meta.url));
  const text = await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
  return text.trimEnd().split("\n").map(readCase);
}

function readCase(line: string): IntegerCase {
  const [input, output] = line.split(" >");
  const [bytesText, ...inputWords] = input.split(" ");
  const bytes = fromHex(bytesText);
  const start = { registers: DEFAULT_REGISTERS, flags: 0, eip: CODE_ADDRESS, memory: freshMemory() };
  const before = changed(start, inputWords);
  const outputWords = output.trim().split(" ");
  const fault = outputWords.find((word) => word.startsWith("x="));
  return {
    line,
    bytes,
    before,
    after: fault === undefined ? changed({ ...before, eip: CODE_ADDRESS + bytes.length }, outputWords) : undefined,
    fault: fault === undefined ? undefined : parseInt(fault.slice(2), 16),
  };
}

function changed(state: CaseState, words: readonly string[]): CaseState {
  const registers = [...state.registers], memory = state.memory.slice();
  let { flags, eip } = state;
  for (const word of words) {
    const [key, text] = word.split("=");
    const register = REGISTER_KEYS.indexOf(key);
    if (key === "f") flags = parseInt(text, 16);
    else if (key === "e") eip = parseInt(text, 16);
    else if (register >= 0) registers[register] = parseInt(text, 16);
    else if (key[0] === "m") memory.set(fromHex(text), parseInt(key.slice(1), 16));
    else throw new Error(`a case has the unknown key "${key}"`);
  }
  return { registers, flags, eip, memory };
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}
