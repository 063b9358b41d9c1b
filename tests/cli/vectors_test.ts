// The vectors command, on vectors made here, and on the captured ones where BALLAST_VECTORS names their file.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { runVectors } from "../../cli/vectors.ts";
import { ballast, inTemporaryFolder } from "./command.ts";

const regs = {
  ax: 0,
  bx: 0,
  cx: 0,
  dx: 0,
  cs: 0x100,
  ss: 0,
  ds: 0,
  es: 0,
  sp: 0x800,
  bp: 0,
  si: 0,
  di: 0,
  ip: 0,
  flags: 2,
};

/** MOV AL, imm8 and a HLT. */
function moveToAl(value: number, found: number) {
  const bytes = [0xb0, value, 0xf4];
  return {
    form: "B0",
    name: `mov al,${value}`,
    bytes,
    initial: { regs, ram: bytes.map((byte, i) => [0x1000 + i, byte]), queue: [] },
    final: { regs: { ax: found, ip: 3 }, ram: [], queue: [] },
  };
}

/** BX to [BX]: one byte of memory is not what the vector says. */
const wrongStore = {
  form: "89",
  name: "mov [bx],bx",
  bytes: [0x89, 0x1f, 0xf4],
  initial: { regs: { ...regs, bx: 0x300 }, ram: [[0x1000, 0x89], [0x1001, 0x1f], [0x1002, 0xf4]], queue: [] },
  final: { regs: { ip: 3 }, ram: [[0x300, 0], [0x301, 4]], queue: [] },
};

/** LOCK MOV AL, imm8: invalid on a 32-bit processor. */
const locked = { ...moveToAl(7, 7), name: "lock mov al,7", bytes: [0xf0, 0xb0, 7, 0xf4] };

const lines = (vectors: readonly unknown[]) => vectors.map((vector) => JSON.stringify(vector)).join("\n") + "\n";

Deno.test("vectors pass, fail with what differs, and are skipped with the reason", async () => {
  await inTemporaryFolder(async (folder) => {
    const file = `${folder}/v.jsonl`;
    await Deno.writeTextFile(file, lines([moveToAl(5, 5), moveToAl(5, 6), wrongStore, locked]));
    const results = await runVectors(file);
    assertEquals([results.passed, results.failed], [1, 2]);
    assertEquals(results.failures.get("B0"), ["mov al,5 (line 2): ax is 0x5, expected 0x6"]);
    assertEquals(results.failures.get("89"), ["mov [bx],bx (line 3): memory at 0x301 is 0x3, expected 0x4"]);
    assertEquals([...results.skipped].map(([reason, count]) => [reason.slice(0, 4), count]), [["LOCK", 1]]);
  });
});

Deno.test("the command reads gzip, ends with the counts, and fails with status 3 where a vector fails", async () => {
  await inTemporaryFolder(async (folder) => {
    const gzip = (text: string) =>
      new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
    await Deno.writeFile(`${folder}/good.jsonl.gz`, await gzip(lines([moveToAl(5, 5), moveToAl(6, 6)])));
    await Deno.writeFile(`${folder}/bad.jsonl.gz`, await gzip(lines([moveToAl(5, 5), moveToAl(5, 6)])));
    const good = await ballast(["vectors", "good.jsonl.gz"], { cwd: folder });
    assertEquals([good.status, good.stdout], [0, "2 passed, 0 failed, 0 skipped\n"]);
    const bad = await ballast(["vectors", "bad.jsonl.gz", "--form", "b0"], { cwd: folder });
    assertEquals(bad.status, 3);
    assertStringIncludes(
      bad.stdout,
      "B0: 1 failed\n  mov al,5 (line 2): ax is 0x5, expected 0x6\n1 passed, 1 failed, 0 skipped\n",
    );
  });
});

const refused: readonly [string, string, string[], string][] = [
  ["a file that is not there", "", ["nowhere.jsonl"], "vectors"],
  ["a file that is no gzip", "x", ["v.gz"], "not gzip data, or damaged"],
  ["a line that is no vector", '{"form": "00"}\n', ["v.jsonl"], "v.jsonl:1 is no vector"],
  ["a form that does not occur", lines([moveToAl(5, 5)]), ["v.jsonl", "--form", "FF.7"], "no vectors of form FF.7"],
];
for (const [what, text, args, message] of refused) {
  Deno.test(`the vectors command refuses ${what}`, async () => {
    await inTemporaryFolder(async (folder) => {
      for (const name of ["v.gz", "v.jsonl"]) await Deno.writeTextFile(`${folder}/${name}`, text);
      const { status, stderr } = await ballast(["vectors", ...args], { cwd: folder });
      assertEquals(status, 2);
      assertStringIncludes(stderr, message);
    });
  });
}

const captured = Deno.env.get("BALLAST_VECTORS");

Deno.test({
  name: `the captured 80286 vectors pass${captured === undefined ? " (skipped: BALLAST_VECTORS names no file)" : ""}`,
  ignore: captured === undefined,
  async fn() {
    const results = await runVectors(captured ?? "");
    assertEquals([...results.failures], []);
    // The sampled file has 23,100 vectors; a shorter one would prove less than it seems to.
    assertEquals(results.passed > 22_000, true, `only ${results.passed} vectors ran`);
  },
});
