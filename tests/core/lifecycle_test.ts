// The life cycle of plugins: order, options, services, what each mistake is answered with, and policies that come and go.

import { assert, assertEquals, assertMatch, assertStrictEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  decide,
  definePlugin,
  Host,
  InputError,
  ListenerError,
  observe,
  type Plugin,
  reduce,
  service,
  type Vm,
  vmExited,
  z,
} from "../../core/mod.ts";
import { fakeExecutor, vmConfig } from "./fake_executor.ts";

const host = () => new Host({ memoryMib: 1, seed: 7, quantumNs: 1e6 });

/** A plugin that does nothing, or what is told. */
function plugin(name: string, other: Partial<Plugin> = {}): Plugin {
  return { name, setup() {}, ...other };
}

const load = (...plugins: readonly Plugin[]) => {
  const made = host();
  made.load(...plugins.map((plugin) => ({ plugin })));
  return made;
};

Deno.test("plugins are set up after those they require, otherwise in the order given", () => {
  const order: string[] = [];
  const noted = (name: string, requires: string[] = []) =>
    plugin(name, { requires, setup: () => void order.push(name) });
  load(noted("d", ["c", "b"]), noted("a"), noted("c", ["b"]), noted("b"));
  assertEquals(order, ["b", "c", "d", "a"]);
});

Deno.test("a plugin may require one that was loaded before", () => {
  const made = load(plugin("a"));
  made.load({ plugin: plugin("b", { requires: ["a"] }) });
  assertEquals([...made.plugins.loaded.keys()], ["a", "b"]);
});

const token = service<string>("test.service");
const provider = (name: string, other: Partial<Plugin> = {}) =>
  plugin(name, { setup: ({ provide }) => provide(token, `of ${name}`), ...other });

Deno.test("mistakes in a set of plugins are refused with both sides named", () => {
  const cases: [string, readonly Plugin[], string][] = [
    [
      "a requirement that is missing",
      [plugin("a", { requires: ["b"] })],
      'plugin "a" requires "b", which is not loaded',
    ],
    [
      "a cycle",
      [plugin("a", { requires: ["b"] }), plugin("b", { requires: ["c"] }), plugin("c", { requires: ["a"] })],
      "plugins require each other: a -> b -> c -> a",
    ],
    ["a plugin that requires itself", [plugin("a", { requires: ["a"] })], "plugins require each other: a -> a"],
    ["a plugin given twice", [plugin("a"), plugin("a")], 'plugin "a" is given twice'],
    [
      "a second provider",
      [provider("a"), provider("b")],
      'service test.service is provided by "a" and by "b"; leave one out',
    ],
    [
      "a service that nobody provides",
      [plugin("a", { setup: ({ service }) => void service(token) })],
      'plugin "a" failed to set up: no plugin provides the service test.service',
    ],
    [
      "a service from somebody who does not provide it",
      [provider("a"), plugin("b", { setup: ({ service }) => void service(token, "b") })],
      'no plugin "b" provides the service test.service',
    ],
  ];
  for (const [what, plugins, message] of cases) {
    const error = assertThrows(() => load(...plugins), InputError);
    assert(error.message.includes(message), `${what}: ${error.message}`);
  }
});

Deno.test("a plugin given twice in two loads is refused", () => {
  const made = load(plugin("a"));
  assertThrows(() => made.load({ plugin: plugin("a") }), InputError, 'plugin "a" is given twice');
});

Deno.test("a service may be replaced by name; the replaced one stays reachable", () => {
  const seen: string[] = [];
  const replacer = provider("b", { requires: ["a"], replaces: [token] });
  const user = plugin("user", {
    requires: ["a", "b"],
    setup: ({ service }) => void seen.push(service(token), service(token, "a"), service(token, "b")),
  });
  const made = load(user, replacer, provider("a"));
  assertEquals(seen, ["of b", "of a", "of b"]);
  assertEquals([made.service(token), made.service(token, "a")], ["of b", "of a"]);
});

Deno.test("options are checked, and defaults filled in", () => {
  const schema = z.strictObject({
    pages: z.int().min(1).default(64),
    nested: z.strictObject({ rate: z.number().default(0.5) }).prefault({}),
  });
  const given: unknown[] = [];
  const withOptions = definePlugin({ name: "p", options: schema, setup: ({ options }) => void given.push(options) });
  host().load({ plugin: withOptions });
  host().load({ plugin: withOptions, options: { pages: 3, nested: { rate: 1 } } });
  assertEquals(given, [{ pages: 64, nested: { rate: 0.5 } }, { pages: 3, nested: { rate: 1 } }]);

  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ pages: 0 }, /^option p\.pages: /],
    [{ pages: "many" }, /^option p\.pages: .*string/],
    [{ nested: { rate: "fast" } }, /^option p\.nested\.rate: /],
    [{ page: 1 }, /^option p: .*"page"/],
    [{ nested: { speed: 1 } }, /^option p\.nested: .*"speed"/],
  ];
  for (const [options, message] of wrong) {
    assertMatch(assertThrows(() => host().load({ plugin: withOptions, options }), InputError).message, message);
  }
  assertThrows(() => host().load({ plugin: plugin("q"), options: { a: 1 } }), InputError, 'plugin "q" has no options');
});

