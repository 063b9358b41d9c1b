// The host: turns, idle time, halts, charges, checkpoints, admission, and saved VMs.

import { assert, assertEquals, assertGreater, assertLess, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  definePlugin,
  Host,
  type HostView,
  InputError,
  type Plugin,
  turnEnded,
  type Vm,
  vmAdmission,
  vmAdmitted,
  vmCheckpoint,
  type VmConfig,
  vmEnding,
  type VmExit,
  vmExited,
} from "../../core/mod.ts";
import { type Action, fakeExecutor, vmConfig } from "./fake_executor.ts";

interface Setting {
  readonly scripts: Readonly<Record<string, readonly Action[]>>;
  readonly configs?: Readonly<Record<string, Partial<VmConfig>>>;
  readonly quantumNs?: number;
  readonly plugins?: readonly Plugin[];
}

/** A host with a VM for every script. */
function start({ scripts, configs = {}, quantumNs = 1e6, plugins = [] }: Setting) {
  const host = new Host({ memoryMib: 64, seed: 1, quantumNs });
  const fake = fakeExecutor(scripts);
  host.load({ plugin: fake.plugin }, ...plugins.map((plugin) => ({ plugin })));
  const vms = Object.keys(scripts).map((name) => host.add(vmConfig(name, configs[name])));
  return { host, fake, vms };
}

function listening(setup: Plugin["setup"]): Plugin {
  return definePlugin({ name: "listening", setup });
}

Deno.test("a VM runs to its end, and host time is the time of its steps", async () => {
  const { host, vms: [vm] } = start({
    scripts: { a: [{ run: 12_345_678 }, { exit: 3 }] },
    configs: { a: { cpuMhz: 333 } },
  });
  await host.run();
  assertEquals(vm.clock.steps, 12_345_678);
  assertEquals([vm.state, vm.exit], ["exited", { reason: "debug-exit", status: 3 }]);
  assertEquals(host.clock.nowNs, Math.floor((12_345_678 * 1000) / 333));
  assertEquals([vm.cpuNs, vm.stolenNs], [host.clock.nowNs, 0]);
});

Deno.test("shares of 1:2:4 get CPU time of 1:2:4", async () => {
  const forever: Action[] = [{ run: Number.MAX_SAFE_INTEGER }];
  const { host, vms } = start({
    scripts: { a: forever, b: forever, c: forever },
    configs: { a: { shares: 100 }, b: { shares: 200 }, c: { shares: 400 } },
  });
  await host.run({ untilNs: 700e6 });
  assertEquals(vms.map((vm) => vm.cpuNs), [100e6, 200e6, 400e6]);
  assertEquals(vms.map((vm) => vm.stolenNs + vm.cpuNs <= 700e6), [true, true, true]);
});

Deno.test("idle VMs cost nothing: host time jumps to the next timer", async () => {
  const idle: Action[] = [{ arm: 1e9 }, "halt", { jump: 0 }];
  const turns: number[] = [];
  const { host, fake, vms } = start({
    scripts: { a: idle, b: idle },
    plugins: [listening(({ on }) => on(turnEnded, ({ hostNs }) => void turns.push(hostNs)))],
  });
  await host.run({ untilNs: 3600e9 });
  assertEquals(host.clock.nowNs, 3600e9);
  assertEquals(vms.map((vm) => vm.cpuNs), [0, 0]);
  assertEquals(vms.map((vm) => fake.processor(vm).firedNs.length), [3599, 3599]);
  assertLess(turns.length, 3 * 3600);
});

Deno.test("a halted guest sees its own time alone, however late its turn comes", async () => {
  const script: Action[] = [{ run: 100 }, { arm: 500_000 }, "halt", { run: 50 }, { arm: 300_000 }, "halt", { run: 7 }];
  const alone = start({ scripts: { a: script } });
  await alone.host.run();
  const hog: Action[] = [{ run: 50e6 }];
  const crowded = start({ scripts: { a: script, b: hog, c: hog }, configs: { a: { shares: 1 } } });
  await crowded.host.run();
  for (const { fake, vms: [vm] } of [alone, crowded]) {
    assertEquals(fake.processor(vm).firedNs, [500_100, 800_150]);
    assertEquals([vm.clock.steps, vm.clock.nowNs()], [157, 800_157]);
  }
  assertGreater(crowded.host.clock.nowNs, 100e6 - 1);
});

