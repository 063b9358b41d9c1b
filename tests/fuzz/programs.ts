// Hostile guests on whole machines: no exception, an audit that passes, the same state in the translator as in the
// interpreter, and the same state after the VM was saved and put into another machine.

import { addVm, createHost, type HostOptions } from "../../cli/machine.ts";
import type { Host, Vm } from "../../core/mod.ts";
import type { FlatImage } from "../../plugins/boot/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { hostileGuest, MEMORY_MIB } from "./hostile_guest.ts";
import { Dice, type Target } from "./target.ts";

/** Most steps of a case, and of the one in eight that may run for longer; host time after which a guest that sleeps is left. */
const MOST_STEPS = 20_000, LONG_STEPS = 300_000, MOST_NS = 5e6;
/** Threshold, units and cache of the translator: several, since each finds other faults. */
const TRANSLATORS = [
  { threshold: 0 },
  { threshold: 0, unitInstructions: 1, regionUnits: 4 },
  { threshold: 2, cacheKib: 16 },
  { threshold: 1, regionUnits: 250, unitInstructions: 64 },
];

/** Memory management belongs to the machine, and so to the case: both that there are. */
const memoryManagement = (dice: Dice): readonly string[] => dice.oneIn(2) ? [] : ["shadow-mmu"];

type Choices = Pick<HostOptions, "plugins" | "quantumNs">;

interface Machine {
  readonly host: Host;
  readonly vm: Vm;
}

function machineOf(image: FlatImage, { plugins, quantumNs }: Choices): Machine {
  const host = createHost({ memoryMib: MEMORY_MIB + 2, plugins, quantumNs });
  const options = { vga: { enabled: true } };
  const vm = addVm(host, { guest: { image }, memoryMib: MEMORY_MIB, options });
  return { host, vm };
}

/** Runs a VM for so many steps, or until it sleeps for longer than anybody would wait. */
async function runTo({ host, vm }: Machine, steps: number): Promise<void> {
  // A checkpoint ends a turn at its exact step.
  vm.checkpointSteps = steps;
  await host.run({ stop: () => vm.clock.steps >= steps, untilNs: host.clock.nowNs + MOST_NS });
}

function check({ host, vm }: Machine): string {
  host.service(memory.machine).audit();
  if (vm.exit?.reason === "failed") throw new Error(`the VM failed: ${vm.exit.detail}`);
  return `${vm.clock.steps} steps, ${vm.exit?.reason ?? "running"}, hash ${host.stateHash(vm)}`;
}

function expectSame(what: string, one: string, other: string): void {
  if (one !== other) throw new Error(`${what}: ${one} and ${other}`);
}

/** In the interpreter; one case in eight is saved in the middle and goes on in another machine as well. */
async function interpreted(seed: string): Promise<number> {
  const dice = new Dice(seed), image = hostileGuest(dice);
  const quantumNs = 1000 + dice.below(1e6), plugins = memoryManagement(dice);
  const steps = dice.oneIn(8) ? LONG_STEPS : MOST_STEPS;
  const machine = machineOf(image, { plugins, quantumNs });
  if (!dice.oneIn(8)) {
    await runTo(machine, steps);
    check(machine);
    return machine.vm.clock.steps;
  }
  await runTo(machine, 1 + dice.below(steps / 2));
  if (machine.vm.exit !== undefined) return check(machine), machine.vm.clock.steps;
  const other = machineOf(image, { plugins, quantumNs: 1000 + dice.below(1e6) });
  other.host.restore(other.vm, machine.host.save(machine.vm));
  expectSame("saved and restored", check(machine), check(other));
  // Halted time depends on nothing but the guest, so both go the same way.
  await runTo(machine, steps);
  await runTo(other, steps);
  // One that sleeps until its host has had enough of it is left at some moment of that host's.
  const isThere = ({ vm }: Machine) => vm.exit !== undefined || vm.clock.steps >= steps;
  if (isThere(machine) && isThere(other)) expectSame("gone on", check(machine), check(other));
  return machine.vm.clock.steps + other.vm.clock.steps;
}

/** In the translator and in the interpreter. */
async function translated(seed: string): Promise<number> {
  const dice = new Dice(seed), image = hostileGuest(dice);
  const options = dice.pick(TRANSLATORS), steps = 1 + dice.below(MOST_STEPS), plugins = memoryManagement(dice);
  const reference = machineOf(image, { plugins });
  const machine = machineOf(image, { plugins: [{ use: "bt", options }, ...plugins] });
  await runTo(reference, steps);
  await runTo(machine, steps);
  expectSame(`interpreter and translator ${JSON.stringify(options)}`, check(reference), check(machine));
  return machine.vm.clock.steps;
}

export const programTargets: readonly Target[] = [
  {
    name: "interpreter",
    summary: "hostile programs in all modes, over garbage tables, in the interpreter",
    unit: "steps",
    budget: 10_000_000,
    run: interpreted,
  },
  {
    name: "translator",
    summary: "the same in the translator, compared with the interpreter",
    unit: "steps",
    budget: 1_000_000,
    run: translated,
  },
];