Deno.test("a VM's options are checked before any state is made for it", () => {
  const made: string[] = [];
  const first = plugin("first", { setup: ({ perVm }) => void perVm((vm) => (made.push(vm.name), {})) });
  let read: (vm: Vm) => unknown = () => undefined;
  const second = plugin("second", {
    vmOptions: z.strictObject({ target: z.int().default(5) }),
    setup: ({ vmOptions }) => void (read = vmOptions),
  });
  const loaded = load(first, second);
  const error = assertThrows(() => loaded.add(vmConfig("bad", { options: { second: { target: "x" } } })), InputError);
  assertMatch(error.message, /^option second of VM "bad"\.target: /);
  assertEquals([made, loaded.vms], [[], []]);
  assertEquals(read(loaded.add(vmConfig("good"))), { target: 5 });
  assertEquals(read(loaded.add(vmConfig("told", { options: { second: { target: 9 } } }))), { target: 9 });
});

Deno.test("a VM for which one plugin cannot make its state leaves nothing behind in the others", () => {
  const stateOf = new Map<string, (vm: Vm) => object>();
  const seen: Vm[] = [];
  const first = plugin("first", {
    setup: ({ perVm }) => void stateOf.set("first", perVm((vm) => (seen.push(vm), { name: vm.name }))),
  });
  const broken = plugin("broken", {
    setup: ({ perVm }) =>
      void perVm((vm) => {
        if (vm.name === "bad") throw new RangeError("no room");
        return {};
      }),
  });
  const loaded = load(first, broken);
  const error = assertThrows(() => loaded.add(vmConfig("bad")), ListenerError, 'plugin "broken" failed');
  assertStringIncludes(error.message, "no room");
  assertEquals([loaded.vms.length, stateOf.get("first")?.(seen[0])], [0, undefined]);
  const vm = loaded.add(vmConfig("good"));
  assertEquals(stateOf.get("first")?.(vm), { name: "good" });
});

const question = decide<void, string>("test.question");
const value = reduce<number>("test.value");
const event = observe<void>("test.event");

Deno.test("unloading a policy releases its listeners and timers", () => {
  let ticks = 0;
  const policy = plugin("policy", {
    setup({ on, every }) {
      on(question, () => "answer");
      on(value, (n) => n + 1);
      on(event, () => {});
      every(10, () => void ticks++);
    },
  });
  const made = load(policy);
  const ask = () => [made.bus.port(question).ask(), made.bus.port(value).fold(1), made.bus.port(event).active];
  made.clock.nowNs = 10;
  made.clock.fireDue();
  assertEquals([ask(), ticks], [["answer", 2, true], 1]);
  made.plugins.unload("policy");
  made.clock.nowNs = 100;
  made.clock.fireDue();
  assertEquals([ask(), ticks], [[undefined, 1, false], 1]);
  assertEquals(made.clock.nextTimerNs(), Infinity);
  made.load({ plugin: policy });
  assertEquals(ask(), ["answer", 2, true], "it can come back");
});

Deno.test("a mechanism, and a policy that another plugin requires, stay", () => {
  const made = load(provider("mechanism"), plugin("needed"), plugin("needing", { requires: ["needed"] }));
  const cases: [string, string][] = [
    ["mechanism", 'plugin "mechanism" provides test.service: mechanisms stay while a host runs'],
    ["needed", 'plugin "needed" is required by "needing"; unload that first'],
    ["neded", 'unknown loaded plugin "neded"; did you mean "needed"?'],
  ];
  for (const [name, message] of cases) assertThrows(() => made.plugins.unload(name), InputError, message);
  made.plugins.unload("needing");
  made.plugins.unload("needed");
  assertEquals([...made.plugins.loaded.keys()], ["mechanism"]);
});

