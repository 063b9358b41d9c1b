// Saved states and their seals: a VM goes on from one as it would have, and is left alone by one that is damaged or foreign.

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { addVm, createHost } from "../../cli/machine.ts";
import { restoreVm, saveVm } from "../../cli/saved_state.ts";
import { InputError } from "../../core/mod.ts";

const STEPS = 5000;

function machine(guest = "alu", memoryMib = 4) {
  const host = createHost({ memoryMib: 16, plugins: [] });
  return { host, vm: addVm(host, { guest, memoryMib }) };
}

function saved() {
  const { host, vm } = machine();
  host.runTo(vm, STEPS);
  return { state: saveVm(host, vm), hash: host.stateHash(vm) };
}

Deno.test("a VM takes a saved state back, in another machine too", () => {
  const { state, hash } = saved(), { host, vm } = machine();
  restoreVm(host, vm, state);
  assertEquals(host.stateHash(vm), hash);
});

const damages: readonly [what: string, damage: (state: ReturnType<typeof saveVm>) => unknown][] = [
  ["a number changed", (state) => ({ ...state, clock: { ...(state.clock as object), steps: STEPS + 1 } })],
  ["a plugin's state gone", ({ plugins, ...rest }) => ({ ...rest, plugins: { ...plugins, x86: [] } })],
  ["a function in it", (state) => ({ ...state, plugins: { ...state.plugins, x86: [() => {}] } })],
  ["another's seal", (state) => ({ ...state, seal: "0123456789abcdef" })],
  ["nothing in it", () => null],
  ["a cycle in it", (state) => {
    const clock: Record<string, unknown> = {};
    return { ...state, clock: Object.assign(clock, { clock }) };
  }],
];
for (const [what, damage] of damages) {
  Deno.test(`a saved state with ${what} is refused and changes nothing`, () => {
    const { state } = saved(), { host, vm } = machine();
    host.runTo(vm, 100);
    const before = host.stateHash(vm);
    const error = assertThrows(() => restoreVm(host, vm, damage(state)), InputError);
    assertStringIncludes(error.message, "its seal does not match");
    assertEquals(host.stateHash(vm), before);
  });
}

Deno.test("a saved state of a machine with other memory is refused and changes nothing", () => {
  const { state } = saved(), { host, vm } = machine("alu", 8);
  host.runTo(vm, 100);
  const before = host.stateHash(vm);
  const error = assertThrows(() => restoreVm(host, vm, state), InputError);
  assertStringIncludes(error.message, "does not fit");
  assertEquals(host.stateHash(vm), before);
});

Deno.test("a saved state of a machine with other plugins is refused", () => {
  const { state } = saved();
  const host = createHost({ memoryMib: 16, plugins: ["balloon"] });
  const vm = addVm(host, { guest: "alu", memoryMib: 4 });
  const error = assertThrows(() => restoreVm(host, vm, state), InputError);
  assertStringIncludes(error.message, "the saved state is of a machine with ");
});
