// Every MMX, SSE and SSE2 instruction against a real processor: results, MXCSR, EFLAGS, memory, and the x87 state that MMX
// registers alias, under all settings of MXCSR.

import { assert, assertEquals } from "@std/assert";
import { simdRows } from "../../../../plugins/x86/opcodes/simd.ts";
import * as S from "../../../../plugins/x86/state.ts";
import { flatProcessor } from "../flat_processor.ts";
import { lineName, runLine, simdLines } from "./cases.ts";

/** Failures that a message shows. */
const SHOWN = 3;

const lines = await simdLines();

Deno.test("SIMD instructions leave the state that a real processor leaves", () => {
  const cpu = flatProcessor(3);
  cpu.r[S.CR4] |= S.CR4_OSFXSR | S.CR4_OSXMMEXCPT;
  let cases = 0, exceptions = 0;
  const failures = lines.flatMap((line) => {
    const outcome = runLine(cpu, line);
    cases += line.digests.length;
    exceptions += outcome.vectors.get(S.Vector.simd) ?? 0;
    return outcome.failures.length === 0
      ? []
      : [`line ${line.number}, ${lineName(line)}: ${outcome.failures.length} of ${line.digests.length}`]
        .concat(outcome.failures.slice(0, SHOWN));
  });
  assertEquals(failures.join("\n"), "");
  assert(cases >= 60_000, `only ${cases} cases`);
  assert(exceptions >= 2000, `only ${exceptions} cases with an unmasked exception`);
});

Deno.test("the cases cover every SIMD instruction but those that have tests of their own", () => {
  const elsewhere = "rsqrtps rsqrtss rcpps rcpss fxsave fxrstor ldmxcsr stmxcsr clflush fence nop emms".split(" ");
  const seen = new Set(lines.map(lineName));
  const missing = simdRows.filter((row) => !seen.has(row.name) && !elsewhere.includes(row.handler));
  assertEquals(missing.map((row) => row.name), []);
});
