// Faults of the world around a run, and of plugins in it: what can be refused is refused before anything runs; what cannot costs
// no result that there is.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ballast, inTemporaryFolder } from "./command.ts";

const ENDLESS = ["run", "--guest", "idle", "--set", "guest.ticks=0"];
const WRITING = ["--allow-read", "--allow-write"];

const unwritable: readonly [what: string, path: string, reason: string][] = [
  ["in no folder", "nowhere/out.txt", "no such folder"],
  ["that is a folder", ".", "is a folder"],
];
for (const option of ["--stats", "--series"]) {
  for (const [what, path, reason] of unwritable) {
    Deno.test(`${option} to a file ${what} is refused before an endless guest runs`, async () => {
      await inTemporaryFolder(async (cwd) => {
        const { status, stderr } = await ballast([...ENDLESS, option, path], { cwd, permissions: WRITING });
        assertEquals(status, 2);
        assertMatch(stderr, /^ballast: [^\n]+\n$/);
        assertStringIncludes(stderr, reason);
      });
    });
  }
}

Deno.test("a disk that is full when statistics are written is told in one line, after all of the guest's output", async () => {
  const args = ["run", "--guest", "hello", "--stats", "/dev/full"];
  const { status, stdout, stderr } = await ballast(args, { permissions: ["--allow-all"] });
  assertEquals([status, stdout], [2, "hello, world\n"]);
  assertMatch(stderr, /^ballast: statistics \/dev\/full: [^\n]*No space left[^\n]*\n$/);
});

Deno.test("a state hash over a page that the swap file does not give back ends its VM with a reason and no stack", async () => {
  await inTemporaryFolder(async (cwd) => {
    const guest = { use: "toucher", options: { schedule: "16:100,1:500" } };
    await Deno.writeTextFile(
      `${cwd}/c.json`,
      JSON.stringify({ host: { memoryMib: 12 }, vms: [{ guest, memoryMib: 24 }] }),
    );
    const args = ["run", "c.json", "--set", "swap.inject=read", "--state-hash", "500000"];
    const { status, stderr } = await ballast(args, { cwd, permissions: WRITING });
    assertEquals(status, 3, stderr);
    assertMatch(stderr, /no state hash at step \d+: [^\n]*input\/output error \(injected\)/);
    assertEquals(/^\s+at /m.test(stderr), false, stderr);
  });
});

Deno.test("Ctrl-C ends guests that compute without a pause, with status 130, statistics and series", async () => {
  await inTemporaryFolder(async (cwd) => {
    const busy = { guest: { use: "alu", options: { iterations: 2_000_000_000 } } };
    await Deno.writeTextFile(`${cwd}/c.json`, JSON.stringify({ vms: [{ guest: "hello" }, busy, busy] }));
    const { status, stderr } = await ballast(["run", "c.json", "--stats", "s.json", "--series", "s.csv"], {
      cwd,
      permissions: WRITING,
      act: { when: "hello, world", run: (process) => process.kill("SIGINT") },
    });
    assertEquals(status, 130);
    assertStringIncludes(stderr, "stopped");
    const { vms } = JSON.parse(await Deno.readTextFile(`${cwd}/s.json`));
    assertEquals(vms.map((vm: { exit: string }) => vm.exit), ["halt", "stopped", "stopped"]);
    assert((await Deno.readTextFile(`${cwd}/s.csv`)).startsWith("hostTimeNs,vm,"));
  });
});

const broken: readonly [what: string, setup: string, message: string, exits: readonly string[]][] = [
  [
    "an engine whose function throws",
    `provide(x86.engine, { ...service(x86.engine, "x86"), name: "broken", execute() { throw new Error("oops"); } });`,
    'plugin "broken" failed: Error: oops',
    ["stopped", "stopped"],
  ],
  [
    "a function called as host time passes that throws",
    `every(1000, () => { throw new Error("oops"); });`,
    'plugin "broken" failed in its listener of host time: oops',
    ["stopped", "stopped"],
  ],
  [
    "a listener that throws in one VM's turn",
    `on(consoles.line, ({ vm }) => { if (vm.name === "hello2") throw new Error("oops"); });`,
    'hello2 ended: failed: plugin "broken" failed in its listener of console.line: oops',
    ["halt", "failed"],
  ],
];
for (const [what, setup, message, exits] of broken) {
  Deno.test(`${what} is named, gives status 70, and statistics are written`, async () => {
    await inTemporaryFolder(async (cwd) => {
      const source = `import { console as consoles, definePlugin, x86 } from "ballast";
export default definePlugin({
  name: "broken",
  requires: ["x86", "console"],
  replaces: [x86.engine],
  setup({ on, every, provide, service }) { void consoles; void on; void every; void provide; void service; ${setup} },
});`;
      await Deno.writeTextFile(`${cwd}/broken.ts`, source);
      await Deno.writeTextFile(`${cwd}/c.json`, JSON.stringify({ vms: [{ guest: "hello" }, { guest: "hello" }] }));
      const args = ["run", "c.json", "--plugins", "./broken.ts", "--stats", "s.json"];
      const { status, stderr } = await ballast(args, { cwd, permissions: WRITING });
      assertEquals(status, 70);
      assertStringIncludes(stderr, message);
      const { vms } = JSON.parse(await Deno.readTextFile(`${cwd}/s.json`));
      assertEquals(vms.map((vm: { exit: string }) => vm.exit), exits);
    });
  });
}

Deno.test("a run that is given no file to write needs permission to read, and no other", async () => {
  const { status, stdout, stderr } = await ballast(["run", "--guest", "hello"], {
    permissions: ["--allow-read", "--no-prompt"],
  });
  assertEquals([status, stdout, stderr], [0, "hello, world\n", ""]);
});
