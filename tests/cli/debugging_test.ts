// Tools to find a fault in a guest, from the command line: traces, breakpoints, lockstep, and gdb itself where it is there.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ballast, inTemporaryFolder } from "./command.ts";

Deno.test("--trace writes lines on stderr, and the console stays as it is", async () => {
  const { status, stdout, stderr } = await ballast(["run", "--guest", "hello", "--trace", "exec,io"]);
  assertEquals([status, stdout], [0, "hello, world\n"]);
  const lines = stderr.trimEnd().split("\n");
  assertMatch(lines[0], /^ +0 exec +00007c00 <start> {2}cld$/);
  assert(lines.some((line) => /^ +\d+ io +out 0x3f8\.1 = 0x68$/.test(line)));
  assert(lines.every((line) => /^ *\d+ (?:exec|io) /.test(line)));
});

Deno.test("--trace-file keeps a trace in a file", async () => {
  await inTemporaryFolder(async (folder) => {
    const args = ["run", "--guest", "idle", "--set", "guest.ticks=3", "--trace", "irq", "--trace-file", "t.txt"];
    const permissions = ["--allow-read", `--allow-write=${folder}`, "--allow-env=INIT_CWD"];
    const { status, stderr } = await ballast(args, { cwd: folder, permissions });
    assertEquals([status, stderr], [0, ""]);
    const trace = await Deno.readTextFile(`${folder}/t.txt`);
    assertMatch(trace, /^( +\d+ irq +vector 0x20 at \w{8} <sleep\S*> -> \w{8} <timerInterrupt>\n){3,}$/);
  });
});

Deno.test("--break prints the state every time, --break-count ends the run", async () => {
  const breaks = await ballast(["run", "--guest", "hello", "--break", "next", "--break", "0x7c00"]);
  assertEquals([breaks.status, breaks.stdout], [0, "hello, world\n"]);
  const heads = breaks.stderr.split("\n").filter((line) => line.startsWith("break at"));
  assertEquals(heads.slice(0, 2), ["break at 0x7c00 <start>, step 0", "break at 0x7c0a <next>, step 5"]);
  assertEquals(heads.length, 1 + "hello, world\n\0".length);
  assertMatch(
    breaks.stderr,
    /EIP=0000000a[\s\S]*\ncode\n {2}00007c0a <next> {2}ba fd 03 +mov dx, 0x3fd\n[\s\S]*\nstack\n/,
  );
  const counted = await ballast(["run", "--guest", "hello", "--break", "next", "--break-count", "3"]);
  assertEquals([counted.status, counted.stdout], [0, "he"]);
});

Deno.test("--symbols names addresses, and --break takes the names", async () => {
  await inTemporaryFolder(async (folder) => {
    const map = `${folder}/System.map`;
    await Deno.writeTextFile(map, "00007c0d T poll_uart\n");
    const { stderr } = await ballast(["run", "--guest", "hello", "--symbols", map, "--break", "poll_uart+1"]);
    assertStringIncludes(stderr, "break at 0x7c0e <wait+0x1>, step");
  });
});

Deno.test("--lockstep leaves out of the other machine what stands on the engine that it replaces", async () => {
  const guest = ["--guest", "oscillator", "--set", "guest.swings=2", "--set", "guest.accesses=300"];
  const plugins = ["--plugins", "bt,shadow-mmu,adaptive-bt", "--set", "adaptive-bt.threshold=3"];
  const { status, stderr } = await ballast(["run", ...guest, ...plugins, "--lockstep=x86"]);
  assertMatch(stderr, /^lockstep: bt and interpreter are equal, \d+ comparisons in \d+ steps\n$/);
  assertEquals(status, 0);
});

