// What a translation says of itself, on units made by hand: classes, how each instruction is translated, what follows.

import { assert, assertEquals } from "@std/assert";
import { compileRegion } from "../../../plugins/bt/compile.ts";
import { Emitter } from "../../../plugins/bt/emit/emitter.ts";
import { BUDGET, EIP, ENTRY, LOCAL_NAMES, STATUS } from "../../../plugins/bt/emit/locals.ts";
import { type Translation, TranslationLog, type TranslationView } from "../../../plugins/bt/mod.ts";
import { findRegion } from "../../../plugins/bt/units.ts";
import { FunctionBody } from "../../../plugins/bt/wasm.ts";

const PAGE_BYTES = 4096;
/** Machine page that the code lies in, and the linear page that it is mapped to. */
const MPN = 1, LINEAR_PAGE = 0x40_0000;

/** Translates code at offsets of one page, unit by unit or as regions of two, and looks at it. */
function viewsOf(
  code: Readonly<Record<number, readonly number[]>>,
  entries: readonly number[],
  units = 1,
): TranslationView[] {
  const machine = new Uint8Array(2 * PAGE_BYTES);
  for (const [offset, bytes] of Object.entries(code)) machine.set(bytes, MPN * PAGE_BYTES + Number(offset));
  const log = new TranslationLog(machine);
  for (const offset of entries) {
    const region = findRegion({ bytes: machine, mpn: MPN, offsets: [offset], limits: { cap: 12, units } });
    const body = compileRegion(region, { linearPage: LINEAR_PAGE, mode: 0, slot: 0 });
    const translation: Translation = { mpn: MPN, eip: LINEAR_PAGE + offset, mode: 0, region, body };
    log.add(translation);
  }
  return log.views();
}

const NOP = 0x90, RET = 0xc3, HLT = 0xf4, INC_EAX = 0x40;
/** An instruction that no emitter has. */
const DAA = 0x27;
/** JNZ, JMP and CALL with a displacement; JMP EAX, CALL [EAX]. */
const jnz = (displacement: number) => [0x75, displacement & 0xff];
const jmp = (displacement: number) => [0xeb, displacement & 0xff];
const call = (displacement: number) => [0xe8, displacement, 0, 0, 0];
const JMP_EAX = [0xff, 0xe0], CALL_EAX = [0xff, 0xd0];

Deno.test("a unit's successors: where control goes, and what becomes of the edge", () => {
  const cases: [title: string, bytes: number[], links: string[]][] = [
    ["a branch to what is not translated", [INC_EAX, ...jnz(13)], [
      "taken 400010 continuation",
      "fall-through 400003 continuation",
    ]],
    ["a branch to what is translated", [INC_EAX, ...jnz(29)], [
      "taken 400020 chained",
      "fall-through 400003 continuation",
    ]],
    ["a branch to itself", [INC_EAX, ...jnz(-3)], ["taken 400000 jump", "fall-through 400003 continuation"]],
    ["a jump to what cannot be translated", [...jmp(46)], ["taken 400030 interpreter"]],
    ["a jump out of the page", [0xe9, 0x00, 0x10, 0, 0], ["taken 401005 continuation"]],
    ["a call", [...call(27)], ["call 400020 chained"]],
    ["a return", [RET], ["return lookup"]],
    ["an indirect jump", JMP_EAX, ["indirect lookup"]],
    ["an indirect call", CALL_EAX, ["indirect lookup"]],
    ["a privileged instruction", [INC_EAX, HLT], ["fall-through 400002 continuation"]],
    ["an instruction without an emitter", [INC_EAX, DAA], ["fall-through 400001 interpreter"]],
    ["the cap", Array.from({ length: 13 }, () => INC_EAX), ["fall-through 40000c continuation"]],
  ];
  for (const [title, bytes, expected] of cases) {
    const [view] = viewsOf({ 0: bytes, 0x10: [NOP, RET], 0x20: [INC_EAX, RET], 0x30: [DAA] }, [0, 0x20]);
    const links = view.units[0].successors.map(({ kind, target, link }) =>
      [kind, ...target === undefined ? [] : [target.toString(16)], link].join(" ")
    );
    assertEquals(links, expected, title);
  }
});

Deno.test("in a region the unit that follows is reached without a jump, every other unit by one", () => {
  const [{ units }] = viewsOf({ 0: [INC_EAX, ...jnz(13), INC_EAX, ...jmp(-6)], 0x10: [RET] }, [0], 3);
  const links = units.map(({ successors }) => successors.map(({ link }) => link));
  assertEquals(links, [["jump", "elided"], ["jump"], ["lookup"]]);
});

Deno.test("an instruction shows its class and how it is translated; the one left to the interpreter ends the unit", () => {
  const [{ units: [unit] }, { units: [other] }] = viewsOf({ 0: [INC_EAX, HLT], 0x10: [INC_EAX, DAA] }, [0, 0x10]);
  assertEquals(unit.instructions.map(({ text, class: kind, translation }) => [text, kind, translation]), [
    ["inc eax", "innocuous", "ident"],
    ["hlt", "privileged", "callout"],
  ]);
  assertEquals(other.instructions.map(({ text, class: kind, translation }) => [text, kind, translation]), [
    ["inc eax", "innocuous", "ident"],
    ["daa", "innocuous", "interpret"],
  ]);
  assertEquals([unit.sizeBytes, other.sizeBytes], [2, 1]);
});

Deno.test("a translation's module is what WebAssembly accepts", () => {
  const [{ module }] = viewsOf({ 0: [INC_EAX, ...jnz(-3)] }, [0]);
  assert(WebAssembly.validate(module));
});

Deno.test("a view shows the code as it was translated, whatever has been stored there since", () => {
  const machine = new Uint8Array(2 * PAGE_BYTES);
  machine.set([INC_EAX, RET], MPN * PAGE_BYTES);
  const log = new TranslationLog(machine);
  const region = findRegion({ bytes: machine, mpn: MPN, offsets: [0], limits: { cap: 12, units: 1 } });
  log.add({
    mpn: MPN,
    eip: LINEAR_PAGE,
    mode: 0,
    region,
    body: compileRegion(region, { linearPage: LINEAR_PAGE, mode: 0, slot: 0 }),
  });
  machine.fill(0);
  assertEquals(log.views()[0].units[0].instructions.map(({ bytes }) => [...bytes]), [[INC_EAX], [RET]]);
});

Deno.test("the names of an emitted function's locals are those that the emitter gives them", () => {
  const emitter = new Emitter(new FunctionBody(1), 0);
  const nameOf = (local: number) => LOCAL_NAMES[local];
  assertEquals([ENTRY, BUDGET, EIP, STATUS].map(nameOf), ["entry", "budget", "eip", "status"]);
  assertEquals([0, 1, 2, 3, 4, 5, 6, 7].map((register) => nameOf(emitter.register(register))), [
    ...["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"],
  ]);
  assertEquals([emitter.storedResult, emitter.storedAux].map(nameOf), ["flagResult", "flagAux"]);
  const sets = [emitter.newFlagLocals(), emitter.newFlagLocals()].map((locals) => locals.map(nameOf));
  assertEquals(sets.toSorted(), [["left0", "right0", "result0"], ["left1", "right1", "result1"]]);
  assertEquals(LOCAL_NAMES[emitter.temporary()], undefined);
});
