// Lockstep: engines that agree, and saboteurs that corrupt the machine after one instruction, found at exactly that one.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { definePlugin, type Vm } from "../../../core/mod.ts";
import { Lockstep, type LockstepOptions, type LockstepSide } from "../../../plugins/debugger/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import { SingleStep } from "../../../plugins/single-step/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import type { PluginChoice } from "../../../cli/catalogue.ts";
import type { GuestChoice } from "../../../cli/machine.ts";
import { type Machine, machineOf } from "./machine.ts";

type Corrupt = (cpu: x86.Processor, guestMemory: memory.GuestMemory) => void;

/** Steps between comparisons, where nobody says otherwise. */
const INTERVAL = 10_000;

/** An engine that corrupts the state after the instruction that is step `steps`; `once`, or whenever it comes there. */
function saboteur(steps: number, corrupt: Corrupt, once = false) {
  return definePlugin({
    name: "saboteur",
    requires: ["x86", "memory"],
    replaces: [x86.engine],
    setup({ service, provide }) {
      const processorOf = service(x86.processor), memoryOf = service(memory.guest);
      let isDone = false;
      const stepper = service(x86.engine, "x86");
      const sabotaged: x86.Engine = {
        name: stepper.name,
        execute: (vm) => stepper.execute(vm),
        step(vm: Vm) {
          const completed = stepper.step(vm);
          if (vm.clock.steps === steps && !(once && isDone)) {
            isDone = true;
            corrupt(processorOf(vm), memoryOf(vm));
          }
          return completed;
        },
      };
      const engine = new SingleStep(sabotaged, processorOf);
      provide(x86.engine, { name: "saboteur", execute: (vm) => engine.execute(vm), step: (vm) => engine.step(vm) });
    },
  });
}

function sideOf(name: string, guest: string, plugins: readonly PluginChoice[]): LockstepSide {
  const { host, vm } = machineOf(guest, plugins);
  return { name, host, vm };
}

function run(lockstep: Lockstep, untilSteps: number) {
  for (;;) {
    const outcome = lockstep.advance(untilSteps);
    if (outcome !== "equal") return outcome;
  }
}

for (const guest of ["hello", "privileged", "pagetable", "idle"]) {
  Deno.test(`the interpreter and single steps agree on guest ${guest}`, () => {
    const lockstep = new Lockstep(sideOf("blocks", guest, []), sideOf("steps", guest, ["single-step"]));
    assertEquals(run(lockstep, 400_000), "ended");
    const { first, second } = lockstep;
    assertEquals(first.vm.clock.steps, second.vm.clock.steps);
    assert(lockstep.comparisons >= Math.floor(first.vm.clock.steps / 10_000));
  });
}

/** A flag, a register, a byte of memory that nobody reads again: none of them goes away by itself. */
const sabotages: readonly [string, number, Corrupt, string][] = [
  ["a flag", 12_345, (cpu) => cpu.setEflags(x86.ID, x86.ID), "EFLAGS="],
  ["the first instruction", 1, (cpu) => cpu.setEflags(x86.ID, x86.ID), "EFLAGS="],
  ["a segment's limit", 29_999, (cpu) => cpu.setRegister(x86.state.LIMIT + x86.GS, 0xfffff), "GS"],
  [
    "a byte of memory",
    54_321,
    (_, guestMemory) => guestMemory.write(0x30_0004, Uint8Array.of(1)),
    "memory at 00300004",
  ],
  ["a byte that the guest could store itself", 61_003, (cpu) => cpu.write8(0x30_0fff, 0x80), "memory at 00300ffc"],
  ["CR2", 70_000, (cpu) => cpu.setRegister(x86.state.CR2, 0x1234), "CR2=00002654 | CR2=00001234"],
];
const options: LockstepOptions = { saveEverySteps: 20_000 };
for (const [what, steps, corrupt, shown] of sabotages) {
  Deno.test(`an engine that corrupts ${what} after step ${steps} is found at that instruction`, () => {
    const second = sideOf("saboteur", "privileged", [{ plugin: saboteur(steps, corrupt) }]);
    const reference = machineOf("privileged", []);
    reference.host.runTo(reference.vm, steps - 1);
    const [line] = x86.disassembleAt(reference.cpu, reference.cpu.eip, 1);
    const lockstep = new Lockstep(sideOf("interpreter", "privileged", []), second, options);
    const outcome = run(lockstep, 200_000);
    assert(typeof outcome !== "string", `found nothing: ${outcome}`);
    assertEquals([outcome.steps, outcome.isExact], [steps - 1, true]);
    assertEquals(lockstep.comparisons, Math.ceil(steps / INTERVAL), "it was seen at the next comparison");
    assertEquals([outcome.address, outcome.instruction], [reference.cpu.eip, line.text]);
    assertStringIncludes(outcome.report, `interpreter and saboteur are equal after ${steps - 1} steps`);
    assertStringIncludes(outcome.report, shown);
    assertStringIncludes(outcome.report, "State before\nEAX=");
  });
}

