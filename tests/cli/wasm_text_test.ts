// Emitted WebAssembly as text: what is printed is what was emitted, in lines that can be read.

import { assert, assertEquals, assertMatch } from "@std/assert";
import wabt from "wabt";
import { functionText, nameAddresses } from "../../cli/wasm_text.ts";
import { inspectGuest } from "../../cli/inspection.ts";
import { IMPORTS } from "../../plugins/bt/emit/imports.ts";
import { TYPES } from "../../plugins/bt/runtime.ts";

const WIDTH = 100;

const TYPE_NAMES: Readonly<Record<number, string>> = {
  0x7f: "i32",
  0x7e: "i64",
  0x7d: "f32",
  0x7c: "f64",
  0x7b: "v128",
};
const nameTypes = (types: readonly number[]) => types.map((type) => TYPE_NAMES[type]).join(" ");

/** What the printed function refers to, in the order of its indices. */
const HEAD = [
  ...TYPES.map(({ parameters, results }) =>
    `(type (func (param ${nameTypes(parameters)}) (result ${nameTypes(results)})))`
  ),
  '(import "m" "machine" (memory $machine 1 1))',
  '(import "m" "table" (table 1 1 funcref))',
  ...IMPORTS.map(({ name, type }) => `(import "m" "${name}" (func $${name} (type ${type})))`),
].join("\n");

Deno.test("the text of an emitted function assembles to the function that was emitted", async () => {
  const tools = await wabt();
  const features = { multi_memory: true, tail_call: true, sign_extension: true };
  const { translations } = inspectGuest({ guest: "isprime", translator: { regionUnits: 32 }, maxSteps: 100_000 });
  for (const { module, address } of translations) {
    const text = await functionText(module, WIDTH);
    const assembled =
      tools.parseWat("emitted.wat", `(module ${HEAD}\n${text})`, features).toBinary({ canonicalize_lebs: true }).buffer;
    // Offsets that are filled in late are longer than they need be: wabt writes both anew.
    const emitted = tools.readWasm(module, features).toBinary({ canonicalize_lebs: true }).buffer;
    assertEquals(functionOf(assembled), functionOf(emitted), `translation at 0x${address.toString(16)}\n${text}`);
  }
});

Deno.test("the text names registers and memories, and keeps within the width", async () => {
  const { translations } = inspectGuest({ guest: "isprime", maxSteps: 100_000 });
  const texts = await Promise.all(translations.map(({ module }) => functionText(module, WIDTH)));
  for (const text of texts) {
    assertMatch(text, /^\(func \$ccf /);
    for (const line of text.split("\n")) assert(line.length <= WIDTH, line);
  }
  assertMatch(texts.join("\n"), /\(local\.set \$esi \(i32\.load offset=\d+ /);
});

Deno.test("constants that are addresses of the code get hexadecimal digits and their names", () => {
  const nameOf = (address: number) => address === 0x1000 ? "main" : address === 0xc000_0000 ? "kernel" : undefined;
  const cases: [text: string, range: [number, number], expected: string][] = [
    ["(i32.const 4096)", [0x1000, 0x1fff], "(i32.const 0x1000 (;main;))"],
    ["(i32.const 4097)", [0x1000, 0x1fff], "(i32.const 0x1001)"],
    ["(i32.const 8192)", [0x1000, 0x1fff], "(i32.const 8192)"],
    ["(i32.const -1073741824)", [0xc000_0000, 0xc000_0fff], "(i32.const 0xc0000000 (;kernel;))"],
    ["(i64.const 4096)", [0x1000, 0x1fff], "(i64.const 4096)"],
  ];
  for (const [text, range, expected] of cases) assertEquals(nameAddresses(text, range, nameOf), expected);
});

const CODE_SECTION = 10;
/** A module's header: magic number and version. */
const HEADER_BYTES = 8;

/** The only function of a module: the types of its locals, and its instructions. */
function functionOf(module: Uint8Array): { locals: number[]; code: Uint8Array } {
  let at = HEADER_BYTES;
  const unsigned = () => {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = module[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (module[at] !== CODE_SECTION) {
    if (at++ >= module.length) throw new Error("the module has no code section");
    const length = unsigned();
    at += length;
  }
  at++;
  unsigned();
  assertEquals(unsigned(), 1, "functions of the module");
  const length = unsigned();
  const end = at + length;
  // Locals are groups of one type; how they are grouped is the encoder's choice.
  const locals: number[] = [];
  for (let groups = unsigned(); groups > 0; groups--) {
    const count = unsigned(), type = module[at++];
    for (let i = 0; i < count; i++) locals.push(type);
  }
  return { locals, code: module.slice(at, end) };
}
