// Every instruction that user code can run against a real processor (AMD EPYC, Zen 4), undefined flags included: the cases of
// tests/oracle/host, by the digests in tests/fixtures/host/digests.txt.gz. `record.ts KEY INDEX` there shows the host's answer.

import { assert, assertEquals } from "@std/assert";
import { readDigests } from "../../oracle/host/digests.ts";
import { opcodeTable } from "../../../plugins/x86/opcodes/table.ts";
import { Vector } from "../../../plugins/x86/state.ts";
import { type Form, forms, type Kind, LEFT_OUT } from "../../oracle/host/forms.ts";
import { NO_FAULT, UserProcessor } from "./host_cases.ts";

/** Differences that a message shows of a form. */
const SHOWN = 3;
/** Cases in all, at the least; of those of a kind, the share that has to complete, and how many have to raise what. */
const CASES = 300_000, COMPLETED_SHARE = 0.85;
const RAISED: Readonly<Record<Kind, ReadonlyMap<number, number>>> = {
  integer: new Map([[Vector.divideError, 2000], [Vector.bound, 100], [Vector.invalidOpcode, 1000], [
    Vector.generalProtection,
    400,
  ]]),
  x87: new Map([[Vector.floatingPoint, 800]]),
  simd: new Map([[Vector.simd, 2500], [Vector.floatingPoint, 100], [Vector.generalProtection, 2000]]),
};

const digests = await readDigests();

function expectedOf(form: Form): number[] {
  const expected = digests.get(form.key);
  assert(expected !== undefined, `the fixture has no form ${form.key}: record it with tests/oracle/host/record.ts`);
  assertEquals(expected.length, form.cases, `cases of ${form.key}`);
  return expected;
}

for (const kind of ["integer", "x87", "simd"] satisfies Kind[]) {
  Deno.test(`${kind} instructions leave the state that a real processor leaves, whatever they start from`, () => {
    const processor = new UserProcessor();
    const formsOfKind = forms.filter((form) => form.kind === kind);
    const told = formsOfKind.flatMap((form) => {
      const found = processor.differences(form, expectedOf(form));
      return found.length === 0 ? [] : [`${form.key}: ${found.length} of ${form.cases}`, ...found.slice(0, SHOWN)];
    });
    assertEquals(told.join("\n"), "");
    const cases = formsOfKind.reduce((sum, form) => sum + form.cases, 0), raised = processor.vectors;
    assert(
      (raised.get(NO_FAULT) ?? 0) > cases * COMPLETED_SHARE,
      `of ${cases} cases ${raised.get(NO_FAULT)} completed`,
    );
    for (const [vector, least] of RAISED[kind]) {
      assert((raised.get(vector) ?? 0) >= least, `vector ${vector} was raised ${raised.get(vector)} times`);
    }
  });
}

Deno.test("the recorded cases are as many as promised, and of no form that is gone", () => {
  assert([...digests.values()].reduce((sum, { length }) => sum + length, 0) >= CASES);
  assertEquals([...digests.keys()].sort(), forms.map(({ key }) => key).sort());
});

Deno.test("what the recorded cases leave out is in the opcode table", () => {
  const handlers = new Set(opcodeTable.map((row) => row.handler));
  assertEquals(Object.values(LEFT_OUT).flat().filter((name) => !handlers.has(name)), []);
});