Deno.test("--lockstep compares engines, and says where they part", async () => {
  const equal = await ballast([
    "run",
    "--guest",
    "privileged",
    "--set",
    "guest.iterations=200",
    "--plugins",
    "none",
    "--lockstep",
  ]);
  assertEquals(equal.status, 0);
  assertMatch(equal.stdout, /^privileged: 200 iterations/);
  assertMatch(equal.stderr, /^lockstep: interpreter and single-step are equal, \d+ comparisons in \d+ steps\n$/);
  await inTemporaryFolder(async (folder) => {
    const mod = new URL("../../mod.ts", import.meta.url).href;
    const source = `import { definePlugin, x86 } from ${JSON.stringify(mod)};
      export default definePlugin({
        name: "broken", requires: ["x86"], replaces: [x86.engine],
        setup({ service, provide }) {
          const inner = service(x86.engine, "x86"), processorOf = service(x86.processor);
          const step = (vm) => {
            const completed = inner.step(vm);
            if (vm.clock.steps === 4321) processorOf(vm).setEflags(x86.ID, x86.ID);
            return completed;
          };
          const execute = (vm) => {
            while (vm.clock.steps < vm.clock.deadlineSteps && processorOf(vm).attention === 0) step(vm);
          };
          provide(x86.engine, { name: "broken", step, execute });
        },
      });`;
    await Deno.writeTextFile(`${folder}/broken.ts`, source);
    const args = ["run", "--guest", "privileged", "--plugins", "none", `--lockstep=${folder}/broken.ts`];
    const { status, stderr } = await ballast(args, { permissions: ["--allow-read", "--allow-env=INIT_CWD"] });
    assertEquals(status, 70);
    assertStringIncludes(
      stderr,
      "lockstep: interpreter and broken are equal after 4320 steps and differ after the next.",
    );
  });
});

const refusals: readonly [string, readonly string[], string][] = [
  [
    "an unknown kind of trace",
    ["--trace", "exce"],
    'option --trace: "exce"; expected some of exec,exceptions,io,mmu,irq',
  ],
  ["a trace file without a trace", ["--trace-file", "x"], "option --trace-file needs --trace LIST"],
  ["a breakpoint at no symbol", ["--break", "doen"], 'unknown symbol "doen"; did you mean "done"?'],
  ["a decimal address", ["--break", "31744"], "write a hexadecimal address as 0x31744"],
  ["a count of no breakpoints", ["--break-count", "2"], "option --break-count needs --break ADDRESS"],
  ["symbols that are not there", ["--symbols", "/nonexistent"], "symbols /nonexistent: no such file"],
  ["gdb without permission", ["--gdb", "0"], "option --gdb: run deno with --allow-net=127.0.0.1"],
  ["a port that is none", ["--gdb", "65536"], "expected a whole number, 0 to 65535"],
  ["an unknown engine", ["--lockstep=singlestep"], 'unknown engine "singlestep"; did you mean "single-step"?'],
  [
    "the same engine twice",
    ["--plugins", "none", "--lockstep=x86"],
    "x86 is the engine that runs already (interpreter)",
  ],
  ["lockstep with a trace", ["--lockstep", "--trace", "io"], "option --lockstep does not go with --trace"],
];
for (const [what, args, message] of refusals) {
  Deno.test(`${what} is refused with status 2 and one line`, async () => {
    const { status, stderr } = await ballast(["run", "--guest", "hello", ...args]);
    assertEquals(status, 2, stderr);
    assertStringIncludes(stderr, message);
    assertMatch(stderr, /^ballast: [^\n]+\n$/);
  });
}

const hasGdb = await new Deno.Command("gdb", { args: ["--version"], stdout: "null", stderr: "null" }).output()
  .then(({ success }) => success, () => false);

