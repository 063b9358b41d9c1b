// Hostile guests on whole machines: no exception, an audit that passes, the same state in the translator as in the
// interpreter, and the same state after the VM was saved and put into another machine.

import { addVm, createHost, type HostOptions } from "../../cli/machine.ts";
import { definePlugin, type Host, type Vm } from "../../core/mod.ts";
import type { FlatImage } from "../../plugins/boot/mod.ts";
import * as bt from "../../plugins/bt/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { hostileGuest, MEMORY_MIB } from "./hostile_guest.ts";
import { Dice, type Target } from "./target.ts";

/** Most steps of a case, and of the one in eight that may run for longer; host time after which a guest that sleeps is left. */
const MOST_STEPS = 20_000, LONG_STEPS = 300_000, MOST_NS = 5e6;
const PAGE_SHIFT = 12;
/** Of the translator's cases, those with code that gets hot. */
const FLAT_PERCENT = 80;

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

/** What the translator's cases have come through, all together: a target that is blind to a part of it finds nothing there. */
const covered = {
  translatedSteps: 0,
  coldEntries: 0,
  regions: 0,
  regionsOverPages: 0,
  groups: 0,
  lateEntries: 0,
  callouts: 0,
  traps: 0,
  evicted: 0,
  invalidated: 0,
  adaptations: 0,
  stepsByDefault: 0,
  regionsByDefault: 0,
};

/** Options of the translator: where code gets hot, how much of it is compiled at once, and how its instructions are handled. */
function translatorOptions(dice: Dice): Readonly<Record<string, unknown>> {
  const forms = Object.entries(bt.sensitiveClasses).map(([name, { forms }]) => [name, dice.pick<string>(forms)]);
  return {
    threshold: dice.pick([0, 0, 1, 2, 8, undefined]),
    unitInstructions: dice.pick([1, 12, 12, 64]),
    regionUnits: dice.pick([1, 4, 32, 250]),
    cacheKib: dice.pick([16, 64, undefined, undefined]),
    regroupSteps: dice.pick([0, 300, 3000]),
    regroupEntries: dice.pick([2, 8]),
    regroupUnitEntries: dice.pick([0, 0, 4]),
    chaining: !dice.oneIn(12),
    ...(dice.oneIn(3) ? Object.fromEntries(forms) : {}),
  };
}

/** In the translator and in the interpreter, which are compared half-way and at the end. */
async function translated(seed: string): Promise<number> {
  const dice = new Dice(seed), image = hostileGuest(dice, dice.below(100) < FLAT_PERCENT);
  const options = translatorOptions(dice), steps = 2 + dice.below(MOST_STEPS), plugins = memoryManagement(dice);
  const quantumNs = 1000 + dice.below(dice.oneIn(2) ? 20_000 : 1e6);
  const adapting = { use: "adaptive-bt", options: { threshold: 1, innocentAfter: 5, reviewMs: 1 } };
  const reference = machineOf(image, { plugins, quantumNs });
  const machine = machineOf(image, {
    plugins: [{ use: "bt", options }, ...plugins, ...(dice.oneIn(2) ? [adapting] : [])],
    quantumNs,
  });
  machine.host.load({ plugin: watcher });
  for (const until of [steps >> 1, steps]) {
    await runTo(reference, until);
    await runTo(machine, until);
    expectSame(`interpreter and translator ${JSON.stringify(options)}`, check(reference), check(machine));
  }
  note(machine, options.threshold === undefined);
  return machine.vm.clock.steps;
}

const watcher = definePlugin({
  name: "watcher",
  requires: ["bt"],
  setup({ on }) {
    on(bt.translated, ({ region: { units } }) => {
      // Offsets count from the page of the first.
      if (units.some(({ offset }) => offset >> PAGE_SHIFT !== 0)) covered.regionsOverPages++;
    });
  },
});

/** Adds what a case's translator did. */
function note({ host, vm }: Machine, isDefault: boolean): void {
  const figuresOf = (plugin: string) => host.plugins.loaded.get(plugin)?.stats.snapshot() ?? {};
  const figures = figuresOf("bt"), { steps } = vm.clock;
  for (
    const name of [
      "coldEntries",
      "regions",
      "groups",
      "lateEntries",
      "callouts",
      "traps",
      "evicted",
      "invalidated",
    ] as const
  ) {
    covered[name] += figures[name];
  }
  covered.translatedSteps += steps - figures.interpretedSteps;
  covered.adaptations += figuresOf("adaptive-bt").adaptations ?? 0;
  if (!isDefault) return;
  covered.stepsByDefault += steps;
  covered.regionsByDefault += figures.regions;
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
    covered: () => ({ ...covered }),
  },
];