Deno.test("input ends a halt at the host's time, and the timer still fires at its own", async () => {
  const script: Action[] = [{ arm: 900_000 }, "halt", { run: 10 }, "halt", { run: 1 }];
  const input = listening(({ every }) => {
    let times = 0;
    every(200_000, () => {
      if (++times === 2) fake.interrupt(vms[0]);
    });
  });
  const { host, fake, vms } = start({ scripts: { a: script }, plugins: [input] });
  await host.run({ untilNs: 2e6 });
  assertEquals(fake.processor(vms[0]).firedNs, [900_000]);
  assertEquals([vms[0].clock.steps, vms[0].clock.nowNs()], [11, 900_001]);
});

Deno.test("timers fire at their exact step in the middle of a turn", async () => {
  const { host, fake, vms: [vm] } = start({
    scripts: { a: [{ arm: 333_333 }, { run: 2e6 }, { arm: 1 }, { run: 5 }] },
    configs: { a: { cpuMhz: 20 } },
    quantumNs: 1e9,
  });
  await host.run();
  assertEquals(fake.processor(vm).firedNs, [333_350, 100_000_050], "steps of 50 ns");
});

Deno.test("a VM that waits for input that will not come is stalled", async () => {
  const { host, vms } = start({ scripts: { a: ["halt"], b: [{ run: 10 }, "halt"], c: [{ exit: 0 }] } });
  await host.run();
  assertEquals(vms.map((vm) => vm.exit?.reason), ["stalled", "stalled", "debug-exit"]);
  assertEquals(vms.map((vm) => vm.state), ["exited", "exited", "exited"]);
});

Deno.test("a run waits for input while there may be some", async () => {
  const { host, fake, vms: [vm] } = start({ scripts: { a: ["halt", { run: 5 }, "halt", { run: 6 }] } });
  const offers = [true, true, false];
  await host.run({
    awaitInput() {
      const more = offers.shift() ?? false;
      if (more) fake.interrupt(vm);
      return Promise.resolve(more);
    },
  });
  assertEquals([vm.clock.steps, vm.exit?.reason, offers], [11, "power-off", [false]]);
});

Deno.test("what is charged to a VM delays all and is invisible to every guest", async () => {
  const script: Action[] = [{ run: 500_000 }, { call: (vm) => charge(vm, 70_000) }, { run: 500_000 }];
  let charge: (vm: Vm, ns: number) => void = () => {};
  const charging = listening(({ host }) => void (charge = host.charge));
  const { host, vms } = start({ scripts: { a: script, b: [{ run: 1e6 }] }, plugins: [charging], quantumNs: 100_000 });
  await host.run();
  assertEquals(host.clock.nowNs, 2_070_000);
  assertEquals(vms.map((vm) => vm.cpuNs), [1_070_000, 1e6]);
  assertEquals(vms.map((vm) => vm.clock.nowNs()), [1e6, 1e6]);
  assertGreater(vms[1].stolenNs, 70_000);
});

Deno.test("work done for a VM between its turns is charged to its next one", async () => {
  const scanning = listening(({ every, host }) => every(1e6, () => host.charge(host.vms[0], 1000)));
  const { host, vms: [vm] } = start({ scripts: { a: [{ run: 10e6 }] }, plugins: [scanning] });
  await host.run();
  assertEquals([vm.chargedNs, vm.billedNs], [10_000, 10_000]);
  assertEquals([vm.cpuNs, host.clock.nowNs], [10_010_000, 10_010_000]);
});

