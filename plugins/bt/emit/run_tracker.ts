// Which runs of accesses (runs.ts) there are where code is being emitted: what value each register has, as a known distance from
// one that has a name (value numbering), and what has been looked up by it. Says nothing of what is emitted.

import { type Instruction, NO_REGISTER } from "../../x86/mod.ts";
import { type Place, planRun } from "./runs.ts";

/** A register's value: the name of one, which is never used again, and how far from it it is. */
interface Value {
  readonly name: number;
  readonly distance: number;
}

/** The value of no register: 0. */
const NOTHING: Value = { name: 0, distance: 0 };

/** A run that later accesses of the unit may join. */
export interface Run {
  /** Where it was looked up: the name of its base's value, and its index. */
  readonly base: number;
  readonly index: Value;
  readonly scale: number;
  /** What it covers, in bytes from the value that the base's name stands for. */
  readonly first: number;
  readonly end: number;
  readonly isWrite: boolean;
  /** Local: what must be added to a linear address for its machine address. */
  readonly addend: number;
  /** How many accesses are still foreseen. */
  followers: number;
}

/** Which runs there are at a point of the code, and what they go by. */
export interface Runs {
  readonly active: readonly Run[];
  readonly values: readonly Value[];
}

type Foreseen = readonly { readonly instruction: Instruction }[];

export class RunTracker {
  /** Those that accesses may join. */
  active: readonly Run[] = [];
  /** By register. */
  #values: Value[] = [];
  #lastName = NOTHING.name;
  /** The register whose next writing gives it a value that is known, and that. */
  #moving = NO_REGISTER;
  #movesTo = NOTHING;
  /** The unit's instructions and those that are likely to follow, how many are its own, and blocks open outside of them. */
  #instructions: Foreseen = [];
  #own = 0;
  #depth = 0;
  /** Locals for addends. */
  readonly #addends: number[] = [];

  /** `newLocal` makes a local that lasts. */
  constructor(readonly newLocal: () => number) {
    this.#values = this.#unknownValues();
  }

  /**
   * Begins a unit: the instructions ahead, of which `own` are its own and the others follow where no other way leads; how many
   * blocks are open; and which runs there are, as `snapshot` gave them where the one way to the unit begins.
   */
  beginUnit(instructions: Foreseen = [], own = 0, depth = 0, from?: Runs): void {
    this.#instructions = instructions;
    this.#own = own;
    this.#depth = depth;
    this.active = from === undefined ? [] : copyOf(from.active);
    this.#values = from === undefined ? this.#unknownValues() : [...from.values];
  }

  /** The runs that there are here. */
  snapshot(): Runs {
    return { active: copyOf(this.active), values: [...this.#values] };
  }

  /** Forgets all runs: how addresses are translated may have changed. */
  end(): void {
    this.active = [];
  }

  beginInstruction(): void {
    this.#moving = NO_REGISTER;
  }

  /**
   * Says that the next value a register is set to is the one that `from` has now, plus `by`: what was looked up near it stays
   * near. NO_REGISTER has the value 0.
   */
  moves(register: number, by: number, from = register): void {
    const { name, distance } = this.#values[from];
    this.#moving = register;
    this.#movesTo = { name, distance: distance + by };
  }

  /** Notes that a register is set. */
  noteWritten(register: number): void {
    this.#values[register] = register === this.#moving ? this.#movesTo : this.#newValue();
    if (register === this.#moving) this.#moving = NO_REGISTER;
  }

  /** How far above a run's first byte the access at a place lies. */
  aboveFirst({ first }: Run, place: Place): number {
    return this.#offsetOf(place) - first;
  }

  /** The run that an access belongs to, which counts it. */
  join(place: Place, bytes: number, isWrite: boolean): Run | undefined {
    const offset = this.#offsetOf(place), { name } = this.#values[place.base], index = this.#values[place.index];
    const run = this.active.find((run) =>
      run.base === name && run.index.name === index.name && run.index.distance === index.distance &&
      run.scale === place.scale && (run.isWrite || !isWrite) && offset >= run.first && offset + bytes <= run.end
    );
    if (run !== undefined && --run.followers === 0) this.active = this.active.filter((each) => each !== run);
    return run;
  }

  /**
   * The run that an access begins by an instruction of which `incomplete` of the unit's are left, if others are foreseen to
   * join it; `start` has them do so. One in conditional code, at another `depth`, does not stand for others.
   */
  plan(place: Place, bytes: number, isWrite: boolean, incomplete: number, depth: number): Run | undefined {
    if (depth !== this.#depth) return undefined;
    const { name, distance } = this.#values[place.base];
    const from = this.#values.map((value) => value.name === name ? value.distance - distance : undefined);
    const plan = planRun(this.#instructions, this.#own - incomplete, { place, bytes, isWrite }, from);
    if (plan === undefined) return undefined;
    return {
      base: name,
      index: this.#values[place.index],
      scale: place.scale,
      first: plan.first + distance,
      end: plan.end + distance,
      isWrite: plan.isWrite,
      addend: this.#freeAddend(),
      followers: plan.followers,
    };
  }

  /** Has accesses join a run from now on. */
  start(run: Run): void {
    this.active = [...this.active, run];
  }

  #freeAddend(): number {
    const taken = new Set(this.active.map(({ addend }) => addend));
    let free = this.#addends.find((local) => !taken.has(local));
    if (free === undefined) this.#addends.push(free = this.newLocal());
    return free;
  }

  /** Bytes from the value that the name of a place's base stands for. */
  #offsetOf({ base, displacement }: Place): number {
    return displacement + this.#values[base].distance;
  }

  #newValue(): Value {
    return { name: ++this.#lastName, distance: 0 };
  }

  #unknownValues(): Value[] {
    return [...Array.from({ length: NO_REGISTER }, () => this.#newValue()), NOTHING];
  }
}

function copyOf(runs: readonly Run[]): Run[] {
  return runs.map((run) => ({ ...run }));
}
