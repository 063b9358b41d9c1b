// The workloads in C: each prints the checksum that it must, in a small size, on Debian's Linux under the translator;
// those that need no busybox also as programs of the host, where that runs i386 programs. Needs gcc with its i386
// libraries.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../cli/machine.ts";
import { definePlugin } from "../../core/mod.ts";
import { defaultAppend, LinuxUnavailable, type PreparedLinux, prepareLinux } from "../../guests/linux/mod.ts";
import {
  buildWorkloads,
  type Mark,
  NOTHING_PATH,
  readMark,
  WORKLOAD_PATH,
  workloadAppend,
  type WorkloadFiles,
  workloads,
  WorkloadsUnavailable,
} from "../../guests/workloads/mod.ts";
import * as consoles from "../../plugins/console/mod.ts";
import { cacheDir } from "../linux/prepared.ts";

const files = await unlessUnavailable(() => buildWorkloads(cacheDir));
const linux = files instanceof Error
  ? files
  : await unlessUnavailable(() => prepareLinux({ cacheDir, extraFiles: files, log: () => {} }));

const expected = workloads.map(({ name, small }) => [name, small.checksum]);

test<PreparedLinux>(
  "every workload prints its checksum on Linux under the translator",
  linux,
  async ({ kernel, initrd }) => {
    const source = { kernel: await Deno.readFile(kernel), kernelName: kernel, initrd: await Deno.readFile(initrd) };
    const runs = workloads.map(({ name, small }) => ({ name, size: small.size }));
    const marks: Mark[] = [];
    const host = createHost({ plugins: ["bt"] });
    host.load({
      plugin: definePlugin({
        name: "marks",
        requires: ["console"],
        setup: ({ on }) =>
          void on(consoles.line, ({ vm, line }) => {
            const mark = readMark(line);
            if (mark !== undefined) marks.push(mark);
            if (mark?.kind === "done") vm.end({ reason: "stopped", status: 0 });
          }),
      }),
    });
    const vm = addVm(host, {
      guest: { linux: { ...source, append: `${defaultAppend} quiet ${workloadAppend(runs)}` } },
    });
    await host.run();
    assertEquals(vm.exit?.reason, "stopped");
    assertEquals(marks, [
      { kind: "init" },
      ...expected.flatMap(([name, checksum]): Mark[] => [{ kind: "start", name }, { kind: "end", name, checksum }]),
      { kind: "done" },
    ]);
  },
);

const native = await onThisHost(files);
test("every workload that needs no busybox prints the same checksum on the host's processor", native, async (run) => {
  for (const { name, small } of workloads.filter(({ name }) => !name.startsWith("bb_"))) {
    const marks = (await run(name, small.size)).trim().split("\n").map(readMark);
    assertEquals(marks, [{ kind: "start", name }, { kind: "end", name, checksum: small.checksum }]);
  }
});

test("a workload without a size, or unknown, is refused", native, async (run) => {
  assertEquals(await run("sieve", 0), "");
  assertEquals(await run("siev", 1), "");
});

Deno.test("the lines that are for the host are told from the others", () => {
  const cases: [string, Mark | undefined][] = [
    ["@init", { kind: "init" }],
    ["@done", { kind: "done" }],
    ["@start bb_sh", { kind: "start", name: "bb_sh" }],
    ["@end sieve 0012abcd", { kind: "end", name: "sieve", checksum: "0012abcd" }],
    ["@fail fork waitpid: No child processes", { kind: "fail", name: "fork", reason: "waitpid: No child processes" }],
    ["@end sieve 12", undefined],
    ["@other", undefined],
    ["sieve @init", undefined],
    ["", undefined],
  ];
  for (const [line, mark] of cases) assertEquals(readMark(line), mark, line);
});

Deno.test("a workload has one name, and all of them fit on a kernel's command line", () => {
  /** COMMAND_LINE_SIZE of Linux on x86. */
  const longest = 2048;
  assertEquals(new Set(workloads.map(({ name }) => name)).size, workloads.length);
  assert(`${defaultAppend} ${workloadAppend(workloads)}`.length < longest);
});

/** What there is to be had, or why it is not. */
async function unlessUnavailable<T>(get: () => Promise<T>): Promise<T | Error> {
  try {
    return await get();
  } catch (error) {
    if (error instanceof LinuxUnavailable || error instanceof WorkloadsUnavailable) return error;
    throw error;
  }
}

/** A test that needs what may not be there: an error says why not. */
function test<T>(name: string, needed: T | Error, run: (needed: T) => Promise<void>): void {
  if (!(needed instanceof Error)) Deno.test(name, () => run(needed));
  else Deno.test.ignore(`${name} (skipped: ${needed.message.split("\n")[0]})`, () => {});
}

/** What a run of a workload prints on the host itself. */
async function onThisHost(
  files: WorkloadFiles | Error,
): Promise<((name: string, size: number) => Promise<string>) | Error> {
  if (files instanceof Error) return files;
  const folder = await Deno.makeTempDir();
  addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  for (const path of [WORKLOAD_PATH, NOTHING_PATH]) {
    const bytes = files.get(path);
    if (bytes === undefined) throw new Error(`${path} was not built`);
    await Deno.writeFile(`${folder}${path.slice(path.lastIndexOf("/"))}`, bytes, { mode: 0o755 });
  }
  const run = async (name: string, size: number) => {
    const env = { NOTHING: `${folder}/nothing` };
    const command = new Deno.Command(`${folder}/workload`, { args: [name, String(size)], env, stderr: "null" });
    return new TextDecoder().decode((await command.output()).stdout);
  };
  // A host of another processor, or without i386 programs, starts none: there is an error, or a shell that makes no sense of it.
  try {
    if ((await run("sieve", 1)).startsWith("@start")) return run;
    return new Error("this host runs no i386 program");
  } catch (error) {
    return new Error(`this host runs no i386 program: ${error}`);
  }
}