Deno.test("time is stolen while a VM is ready and another runs, and not while it waits", async () => {
  const { host, vms } = start({
    scripts: { a: [{ run: 3e6 }], b: [{ arm: 2e6 }, "halt", { run: 1e6 }] },
    quantumNs: 1e6,
  });
  await host.run();
  assertEquals(host.clock.nowNs, 4e6);
  // b waits for a's first turn, halts while a runs twice more, and then runs before a has noticed its own end.
  assertEquals(vms.map((vm) => vm.stolenNs), [1e6, 1e6]);
});

Deno.test("a quantum bounds a turn, and turns are told with steps and host time", async () => {
  const turns: { vm: string; steps: number; hostNs: number }[] = [];
  const noting = listening(({ on }) =>
    on(turnEnded, ({ vm, steps, hostNs }) => void turns.push({ vm: vm.name, steps, hostNs }))
  );
  const { host } = start({
    scripts: { a: [{ run: 50_000 }], b: [{ run: 70_000 }] },
    configs: { a: { cpuMhz: 20 } },
    plugins: [noting],
  });
  await host.run();
  assertEquals(turns.filter(({ steps }) => steps > 0).map(({ vm, steps, hostNs }) => `${vm} ${steps} ${hostNs}`), [
    "a 20000 1000000",
    "b 70000 70000",
    "a 20000 1000000",
    "a 10000 500000",
  ]);
});

Deno.test("checkpoints come at exact multiples, whatever the quantum", async () => {
  for (const quantumNs of [1000, 7777, 1e6, 1e9]) {
    const seen: string[] = [];
    const noting = listening(({ on }) => on(vmCheckpoint, (vm) => void seen.push(`${vm.name} ${vm.clock.steps}`)));
    const { host, vms } = start({
      scripts: { a: [{ run: 350_000 }, { arm: 12_345 }, "halt", { run: 60_000 }], b: [{ run: 250_000 }] },
      plugins: [noting],
      quantumNs,
    });
    for (const vm of vms) vm.checkpointEvery(100_000);
    await host.run();
    assertEquals(seen.toSorted(), ["a 100000", "a 200000", "a 300000", "a 400000", "b 100000", "b 200000"]);
  }
});

Deno.test("a suspended VM does not run until every holder has let go", async () => {
  let view: HostView | undefined;
  const turns: string[] = [];
  const holding = listening(({ host, on }) => {
    view = host;
    on(turnEnded, ({ vm }) => void turns.push(vm.name));
  });
  const long: Action[] = [{ run: 10e6 }];
  const { host, vms: [a, b] } = start({ scripts: { a: long, b: long }, plugins: [holding] });
  assert(view !== undefined);
  view.suspend(a, "balloon");
  view.suspend(a, "allocator");
  await host.run({ untilNs: 4e6 });
  assertEquals([a.clock.steps, b.clock.steps, a.state], [0, 4e6, "suspended"]);
  view.resume(a, "balloon");
  await host.run({ untilNs: 6e6 });
  assertEquals(a.clock.steps, 0);
  view.resume(a, "allocator");
  await host.run();
  assertEquals([a.clock.steps, b.clock.steps], [10e6, 10e6]);
  assertEquals(a.stolenNs <= 4e6 + 1e6, true, "being held is not being robbed");
});

Deno.test("with all VMs suspended, host time goes on from timer to timer", async () => {
  const holding = listening(({ host, every, on }) => {
    on(vmAdmitted, (vm) => host.suspend(vm, "test"));
    every(5e6, () => {
      if (host.nowNs >= 20e6) { for (const vm of host.vms) host.resume(vm, "test"); }
    });
  });
  const { host, vms: [vm] } = start({ scripts: { a: [{ run: 1000 }] }, plugins: [holding] });
  await host.run();
  assertEquals([vm.clock.steps, host.clock.nowNs], [1000, 20_001_000]);
});

Deno.test("a run stops at its limit of host time and goes on from there", async () => {
  const { host, vms: [vm] } = start({ scripts: { a: [{ run: 10_000_000 }] } });
  await host.run({ untilNs: 2_500_000 });
  assertEquals([vm.clock.steps, vm.state], [2_500_000, "ready"]);
  await host.run({ stop: () => vm.clock.steps >= 5_000_000 });
  assertEquals(vm.clock.steps, 5_500_000);
  await host.run();
  assertEquals(vm.clock.steps, 10_000_000);
});

