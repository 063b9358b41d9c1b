// Law 1 on whole guests: under the translator, however it is set, every guest of the catalogue passes through the states
// that it passes through under the interpreter, alone and beside others, and across a change of engine.

import { assert, assertEquals } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, type Host, type PluginUse, type Vm, vmCheckpoint } from "../../../core/mod.ts";
import { findGuest } from "../../../guests/mod.ts";
import bt from "../../../plugins/bt/mod.ts";
import { Translator } from "../../../plugins/bt/engine.ts";
import { engine } from "../../../plugins/x86/mod.ts";
import { type Subject, subjects } from "../../laws/trial.ts";

/** Machine memory, in MiB. */
const HOST_MIB = 64;
/** States looked at, at the most, where they are a thousand steps apart. */
const CLOSE_STATES = 120;

/** Guests that are interpreted throughout. */
const REAL_MODE = ["hello"];

type Options = Readonly<Record<string, number | boolean>>;

/** An engine: options of the translator, or undefined for the interpreter. */
type Choice = Options | undefined;

const translators: readonly Options[] = [
  { threshold: 0 },
  { threshold: 1, regionUnits: 1 },
  {},
  { threshold: 0, unitInstructions: 1, regionUnits: 1 },
  { threshold: 1, unitInstructions: 3 },
  { threshold: 0, regionUnits: 4, cacheKib: 16 },
  { threshold: 0, regionUnits: 1, chaining: false },
  { threshold: 1, regionUnits: 3, regroupSteps: 2000, regroupEntries: 2, regroupUnitEntries: 1 },
];

/** A state: the VM's steps and its hash. */
type State = readonly [steps: number, hash: string];

interface Conditions {
  readonly everySteps: number;
  readonly mostStates?: number;
  readonly quantumNs?: number;
}

/** Hosts with one engine each, one after the other: the VMs go from one to the next after so many states of the first. */
async function statesOf(
  guests: readonly Subject[],
  engines: readonly Choice[],
  { everySteps, mostStates = Infinity, quantumNs }: Conditions,
  statesPerEngine = Infinity,
): Promise<State[][]> {
  const states: State[][] = guests.map(() => []);
  const make = (choice: Choice) => {
    const plugins: PluginUse[] = choice === undefined ? [] : [{ plugin: bt, options: choice }];
    const host = createHost({ memoryMib: HOST_MIB, quantumNs, plugins });
    const vms = guests.map(({ use, options }, i) => {
      const memoryMib = use === "toucher" ? 12 : findGuest(use)?.memoryMib;
      return addVm(host, { name: `${use}${i}`, guest: { use, options }, memoryMib });
    });
    host.load({ plugin: recorder(host, vms, states) });
    for (const vm of vms) vm.checkpointEvery(everySteps);
    return { host, vms };
  };
  let current = make(engines[0]);
  for (let turn = 0;; turn++) {
    const { host, vms } = current;
    const until = Math.min(mostStates, (turn + 1) * statesPerEngine);
    const ended = () => vms.every((vm) => vm.state === "exited");
    const enough = () => ended() || (until < Infinity && states[0].length >= until);
    await host.run({ stop: enough });
    const choice = engines[turn % engines.length];
    if (choice !== undefined && turn === 0 && !guests.every(({ use }) => REAL_MODE.includes(use))) {
      assertTranslated(host);
    }
    if (ended() || states[0].length >= mostStates) {
      for (const [i, vm] of vms.entries()) states[i].push([vm.clock.steps, host.stateHash(vm)]);
      return states;
    }
    const saved = vms.map((vm) => host.save(vm));
    current = make(engines[(turn + 1) % engines.length]);
    current.vms.forEach((vm, i) => current.host.restore(vm, saved[i]));
  }
}

function recorder(host: Host, vms: readonly Vm[], states: State[][]) {
  return definePlugin({
    name: "recorder",
    setup: ({ on }) =>
      on(vmCheckpoint, (vm) => void states[vms.indexOf(vm)].push([vm.clock.steps, host.stateHash(vm)])),
  });
}

function assertTranslated(host: Host): void {
  const inForce = host.service(engine);
  assert(inForce instanceof Translator);
  assert(inForce.statistics.dispatches > 0 || inForce.options.threshold > 1, "nothing ran in translation");
}

const references = new Map<string, Promise<State[]>>();

function reference(subject: Subject, conditions: Conditions): Promise<State[]> {
  const { everySteps, mostStates } = conditions;
  const key = `${subject.use} ${everySteps} ${mostStates}`;
  let states = references.get(key);
  if (states === undefined) {
    references.set(key, states = statesOf([subject], [undefined], { everySteps, mostStates }).then(([first]) => first));
  }
  return states;
}

for (const subject of subjects) {
  for (const [i, translator] of translators.entries()) {
    Deno.test(`guest ${subject.use} passes through the interpreter's states under bt ${JSON.stringify(translator)}`, async () => {
      const quantumNs = [undefined, 23_000, 1_000_000][i % 3];
      for (const conditions of [{ everySteps: 10_007 }, { everySteps: 1000, mostStates: CLOSE_STATES }]) {
        const [states] = await statesOf([subject], [translator], { ...conditions, quantumNs });
        assertEquals(states, await reference(subject, conditions));
      }
    });
  }

  Deno.test(`guest ${subject.use} passes through the same states when engines take turns at it`, async () => {
    const conditions = { everySteps: 10_007 };
    const engines: Choice[] = [undefined, { threshold: 0 }, { threshold: 1, regionUnits: 1 }];
    for (const first of [engines, engines.toReversed()]) {
      const expected = await reference(subject, conditions);
      const [states] = await statesOf([subject], first, conditions, Math.ceil(expected.length / 12));
      assertEquals(states, expected);
    }
  });
}

for (const translator of translators) {
  Deno.test(`VMs that take turns on one translator compute what they do alone, bt ${JSON.stringify(translator)}`, async () => {
    const conditions = { everySteps: 10_007, quantumNs: 17_000 };
    const small = subjects.filter(({ use }) => use !== "toucher");
    const guests = [...small, ...small.filter(({ use }) => use === "isprime" || use === "pagetable")];
    const beside = await statesOf(guests, [translator], conditions);
    for (const [i, subject] of guests.entries()) {
      assertEquals(beside[i], await reference(subject, { everySteps: conditions.everySteps }), subject.use);
    }
  });
}
