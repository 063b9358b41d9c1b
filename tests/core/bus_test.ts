// The event bus: the three kinds of event, order, removal, and what a failing listener leads to.

import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { Bus, decide, type Listener, ListenerError, observe, reduce, VmFailure } from "../../core/mod.ts";

const told = observe<number>("test.told");
const asked = decide<number, string>("test.asked");
const passed = reduce<number, { readonly by: number }>("test.passed");

/** Listeners of any shape; the typed `on` of a plugin's context is tested with the life cycle. */
const listener = (fn: (value: number, context: { by: number }) => unknown) => fn as Listener;

Deno.test("an observed event reaches every listener, whatever they return", () => {
  const bus = new Bus();
  const seen: string[] = [];
  bus.on(told, "a", listener((value) => seen.push(`a${value}`)));
  bus.on(told, "b", listener((value) => seen.push(`b${value}`)));
  assertEquals(bus.port(told).emit(7), undefined);
  assertEquals(seen, ["a7", "b7"]);
});

Deno.test("the first defined answer decides, and later listeners are not asked", () => {
  const bus = new Bus();
  const seen: string[] = [];
  bus.on(asked, "silent", listener((value) => void seen.push(`silent${value}`)));
  bus.on(asked, "first", listener((value) => value > 5 ? "big" : undefined));
  bus.on(asked, "second", listener(() => (seen.push("second"), "second")));
  const { ask } = bus.port(asked);
  assertEquals(ask(6), "big");
  assertEquals(ask(5), "second");
  assertEquals(seen, ["silent6", "silent5", "second"]);
});

Deno.test("every defined answer counts as one, also those that are falsy", () => {
  for (const answer of [0, "", false, null]) {
    const bus = new Bus();
    const question = decide<number, unknown>("test.falsy");
    bus.on(question, "a", listener(() => answer));
    bus.on(question, "b", listener(() => "later"));
    assertStrictEquals(bus.port(question).ask(1), answer);
  }
});

Deno.test("a reduced value passes through every listener with its context", () => {
  const bus = new Bus();
  bus.on(passed, "add", listener((value, { by }) => value + by));
  bus.on(passed, "double", listener((value) => value * 2));
  assertEquals(bus.port(passed).fold(3, { by: 4 }), 14);
});

Deno.test("when nobody listens, nothing happens, a question has no answer and a value stays", () => {
  const bus = new Bus();
  assertEquals(bus.port(told).emit(1), undefined);
  assertEquals(bus.port(asked).ask(1), undefined);
  assertEquals(bus.port(passed).fold(8, { by: 1 }), 8);
  for (const token of [told, asked, passed]) assertEquals(bus.tokens().find((t) => t.token === token)?.listeners, []);
});

Deno.test("lower order is called first, equal order as subscribed", () => {
  const bus = new Bus();
  const seen: string[] = [];
  const note = (name: string, order?: number) => bus.on(told, name, listener(() => seen.push(name)), order);
  note("default one");
  note("late", 10);
  note("early", -10);
  note("default two");
  note("early too", -10);
  note("fraction", 0.5);
  bus.port(told).emit(0);
  assertEquals(seen, ["early", "early too", "default one", "default two", "fraction", "late"]);
  assertEquals(bus.tokens().map(({ listeners }) => listeners), [seen]);
});

Deno.test("a port looked up once follows listeners as they come and go", () => {
  const bus = new Bus();
  const port = bus.port(passed);
  assertEquals(port.active, false);
  const remove = [1, 10, 100].map((n) => bus.on(passed, `plus ${n}`, listener((value) => value + n)));
  assertEquals([port.active, port.fold(0, { by: 0 })], [true, 111]);
  remove[1]();
  assertEquals(port.fold(0, { by: 0 }), 101);
  remove[1]();
  assertEquals(port.fold(0, { by: 0 }), 101, "removing twice removes nothing else");
  remove[0]();
  remove[2]();
  assertEquals([port.active, port.fold(5, { by: 0 })], [false, 5]);
});

Deno.test("a listener may remove itself while it is called; the others are still called", () => {
  const bus = new Bus();
  const seen: string[] = [];
  const remove = bus.on(told, "once", listener(() => (seen.push("once"), remove())));
  bus.on(told, "always", listener(() => seen.push("always")));
  bus.port(told).emit(1);
  bus.port(told).emit(2);
  assertEquals(seen, ["once", "always", "always"]);
});

Deno.test("what a listener throws names the plugin and the event, and keeps the cause", () => {
  const cause = new RangeError("no such page");
  const calls: [string, (bus: Bus) => unknown][] = [
    ["test.told", (bus) => bus.port(told).emit(1)],
    ["test.asked", (bus) => bus.port(asked).ask(1)],
    ["test.passed", (bus) => bus.port(passed).fold(1, { by: 1 })],
  ];
  for (const [name, call] of calls) {
    const bus = new Bus();
    const token = [told, asked, passed].find((candidate) => candidate.name === name);
    assert(token !== undefined);
    bus.on(token, "sound", listener(() => undefined));
    bus.on(
      token,
      "broken",
      listener(() => {
        throw cause;
      }),
    );
    const error = assertThrows(
      () => call(bus),
      ListenerError,
      `plugin "broken" failed in its listener of ${name}: no such page`,
    );
    assertEquals([error.plugin, error.event], ["broken", name]);
    assertStrictEquals(error.cause, cause);
  }
});

Deno.test("an error that passes through several listeners names the innermost", () => {
  const bus = new Bus();
  bus.on(told, "outer", listener((value) => bus.port(asked).ask(value)));
  bus.on(
    asked,
    "inner",
    listener(() => {
      throw new Error("deep");
    }),
  );
  const error = assertThrows(() => bus.port(told).emit(1), ListenerError, 'plugin "inner"');
  assertEquals(error.event, "test.asked");
});

Deno.test("one name declared with two kinds is an error that says both", () => {
  const bus = new Bus();
  bus.port(told);
  assertThrows(() => bus.port(decide("test.told")), Error, "declared as observe and as decide");
});

Deno.test("what keeps a VM from going on passes a listener unchanged: no plugin is blamed for a disk that failed", () => {
  class DiskFailure extends VmFailure {
    override readonly status = 5;
  }
  const failure = new DiskFailure("page 7 cannot be read");
  const fail = listener(() => {
    throw failure;
  });
  const calls: [typeof told | typeof asked | typeof passed, (bus: Bus) => unknown][] = [
    [told, (bus) => bus.port(told).emit(1)],
    [asked, (bus) => bus.port(asked).ask(1)],
    [passed, (bus) => bus.port(passed).fold(1, { by: 1 })],
  ];
  for (const [token, call] of calls) {
    const bus = new Bus();
    bus.on(token, "reader", fail);
    assertStrictEquals(assertThrows(() => call(bus)), failure);
  }
});
