import { assertEquals } from "@std/assert";
import { decode } from "../../../plugins/x86/decoder.ts";
import { DF, DS, IF, SS, STATUS_FLAGS } from "../../../plugins/x86/instruction.ts";
import { integerBinders } from "../../../plugins/x86/interpreter/integer.ts";
import { Mode, type Processor } from "../../../plugins/x86/processor.ts";
import * as S from "../../../plugins/x86/state.ts";
import { executeInstruction, flatProcessor, peek, poke } from "./flat_processor.ts";
import { CODE_ADDRESS, DATA_ADDRESS, DATA_BYTES, type IntegerCase, integerCases } from "./integer_cases.ts";

/** Runs a case and says what came out different from the real processor, or nothing. */
function differences(cpu: Processor, { bytes, before, after, fault }: IntegerCase): string[] {
  poke(cpu, DATA_ADDRESS, before.memory);
  before.registers.forEach((value, register) => cpu.r[register] = value);
  cpu.setEflags(before.flags | IF, STATUS_FLAGS | DF | IF);
  const raised = executeInstruction(cpu, bytes, CODE_ADDRESS);
  const found: string[] = [];
  if (raised?.vector !== fault) found.push(`fault ${raised?.vector}, expected ${fault}`);
  const expected = after ?? before;
  for (const [register, value] of expected.registers.entries()) {
    const got = cpu.r[register] >>> 0;
    if (got !== value) found.push(`register ${register} is ${got.toString(16)}, expected ${value.toString(16)}`);
  }
  const flags = cpu.eflags() & (STATUS_FLAGS | DF);
  if (flags !== expected.flags) found.push(`flags ${flags.toString(16)}, expected ${expected.flags.toString(16)}`);
  const eip = cpu.r[S.EIP] >>> 0;
  if (eip !== expected.eip) found.push(`EIP ${eip.toString(16)}, expected ${expected.eip.toString(16)}`);
  const memory = peek(cpu, DATA_ADDRESS, DATA_BYTES);
  const differs = memory.findIndex((byte, offset) => byte !== expected.memory[offset]);
  if (differs >= 0) found.push(`memory at ${differs.toString(16)} is ${memory[differs].toString(16)}`);
  return found;
}

function failures(cpu: Processor, cases: readonly IntegerCase[]): string[] {
  return cases.flatMap((one) => {
    const found = differences(cpu, one);
    const decoded = decode(one.bytes, 0, one.bytes.length, 32);
    const name = typeof decoded === "string" ? decoded : decoded.row.name;
    return found.length === 0 ? [] : [`${name}: ${one.line}\n    ${found.join("; ")}`];
  });
}

const cases = await integerCases();

Deno.test("integer instructions do what a real processor does, undefined flags included", () => {
  const cpu = flatProcessor(3);
  assertEquals(cpu.mode & Mode.flat, Mode.flat);
  assertEquals(failures(cpu, cases), []);
});

Deno.test("integer instructions do the same where segment limits have to be checked", () => {
  const cpu = flatProcessor(3);
  for (const segment of [DS, SS]) cpu.r[S.LIMIT + segment] = DATA_ADDRESS + DATA_BYTES - 1;
  cpu.updateMode();
  assertEquals(cpu.mode & Mode.flat, 0);
  assertEquals(failures(cpu, cases), []);
});

Deno.test("the cases cover every integer handler that user code can run without I/O", () => {
  const seen = new Set(cases.map(({ bytes }) => {
    const decoded = decode(bytes, 0, bytes.length, 32);
    return typeof decoded === "string" ? decoded : decoded.row.handler;
  }));
  const missing = Object.keys(integerBinders).filter((name) => !seen.has(name) && name !== "ins" && name !== "outs");
  assertEquals(missing, []);
});