Deno.test("policies swap between two quanta of a running host", async () => {
  const choice = decide<void, string>("test.choice");
  const choices: (string | undefined)[] = [];
  const { plugin: executor } = fakeExecutor({ a: [{ run: 10e6 }] });
  const asking = plugin("asking", {
    setup: ({ every, port }) => every(1e6, () => void choices.push(port(choice).ask())),
  });
  const answering = (name: string) => plugin(name, { setup: ({ on }) => on(choice, () => name) });
  const made = load(executor, asking, answering("old"));
  made.add(vmConfig("a"));
  let swapped = false;
  await made.run({
    stop() {
      if (!swapped && made.clock.nowNs >= 4e6) {
        swapped = true;
        made.plugins.unload("old");
        made.load({ plugin: answering("new") });
      }
      return false;
    },
  });
  assertEquals(new Set(choices.slice(0, 3)), new Set(["old"]));
  assertEquals(choices.slice(-4), ["new", "new", "new", "new"]);
  assertEquals(new Set(choices), new Set(["old", "new"]), "there was always a policy");
});

Deno.test("a plugin that fails to set up leaves nothing behind", () => {
  const made = host();
  const failing = plugin("failing", {
    setup({ on, every, provide, perVm }) {
      on(question, () => "answer");
      every(10, () => {});
      provide(token, "half");
      perVm(() => ({}));
      throw new Error("no such file");
    },
  });
  const error = assertThrows(
    () => made.load({ plugin: failing }),
    InputError,
    'plugin "failing" failed to set up: no such file',
  );
  assertMatch(String(error.cause), /no such file/);
  assertEquals([made.bus.port(question).active, made.clock.nextTimerNs()], [false, Infinity]);
  assertThrows(() => made.service(token), InputError, "no plugin provides");
  made.load({ plugin: provider("failing") });
  assertEquals(made.service(token), "of failing");
});

Deno.test("what a plugin throws in a listener or timer ends the run by its name", async () => {
  const cause = new TypeError("boom");
  const fail = () => {
    throw cause;
  };
  const cases: [Plugin, string][] = [
    [plugin("listener", { setup: ({ on }) => on(vmExited, fail) }), "core.vmExited"],
    [plugin("timer", { setup: ({ every }) => every(10, fail) }), "host time"],
  ];
  for (const [broken, event] of cases) {
    const made = load(fakeExecutor({ a: [{ run: 1000 }] }).plugin, broken);
    made.add(vmConfig("a"));
    let error: unknown;
    await made.run().catch((thrown) => error = thrown);
    assert(error instanceof ListenerError);
    assertEquals([error.plugin, error.event], [broken.name, event]);
    assertStrictEquals(error.cause, cause);
  }
});

Deno.test("random streams belong to a plugin and a VM, and depend on the seed", () => {
  const draw = (seed: number) => {
    const drawn: number[] = [];
    const drawing = (name: string) =>
      plugin(name, {
        setup: ({ rng, perVm }) => (drawn.push(rng().next()), void perVm((vm) => (drawn.push(rng(vm).next()), {}))),
      });
    const made = new Host({ memoryMib: 1, seed, quantumNs: 1 });
    made.load({ plugin: drawing("x") }, { plugin: drawing("y") });
    for (const name of ["a", "b"]) made.add(vmConfig(name));
    return drawn;
  };
  assertEquals(draw(1), draw(1));
  assertEquals(new Set([...draw(1), ...draw(2)]).size, 12);
});

Deno.test("state is made for VMs that are there when a plugin comes", () => {
  const made = load(fakeExecutor({}).plugin);
  const vm = made.add(vmConfig("a"));
  let stateOf: (vm: Vm) => { ppn: number } = () => ({ ppn: -1 });
  made.load({ plugin: plugin("late", { setup: ({ perVm }) => void (stateOf = perVm(() => ({ ppn: 0 }))) }) });
  stateOf(vm).ppn = 5;
  const saved = made.save(vm);
  stateOf(vm).ppn = 6;
  made.restore(vm, saved);
  assertEquals(stateOf(vm).ppn, 5, "plain data is saved and restored as a whole");
});

Deno.test("statistics are read by name, those of VMs by VM and name, as many as there are then", () => {
  const made = load(
    fakeExecutor({}).plugin,
    plugin("p", {
      setup({ stats }) {
        stats.counter("skipped", "pages").value += 3;
        stats.gauge("hand", "page", () => 8);
        stats.series("held", "pages", (vm) => vm.name === "none" ? undefined : 10 + vm.id);
      },
    }),
  );
  const stats = made.plugins.loaded.get("p")?.stats;
  assertEquals(stats?.snapshot(), { skipped: 3, hand: 8 });
  for (const name of ["a", "none", "b"]) made.add(vmConfig(name));
  assertEquals(stats?.snapshot(), { skipped: 3, hand: 8, "a.held": 10, "b.held": 12 });
  assertEquals(stats?.seriesList.map(({ name, unit }) => [name, unit]), [["held", "pages"]]);
});