/** Runs a guest under `--gdb` and gdb with these commands; what gdb printed, and the run's end. */
async function underGdb(guest: readonly string[], commands: readonly string[]) {
  const mod = new URL("../../mod.ts", import.meta.url).pathname;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-read", "--allow-net=127.0.0.1", mod, "run", "--gdb", "0", ...guest],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stdout = new Response(process.stdout).text();
  const stderr = process.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let said = "", port: string | undefined;
  while (port === undefined) {
    const { value, done } = await stderr.read();
    if (done) throw new Error(`it ended before gdb could connect: ${said}`);
    said += value;
    port = /target remote 127\.0\.0\.1:(\d+)\n/.exec(said)?.[1];
  }
  const all = [`target remote 127.0.0.1:${port}`, ...commands];
  const gdb = await new Deno.Command("gdb", {
    args: ["-nx", "-batch", "-ex", "set pagination off", ...all.flatMap((command) => ["-ex", command])],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const { code } = await process.status;
  await stderr.cancel();
  const printed = new TextDecoder().decode(gdb.stdout) + new TextDecoder().decode(gdb.stderr);
  return { printed, status: code, stdout: await stdout };
}

Deno.test({
  name: `gdb debugs a guest${hasGdb ? "" : " (skipped: there is no gdb)"}`,
  ignore: !hasGdb,
  async fn() {
    const { printed, status, stdout } = await underGdb(["--guest", "isprime"], [
      "info registers eip",
      "x/2i $pc",
      "stepi",
      "monitor address main",
      "monitor time",
      "p $xmm0.uint128",
      "p $st0",
      "set $ebx = 0x1234",
      "p/x $ebx",
      "set var *(int *)0x9100 = 0x55aa",
      "x/wx 0x9100",
      "break *0x100005",
      "continue",
      "delete",
      "watch *(int *)0x8ffc",
      "continue",
      "delete",
      "info threads",
      "continue",
    ]);
    assertStringIncludes(printed, "eip            0x100000");
    assertMatch(printed, /=> 0x100000:\tcld/);
    assertMatch(printed, /\n1 steps, 10 ns\n/);
    assertStringIncludes(printed, "= 0x1234");
    assertMatch(printed, /0x9100:\t0x000055aa/);
    assertMatch(printed, /Breakpoint 1, 0x00100005 in/);
    assertMatch(printed, /Hardware watchpoint 2: \*\(int \*\)0x8ffc\n\nOld value = 0\nNew value = /);
    assertStringIncludes(printed, "VM isprime");
    assertMatch(printed, /\[Inferior 1 .*exited normally\]/);
    assertEquals(status, 0);
    assertMatch(stdout, /^isPrime\(\d+\) = /);
  },
});

Deno.test({
  name: `gdb kills a guest, and detaches from one${hasGdb ? "" : " (skipped: there is no gdb)"}`,
  ignore: !hasGdb,
  async fn() {
    const killed = await underGdb(["--guest", "hello"], ["stepi", "kill"]);
    assertEquals([killed.status, killed.stdout], [0, ""]);
    const detached = await underGdb(["--guest", "hello"], ["break *0x7c1d", "stepi", "detach"]);
    assertEquals([detached.status, detached.stdout], [0, "hello, world\n"]);
  },
});

Deno.test({
  name: `gdb chooses among VMs, and writes their registers${hasGdb ? "" : " (skipped: there is no gdb)"}`,
  ignore: !hasGdb,
  async fn() {
    await inTemporaryFolder(async (folder) => {
      const config = `${folder}/two.json`;
      const vms = ["one", "two"].map((name) => ({ name, guest: "hello" }));
      await Deno.writeTextFile(config, JSON.stringify({ host: { plugins: [] }, vms }));
      const { printed, status, stdout } = await underGdb([config], [
        "info threads",
        "thread 2",
        "set $gs = 0x1234",
        "p/x $gs",
        "set $cr2 = 0x55aa",
        "p/x $cr2",
        "set $cr4 = 1",
        "set $mxcsr = 0x1fa0",
        "p $mxcsr",
        "break *0x7c0a thread 2",
        "continue",
        "info registers gs cr0",
        "thread 1",
        "p/x $gs",
        "monitor time",
        "delete",
        "continue",
      ]);
      assertMatch(printed, /\* 1 +Thread 1 \(VM one\).*\n {2}2 +Thread 2 \(VM two\)/);
      assertMatch(printed, /\$1 = 0x1234\n\$2 = 0x55aa\n/);
      assertStringIncludes(printed, "Could not write register \"cr4\"; remote failure reply 'E16'");
      assertStringIncludes(printed, "= [ PE IM DM ZM OM UM PM ]");
      assertMatch(printed, /Thread 2 hit Breakpoint 1, 0x0*7c0a in/);
      assertMatch(printed, /\ngs +0x1234 +4660\ncr0 +0x[0-9a-f]+ +\[ ET NW CD \]/);
      assertMatch(printed, /\[Switching to thread 1 .*\n(?:.*\n)*\$4 = 0x0\n/);
      assertMatch(printed, /\[Inferior 1 .*exited normally\]/);
      assertEquals(status, 0);
      assertEquals(stdout.split("\n").filter((line) => line.includes("hello, world")).toSorted(), [
        "one: hello, world",
        "two: hello, world",
      ]);
    });
  },
});