Deno.test("admission asks with the configuration; a refusal says why and leaves nothing", () => {
  const events: string[] = [];
  const gate = listening(({ on }) => {
    on(vmAdmission, ({ memoryMib }) => memoryMib > 8 ? `${memoryMib} MiB are more than 8` : undefined);
    on(vmAdmitted, (vm) => void events.push(vm.name));
  });
  const { host } = start({ scripts: { a: [] }, plugins: [gate] });
  assertThrows(
    () => host.add(vmConfig("big", { memoryMib: 9 })),
    InputError,
    'VM "big" is not admitted: 9 MiB are more than 8',
  );
  assertThrows(() => host.add(vmConfig("a")), InputError, 'two VMs are named "a"');
  host.add(vmConfig("b", { memoryMib: 8 }));
  assertEquals([events, host.vms.map((vm) => vm.name)], [["a", "b"], ["a", "b"]]);
});

Deno.test("the end of a VM is told once, and the first reason given stays", async () => {
  const exits: string[] = [];
  const noting = listening(({ on }) => on(vmExited, (vm) => void exits.push(`${vm.name} ${vm.exit?.reason}`)));
  const { host, vms: [a] } = start({
    scripts: {
      a: [{ run: 10 }, {
        call(vm) {
          vm.end({ reason: "triple-fault", status: 3 });
          vm.end({ reason: "reset", status: 0 });
        },
      }, { run: 1000 }],
      b: [{ run: 20 }],
    },
    plugins: [noting],
  });
  await host.run();
  await host.run();
  assertEquals([exits, a.clock.steps], [["a triple-fault", "b power-off"], 10]);
});

Deno.test("runTo stops at the exact step, through halts and timers", () => {
  const script: Action[] = [{ run: 30 }, { arm: 1000 }, "halt", { run: 100 }, "halt", { run: 1 }];
  const { host, fake, vms: [vm] } = start({ scripts: { a: script } });
  for (const steps of [10, 30, 31, 77, 130]) {
    host.runTo(vm, steps);
    assertEquals(vm.clock.steps, steps);
  }
  assertEquals(fake.processor(vm).firedNs, [1030]);
  host.runTo(vm, 131);
  assertEquals(vm.clock.steps, 130, "no timer will end this halt");
});

Deno.test("how a VM ended passes through whoever knows more about it, before its end is told", async () => {
  const seen: (string | undefined)[] = [];
  const knowing = listening(({ on }) => {
    on(
      vmEnding,
      (exit, vm): VmExit => ({ ...exit, reason: "panic", status: 3, detail: `${vm.name} was ${exit.reason}` }),
    );
    on(vmExited, (vm) => void seen.push(vm.exit?.detail));
  });
  const { host, vms: [vm] } = start({ scripts: { a: [{ exit: 1 }] }, plugins: [knowing] });
  await host.run();
  assertEquals(vm.exit, { reason: "panic", status: 3, detail: "a was debug-exit" });
  assertEquals(seen, ["a was debug-exit"]);
});

const scriptOf = fc.array(
  fc.oneof(
    fc.nat(5000).map((run): Action => ({ run })),
    fc.nat(9000).map((arm): Action => ({ arm })),
    // A halt is preceded by a timer, so that every script ends.
    fc.nat(9000).map((arm): Action => ({ arm })),
  ),
  { minLength: 1, maxLength: 12 },
).map((actions) =>
  actions.flatMap((action) =>
    typeof action === "object" && "arm" in action && action.arm % 2 === 0 ? [action, "halt" as const] : [action]
  )
);

