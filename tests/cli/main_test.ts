// The command line as a whole, in processes of its own: help, refusals, exit statuses, what is written where.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ballast, inTemporaryFolder } from "./command.ts";

const commands = ["start", "run", "linux", "plugins", "guests", "vectors", "inspect", "suite"];

Deno.test("help lists every command, and each has its own help", async () => {
  const { status, stdout } = await ballast(["--help"]);
  assertEquals(status, 0);
  for (const command of commands) {
    assertStringIncludes(stdout, `\n  ${command} `);
    const help = await ballast([command, "--help"]);
    assertEquals([help.status, help.stderr], [0, ""]);
    assertStringIncludes(help.stdout, `Usage: ballast ${command} [OPTION]...`);
  }
});

Deno.test("--version says the version of deno.json", async () => {
  const { version } = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
  assertEquals(await ballast(["--version"]), { status: 0, stdout: `ballast ${version}\n`, stderr: "" });
});

const refusals: readonly [string, readonly string[], string][] = [
  ["an unknown command", ["rnu"], 'unknown command "rnu"; did you mean "run"?'],
  ["an unknown option", ["run", "--gest", "hello"], 'unknown option "--gest"; did you mean "--guest"?'],
  ["an option of another command", ["guests", "--guest", "hello"], 'unknown option "--guest"; known: --help'],
  ["an unknown guest", ["run", "--guest", "helo"], 'unknown guest "helo"; did you mean "hello"?'],
  ["a guest's unknown option", ["run", "--guest", "isprime", "--set", "guest.m=4"], "guest isprime has no option m"],
  ["a guest's bad option", ["run", "--guest", "isprime", "--set", "guest.n=x"], "guest isprime, option n"],
  [
    "an unknown plugin",
    ["run", "--guest", "hello", "--plugins", "memori"],
    'unknown plugin "memori"; did you mean "memory"?',
  ],
  [
    "a plugin's unknown option",
    ["run", "--guest", "hello", "--set", "memory.copyPage=1"],
    'did you mean "copyPageNs"?',
  ],
  ["a plugin's bad option", ["run", "--guest", "hello", "--set", "memory.copyPageNs=x"], "option memory.copyPageNs: "],
  ["a setting without a plugin", ["run", "--guest", "hello", "--set", "n=4"], "expected PLUGIN.OPTION=VALUE"],
  ["leaving out what others require", ["run", "--guest", "hello", "--without", "memory"], '"x86" requires "memory"'],
  ["nothing to run", ["run"], "give a guest (--guest NAME), a kernel (--kernel FILE) or a CONFIG.json"],
  ["two things to run", ["run", "--guest", "hello", "--kernel", "x"], "give a guest (--guest NAME)"],
  ["a missing kernel", ["run", "--kernel", "/nonexistent"], "kernel /nonexistent: no such file"],
  ["an initrd without a kernel", ["run", "--guest", "hello", "--initrd", "x"], "initrd and append need a kernel"],
  ["a bad size", ["run", "--guest", "hello", "--memory", "12Q"], 'option --memory: "12Q"; expected a size'],
  [
    "memory that neither the machine nor the swap file holds",
    ["run", "--guest", "hello", "--memory", "8", "--host-memory", "4", "--set", "swap.sizeMib=4"],
    "is not admitted: its memory less its minimum comes to 8 - 0 = 8 MiB, and of the swap file are unreserved 4 - 0",
  ],
  ["a missing configuration", ["run", "nonexistent.json"], "nonexistent.json: no such file"],
  ["an option that a configuration has", ["run", "c.json", "--guest", "hello"], "option --guest describes one VM"],
  [
    "a plugin file that is not there",
    ["run", "--guest", "hello", "--plugins", "./nowhere.ts"],
    "plugin ./nowhere.ts cannot",
  ],
];
for (const [what, args, message] of refusals) {
  Deno.test(`${what} is refused with status 2 and one line`, async () => {
    const { status, stdout, stderr } = await ballast(args);
    assertEquals([status, stdout], [2, ""]);
    assertStringIncludes(stderr, message);
    assertMatch(stderr, /^ballast: [^\n]+\n$/);
  });
}

