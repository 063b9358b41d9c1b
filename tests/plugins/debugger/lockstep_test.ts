// Lockstep: engines that agree, and saboteurs that corrupt the machine after one instruction, found at exactly that one.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { definePlugin, type Vm } from "../../../core/mod.ts";
import { Lockstep, type LockstepOptions, type LockstepSide } from "../../../plugins/debugger/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import { SingleStep } from "../../../plugins/single-step/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import type { PluginChoice } from "../../../cli/catalogue.ts";
import { machineOf } from "./machine.ts";

type Corrupt = (cpu: x86.Processor, guestMemory: memory.GuestMemory) => void;

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
  ["CR2", 70_000, (cpu) => cpu.setRegister(x86.state.CR2, 0x1234), "CR2=00002654 | CR2=00001234"],
];
const options: LockstepOptions = { memoryEverySteps: 50_000, saveEverySteps: 20_000 };
for (const [what, steps, corrupt, shown] of sabotages) {
  Deno.test(`an engine that corrupts ${what} after step ${steps} is found at that instruction`, () => {
    const second = sideOf("saboteur", "privileged", [{ plugin: saboteur(steps, corrupt) }]);
    const reference = machineOf("privileged", []);
    reference.host.runTo(reference.vm, steps - 1);
    const [line] = x86.disassembleAt(reference.cpu, reference.cpu.eip, 1);
    const outcome = run(new Lockstep(sideOf("interpreter", "privileged", []), second, options), 200_000);
    assert(typeof outcome !== "string", `found nothing: ${outcome}`);
    assertEquals([outcome.steps, outcome.isExact], [steps - 1, true]);
    assertEquals([outcome.address, outcome.instruction], [reference.cpu.eip, line.text]);
    assertStringIncludes(outcome.report, `interpreter and saboteur are equal after ${steps - 1} steps`);
    assertStringIncludes(outcome.report, shown);
    assertStringIncludes(outcome.report, "State before\nEAX=");
  });
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