Deno.test("what a guest computes depends on its own script alone, not on quanta, shares or company", () => {
  const property = fc.asyncProperty(
    fc.array(scriptOf, { minLength: 1, maxLength: 3 }),
    fc.integer({ min: 1000, max: 20_000 }),
    fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 3, maxLength: 3 }),
    async (scripts, quantumNs, shares) => {
      const named = Object.fromEntries(scripts.map((script, i) => [`vm${i}`, script]));
      const configs = Object.fromEntries(
        scripts.map((_, i) => [`vm${i}`, { shares: shares[i], cpuMhz: [1000, 33, 20][i] }]),
      );
      const together = start({ scripts: named, configs, quantumNs });
      await together.host.run();
      for (const [i, vm] of together.vms.entries()) {
        const name = `vm${i}`;
        const alone = start({ scripts: { [name]: named[name] }, configs });
        await alone.host.run();
        assertEquals(together.host.stateHash(vm), alone.host.stateHash(alone.vms[0]));
      }
    },
  );
  return fc.assert(property, { numRuns: 100 });
});

Deno.test("a VM saved at any step and restored elsewhere has the same state at every later step", () => {
  fc.assert(
    fc.property(scriptOf, fc.nat(20_000), fc.integer({ min: 1, max: 20_000 }), (script, at, more) => {
      const scripts = { a: script };
      const original = start({ scripts });
      original.host.runTo(original.vms[0], at);
      const saved = structuredClone(original.host.save(original.vms[0]));
      const hash = original.host.stateHash(original.vms[0]);
      const copy = start({ scripts });
      copy.host.runTo(copy.vms[0], more);
      copy.host.restore(copy.vms[0], saved);
      assertEquals(copy.host.stateHash(copy.vms[0]), hash);
      for (const { host, vms: [vm] } of [original, copy]) host.runTo(vm, vm.clock.steps + more);
      assertEquals(copy.host.stateHash(copy.vms[0]), original.host.stateHash(original.vms[0]));
    }),
    { numRuns: 200 },
  );
});

Deno.test("a VM that ended, or waits, can be put back to where it ran, and checkpoints follow", async () => {
  const seen: number[] = [];
  const noting = listening(({ on }) => on(vmCheckpoint, (vm) => void seen.push(vm.clock.steps)));
  const script: Action[] = [{ run: 2500 }, { arm: 1e9 }, "halt", { run: 100 }, { exit: 5 }];
  const { host, vms: [vm] } = start({ scripts: { a: script }, plugins: [noting] });
  vm.checkpointEvery(1000);
  host.runTo(vm, 500);
  const saved = host.save(vm);
  await host.run();
  const hash = host.stateHash(vm);
  assertEquals([vm.exit?.status, seen], [5, [1000, 2000]]);

  host.restore(vm, saved);
  assertEquals([vm.state, vm.exit, vm.clock.steps], ["ready", undefined, 500]);
  await host.run({ untilNs: host.clock.nowNs + 1e6 });
  assertEquals(vm.state, "waiting");
  host.restore(vm, saved);
  await host.run();
  assertEquals([host.stateHash(vm), vm.exit?.status], [hash, 5]);
  assertEquals(seen, [1000, 2000, 1000, 2000, 1000, 2000]);
});

Deno.test("a saved state without a plugin's part is refused by its name", () => {
  const { host, vms: [vm] } = start({ scripts: { a: [{ run: 10 }] } });
  const saved = host.save(vm);
  assertThrows(() => host.restore(vm, { ...saved, plugins: {} }), InputError, 'nothing of plugin "fake-executor"');
});

Deno.test("a halted VM's time goes on while it is suspended, again and again", async () => {
  const { host, fake, vms: [vm] } = start({
    scripts: { a: [{ arm: 20e6 }, "halt", { run: 100 }, { exit: 0 }] },
    plugins: [
      definePlugin({
        name: "holder",
        setup({ host, every }) {
          every(100_000, () => {
            for (const vm of host.vms) {
              if (vm.suspendedBy.size > 0) host.resume(vm, "holder");
              else host.suspend(vm, "holder");
            }
          });
        },
      }),
    ],
  });
  await host.run({ untilNs: 1e9 });
  assertEquals([vm.state, vm.clock.steps], ["exited", 100]);
  assertEquals(fake.processor(vm).firedNs, [20e6]);
});