Deno.test("a guest's serial console is standard output, and nothing else is", async () => {
  const { status, stdout, stderr } = await ballast(["run", "--guest", "hello", "--set", "guest.text=42"]);
  assertEquals([status, stdout, stderr], [0, "42\n", ""]);
});

Deno.test("output can be closed by its reader without a crash", async () => {
  const script = `"${Deno.execPath()}" run --quiet --allow-read "$0" run --guest hello | true`;
  const args = ["-c", script, new URL("../../mod.ts", import.meta.url).pathname];
  const { stderr } = await new Deno.Command("sh", { args, stdin: "null", stderr: "piped" }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
});

Deno.test("--max-instructions ends a VM at exactly that step, and --stats has the published names", async () => {
  await inTemporaryFolder(async (folder) => {
    const args = [
      "run",
      "--guest",
      "idle",
      "--set",
      "guest.ticks=0",
      "--max-instructions",
      "12345",
      "--stats",
      "s.json",
    ];
    const { status } = await ballast(args, { cwd: folder, permissions: ["--allow-read", "--allow-write=."] });
    assertEquals(status, 0);
    const stats = JSON.parse(await Deno.readTextFile(`${folder}/s.json`));
    assertEquals(stats.instructions, 12345);
    assertEquals(Object.keys(stats), ["instructions", "hostTimeNs", "wallSeconds", "host", "vms", "plugins"]);
    for (
      const name of [
        "totalFrames",
        "freeFrames",
        "usedFrames",
        "sharedFrames",
        "savedFrames",
        "zeroFrames",
        "swappedPages",
      ]
    ) {
      assert(Number.isInteger(stats.host.memory[name]), `host.memory.${name} is missing`);
    }
    const [vm] = stats.vms;
    assertEquals([vm.name, vm.instructions, vm.exit, vm.memory.maxMib], ["idle", 12345, "limit", 4]);
    for (const name of ["guestTimeNs", "cpuNs", "stolenNs"]) assert(vm[name] >= 0, `vms[0].${name} is missing`);
    for (const name of ["minMib", "allocatedMib", "targetMib", "balloonedMib", "sharedMib", "swappedMib"]) {
      assert(vm.memory[name] >= 0, `vms[0].memory.${name} is missing`);
    }
    assert("memory" in stats.plugins);
  });
});

Deno.test("statistics that may not be written are refused with the permission that is missing", async () => {
  const { status, stderr } = await ballast(["run", "--guest", "hello", "--stats", "/tmp/s.json"]);
  assertEquals(status, 2);
  assertStringIncludes(stderr, "run deno with --allow-write");
});

Deno.test("--for ends at that host time, and --series samples it at regular times", async () => {
  await inTemporaryFolder(async (folder) => {
    const idle = ["--guest", "idle", "--set", "guest.ticks=0"];
    const args = ["run", ...idle, "--for", "0.5", "--series", "s.csv", "--every", "0.1"];
    const { status } = await ballast(args, { cwd: folder, permissions: ["--allow-read", "--allow-write=."] });
    assertEquals(status, 0);
    const [head, ...rows] = (await Deno.readTextFile(`${folder}/s.csv`)).trimEnd().split("\n").map((row) =>
      row.split(",")
    );
    assertEquals(head.slice(0, 3), ["hostTimeNs", "vm", "instructions"]);
    assertEquals(rows.length, 6);
    assert(rows.every(([, name]) => name === "idle"));
    const times = rows.map(([ns]) => Number(ns));
    for (const [i, ns] of times.entries()) assert(Math.abs(ns - i * 1e8) < 1e6, `sample ${i} is at ${ns} ns`);
  });
});

Deno.test("--state-hash prints the same lines in every run, and --seed does not change what this guest computes", async () => {
  const args = ["run", "--guest", "privileged", "--set", "guest.iterations=20", "--state-hash", "500"];
  const first = await ballast(args), second = await ballast([...args, "--seed", "7"]);
  assertEquals(first.status, 0);
  assertMatch(first.stderr, /^(state-hash \d+ [0-9a-f]{16}\n)+$/);
  const steps = first.stderr.trimEnd().split("\n").map((line) => Number(line.split(" ")[1]));
  assertEquals(steps, steps.map((_, i) => 500 * (i + 1)));
  assertEquals(second.stderr, first.stderr);
});

Deno.test("--timeout ends an endless guest with status 124", async () => {
  const { status, stderr } = await ballast(["run", "--guest", "idle", "--set", "guest.ticks=0", "--timeout", "0.3"]);
  assertEquals([status, stderr], [124, "ballast: stopped after 0.3 s (--timeout)\n"]);
});

Deno.test("--until ends the run at the text, with status 0", async () => {
  const { status, stdout } = await ballast(["run", "--guest", "hello", "--until", "hello,"]);
  assertEquals(status, 0);
  assertMatch(stdout, /^hello,/);
});

Deno.test("--until that never comes gives status 124 and says so", async () => {
  const { status, stderr } = await ballast(["run", "--guest", "hello", "--until", "goodbye"]);
  assertEquals([status, stderr], [124, 'ballast: the console never showed "goodbye" (--until)\n']);
});

Deno.test("Ctrl-C ends the run with status 130, and the statistics are written", async () => {
  await inTemporaryFolder(async (folder) => {
    const config = { vms: [{ guest: "hello" }, { guest: { use: "idle", options: { ticks: 0 } } }] };
    await Deno.writeTextFile(`${folder}/c.json`, JSON.stringify(config));
    const { status } = await ballast(["run", "c.json", "--realtime", "--stats", "s.json"], {
      cwd: folder,
      permissions: ["--allow-read", "--allow-write=."],
      act: { when: "hello: hello, world", run: (process) => process.kill("SIGINT") },
    });
    assertEquals(status, 130);
    const { vms } = JSON.parse(await Deno.readTextFile(`${folder}/s.json`));
    assertEquals(vms.map((vm: { name: string; exit: string }) => [vm.name, vm.exit]), [["hello", "halt"], [
      "idle",
      "stopped",
    ]]);
  });
});

Deno.test("a kernel panic on the console and the halt after it end the run with status 3", async () => {
  const text = "Kernel panic - not syncing: no init";
  const { status, stderr } = await ballast(["run", "--guest", "hello", "--set", `guest.text=${text}`]);
  assertEquals(status, 3);
  assert(stderr.startsWith(`ballast: hello ended: panic: ${text}\nEAX=`), stderr);
});

Deno.test("several VMs' lines carry their names", async () => {
  await inTemporaryFolder(async (folder) => {
    const vms = [{ guest: "hello" }, { guest: { use: "hello", options: { text: "two" } } }, {
      name: "third",
      guest: "isprime",
    }];
    await Deno.writeTextFile(`${folder}/c.json`, JSON.stringify({ vms }));
    const { status, stdout } = await ballast(["run", "c.json"], { cwd: folder });
    assertEquals(status, 0);
    assertEquals(stdout.trimEnd().split("\n").toSorted(), [
      "hello2: two",
      "hello: hello, world",
      "third: isPrime(49) = 0",
    ]);
  });
});

Deno.test("a configuration's unknown key is refused with its path and the nearest one", async () => {
  await inTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/c.json`, '{"vms": [{"guest": "hello", "memroyMib": 4}]}');
    const { status, stderr } = await ballast(["run", "c.json"], { cwd: folder });
    assertEquals([status, stderr], [2, 'ballast: c.json: unknown key vms[0].memroyMib; did you mean "memoryMib"?\n']);
  });
});

Deno.test("run --schema prints the JSON Schema of configurations", async () => {
  const { status, stdout } = await ballast(["run", "--schema"]);
  assertEquals([status, Object.keys(JSON.parse(stdout).properties)], [0, ["host", "vms"]]);
});

const countingPlugin = `
import { console as consoles, definePlugin, z } from "ballast";
export default definePlugin({
  name: "shout",
  requires: ["console"],
  options: z.strictObject({ mark: z.string().default("!") }),
  setup({ on, log, options }) {
    on(consoles.line, ({ line }) => log(line.toUpperCase() + options.mark));
  },
});`;

Deno.test("a plugin from a folder outside the project is loaded by its path, with options", async () => {
  await inTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/shout.ts`, countingPlugin);
    const args = ["run", "--guest", "hello", "--plugins", "./shout.ts", "--set", "shout.mark=?"];
    const { status, stderr } = await ballast(args, { cwd: folder });
    assertEquals([status, stderr], [0, "shout: HELLO, WORLD?\n"]);
  });
});

