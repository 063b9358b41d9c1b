// The plugin guide's files and commands do what it says, in a folder outside the project.

import { assert, assertEquals, assertGreater, assertLess, assertLessOrEqual, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { inTemporaryFolder } from "./cli/command.ts";

const projectFolder = fromFileUrl(new URL("..", import.meta.url)).replace(/\/$/, "");
const guide = await Deno.readTextFile(`${projectFolder}/docs/plugin-guide.md`);
const NPX_DENO = "npx -y deno@2.9.6";
const MOST_LINES = 30;

const blocksOf = (language: string) =>
  [...guide.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map((match) => match[1]);
const [[config], [policy], commands] = [blocksOf("json"), blocksOf("ts"), blocksOf("sh")];

interface Sample {
  readonly vm: string;
  readonly allocatedMib: number;
  readonly targetMib: number;
  readonly swappedMib: number;
  /** The policy's own column. */
  readonly grantedMib: number;
}

async function samplesOf(path: string): Promise<Sample[]> {
  const [head, ...rows] = (await Deno.readTextFile(path)).trimEnd().split("\n").map((row) => row.split(","));
  return rows.map((row) => {
    const field = (name: string) => row[head.indexOf(name)];
    const number = (name: string) => Number(field(name));
    return {
      vm: field("vm"),
      allocatedMib: number("allocatedMib"),
      targetMib: number("targetMib"),
      swappedMib: number("swappedMib"),
      grantedMib: number("my-policy.grantedMib"),
    };
  });
}

Deno.test("a policy of the guide's length is a policy of thirty lines", () => {
  assertLessOrEqual(policy.trimEnd().split("\n").length, MOST_LINES);
});

Deno.test("the guide's commands, run in a folder of one's own, give what it says", async () => {
  await inTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/vms.json`, config);
    await Deno.writeTextFile(`${folder}/my-policy.ts`, policy);
    assertEquals(commands.length, 3);
    for (const command of commands) {
      const { code, stdout, stderr } = await new Deno.Command("sh", {
        args: ["-e", "-c", command.replaceAll(NPX_DENO, `"${Deno.execPath()}"`)],
        cwd: folder,
        env: { NO_COLOR: "1", BALLAST: projectFolder },
        stdin: "null",
      }).output();
      const [output, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      assertEquals(code, 0, errors);
      for (const name of ["first", "second"]) {
        assertMatch(output, new RegExp(`^${name}: toucher: 4608 pages intact`, "m"));
      }
      assertMatch(errors, /VM +STATE +ALLOCATED +TARGET +ACTIVE +SHARED +BALLOONED +SWAPPED/);
    }
    const [plain, strict, half] = await Promise.all(["plain", "strict", "half"].map(async (name) => {
      const stats = JSON.parse(await Deno.readTextFile(`${folder}/${name}.json`));
      const samples = await samplesOf(`${folder}/${name}.csv`);
      const most = (vm: string) => Math.max(...samples.filter((s) => s.vm === vm).map((s) => s.swappedMib));
      return { stats, samples, most, seconds: stats.hostTimeNs / 1e9, readPages: stats.plugins.swap.readPages };
    }));
    // By shares, 11 to 10, while both are there.
    const both = plain.samples.slice(2, 4);
    assert(Math.abs(both[0].targetMib - 1.1 * both[1].targetMib) < 0.1, JSON.stringify(both));
    assertGreater(plain.most("second"), 3);
    assertEquals(strict.most("first"), 0);
    assertGreater(half.most("first"), 0);
    // A column of the policy's own: what it granted is what the allocator made of it, rounded down.
    for (const { vm, targetMib, grantedMib } of [...strict.samples, ...half.samples].slice(2)) {
      assert(grantedMib - targetMib >= 0 && grantedMib - targetMib < 2 / 256, `${vm}: ${grantedMib}, not ${targetMib}`);
    }
    assert(plain.samples.every(({ grantedMib }) => Number.isNaN(grantedMib)), "not loaded, no column");
    assertGreater(strict.stats.plugins["my-policy"]["first.grantedMib"], 0);
    assert("asked" in strict.stats.plugins["my-policy"] && !("my-policy" in plain.stats.plugins));
    // The figures that the text gives.
    assertEquals([plain, strict, half].map(({ seconds }) => seconds.toFixed(1)), ["7.0", "4.4", "5.5"]);
    assertEquals([strict, plain].map(({ readPages }) => Math.round(readPages / 1000)), [14, 47]);
    assertLess(strict.readPages, half.readPages);
  });
});

Deno.test("the questions that the guide lists are those of the plugins", async () => {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-read", `${projectFolder}/mod.ts`, "plugins", "--events"],
    env: { NO_COLOR: "1" },
  }).output();
  assertEquals(code, 0);
  const listed = [...guide.matchAll(/^\| `([\w.]+)` \|/gm)].map((match) => match[1]);
  assertEquals(listed.length, 5);
  for (const name of listed) {
    assertMatch(new TextDecoder().decode(stdout), new RegExp(`${name.replace(".", "\\.")} +decide`));
  }
});