/** The translator, which after step `steps` stores one byte as translated code does: through the TLB that it was given. */
function corruptTranslator(steps: number, linear: number) {
  return definePlugin({
    name: "corrupt-translator",
    requires: ["x86", "bt"],
    replaces: [x86.engine],
    setup({ service, provide }) {
      const inner = service(x86.engine, "bt"), processorOf = service(x86.processor);
      const execute = (vm: Vm) => {
        const { clock } = vm, { deadlineSteps } = clock;
        if (clock.steps >= steps || deadlineSteps < steps) return inner.execute(vm);
        clock.deadlineSteps = steps;
        inner.execute(vm);
        clock.deadlineSteps = deadlineSteps;
        clock.reschedule();
        if (clock.steps !== steps) return;
        const cpu = processorOf(vm);
        cpu.write8(linear, cpu.read8(linear) ^ 1);
        cpu.write8(linear, cpu.read8(linear) ^ 2);
      };
      provide(x86.engine, { name: "corrupt bt", execute, step: (vm: Vm) => inner.step(vm) });
    },
  });
}

const translatorOptions: PluginChoice = { use: "bt", options: { threshold: 0 } };
for (const steps of [20_001, 77_777, 130_000]) {
  Deno.test(`a translator that corrupts a byte of memory after step ${steps} is found at that instruction`, () => {
    // Far behind what the guest uses, so that nobody reads it or writes it again.
    const plugins = [translatorOptions, { plugin: corruptTranslator(steps, 0x3f_f123) }];
    const lockstep = new Lockstep(sideOf("interpreter", "alu", []), sideOf("bt", "alu", plugins));
    const outcome = run(lockstep, 200_000);
    assert(typeof outcome !== "string", `found nothing: ${outcome}`);
    assertEquals([outcome.steps, outcome.isExact], [steps - 1, true]);
    assertEquals(lockstep.comparisons, Math.ceil(steps / INTERVAL));
    assertStringIncludes(outcome.report, "memory at 003ff120 (physical): 00000000 | 03000000");
    assertEquals(outcome.report.split("\n").filter((line) => line.includes("memory at")).length, 1);
  });
}

/** What a machine hashes that is given the same memory now, and so has no hash of any page yet. */
function hashFromScratch({ host, vm }: Machine, plugins: readonly PluginChoice[]): string {
  const fresh = machineOf("hello", plugins, vm.config.memoryMib);
  fresh.host.restore(fresh.vm, host.save(vm));
  return fresh.host.stateHash(fresh.vm);
}

const hashedGuests: readonly [string, GuestChoice, number][] = [
  ["pagetable", "pagetable", 4],
  ["privileged", "privileged", 4],
  ["idle", { use: "idle", options: { ticks: 0 } }, 4],
  ["toucher", { use: "toucher", options: { schedule: "1:20,2:40", passMs: 10 } }, 8],
];
const hashedEngines: readonly [string, readonly PluginChoice[]][] = [
  ["the interpreter", []],
  ["single steps", ["single-step"]],
  ["the translator", ["bt"]],
  ["the translator alone", [translatorOptions]],
];
for (const [engine, plugins] of hashedEngines) {
  for (const [name, guest, memoryMib] of hashedGuests) {
    Deno.test(`the hash kept while ${name} runs under ${engine} is that of all its memory`, () => {
      const machine = machineOf(guest, plugins, memoryMib);
      const { host, vm } = machine, seen = new Set<string>();
      for (let steps = 1_000; steps <= 60_000; steps += steps < 10_000 ? 1_000 : 9_973) {
        host.runTo(vm, steps);
        const hash = host.stateHash(vm);
        seen.add(hash);
        assertEquals(hash, hashFromScratch(machine, plugins));
        host.service(memory.machine).audit();
      }
      assert(seen.size > 10);
    });
  }
}

Deno.test("a difference that does not come again is reported with where it was seen", () => {
  const plugin = saboteur(12_345, (cpu) => cpu.setEflags(x86.ID, x86.ID), true);
  const second = sideOf("saboteur", "privileged", [{ plugin }]);
  const outcome = run(new Lockstep(sideOf("interpreter", "privileged", []), second), 200_000);
  assert(typeof outcome !== "string");
  assertEquals([outcome.steps, outcome.isExact], [10_000, false]);
  assertStringIncludes(outcome.report, "different at step 20000, but not again");
  assertStringIncludes(outcome.report, "EFLAGS=");
});

Deno.test("machines that differ from the start are refused", () => {
  const second = sideOf("b", "privileged", []);
  second.host.service(x86.processor)(second.vm).setRegister(x86.EBX, 1);
  assertThrows(() => new Lockstep(sideOf("a", "privileged", []), second), Error, "do not start from the same state");
});