Deno.test("a configuration names plugins by paths relative to itself", async () => {
  await inTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/shout.ts`, countingPlugin);
    const host = { plugins: [{ use: "./shout.ts", options: { mark: "." } }] };
    await Deno.writeTextFile(`${folder}/c.json`, JSON.stringify({ host, vms: [{ guest: "hello" }] }));
    const { status, stderr } = await ballast(["run", `${folder}/c.json`]);
    assertEquals([status, stderr], [0, "shout: HELLO, WORLD.\n"]);
  });
});

const brokenPlugins: readonly [string, string, string][] = [
  ["throws", "throw new Error('broken today');", "plugin ./bad.ts cannot be loaded: broken today"],
  ["does not parse", "export default {", "plugin ./bad.ts cannot be loaded: "],
  ["exports no plugin", "export const a = 1;", "plugin ./bad.ts has no default export made by definePlugin"],
  [
    "throws when set up",
    'export default { name: "bad", setup() { throw new Error("no luck"); } };',
    'plugin "bad" failed to set up: no luck',
  ],
];
for (const [what, source, message] of brokenPlugins) {
  Deno.test(`a plugin file that ${what} is refused in one line`, async () => {
    await inTemporaryFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/bad.ts`, source);
      const { status, stderr } = await ballast(["run", "--guest", "hello", "--plugins", "./bad.ts"], { cwd: folder });
      assertEquals(status, 2);
      assertStringIncludes(stderr, message);
      assertMatch(stderr, /^ballast: [^\n]+\n$/);
    });
  });
}

Deno.test("a listener that throws while guests run is a failure of status 70 that names the plugin and the event", async () => {
  await inTemporaryFolder(async (folder) => {
    const source = countingPlugin.replace("log(line.toUpperCase() + options.mark)", "{ throw new Error('oops'); }");
    await Deno.writeTextFile(`${folder}/bad.ts`, source);
    const { status, stderr } = await ballast(["run", "--guest", "hello", "--plugins", "./bad.ts"], { cwd: folder });
    assertEquals(status, 70);
    assertStringIncludes(stderr, 'plugin "shout" failed in its listener of console.line: oops');
  });
});

Deno.test("plugins lists each with its options, defaults and what they mean", async () => {
  const { status, stdout } = await ballast(["plugins"]);
  assertEquals(status, 0);
  for (const name of ["memory", "x86", "pc", "boot", "console"]) {
    assertMatch(stdout, new RegExp(`^  ${name}: \\S`, "m"));
  }
  assertMatch(stdout, /memory\.copyPageNs = \d+ +host time/);
});

Deno.test("plugins --events lists every token with kind, owner and listeners", async () => {
  const { status, stdout } = await ballast(["plugins", "--events"]);
  assertEquals(status, 0);
  assertMatch(stdout, /^console\.line +observe +console +-$/m);
  assertMatch(stdout, /^core\.vmEnding +reduce +core +console$/m);
  assertMatch(stdout, /^memory\.written +observe +memory +x86/m);
});

Deno.test("guests lists each with its options, defaults and what they mean", async () => {
  const { status, stdout } = await ballast(["guests"]);
  assertEquals(status, 0);
  assertMatch(stdout, /^hello: .+ \(1 MiB\)$/m);
  assertMatch(stdout, /^ +guest\.n = \d+ +the number to test$/m);
});
