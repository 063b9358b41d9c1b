// Which runs of accesses (runs.ts) there are where code is being emitted: what each register's value is called, by how much it has
// moved, and what has been looked up by it. Says nothing of what is emitted.

import { type Instruction, NO_REGISTER } from "../../x86/mod.ts";
import { type Place, planRun } from "./runs.ts";

/** A run that later accesses of the unit may join. */
export interface Run {
  readonly place: Place;
  /** Of its registers when it was looked up: what value they had, and how far the index had moved. */
  readonly baseVersion: number;
  readonly indexVersion: number;
  readonly indexMoved: number;
  /** What it covers, in bytes from what its registers' sum was when they were last written. */
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
  readonly versions: readonly number[];
  readonly moved: readonly number[];
}

type Foreseen = readonly { readonly instruction: Instruction }[];

export class RunTracker {
  /** Those that accesses may join. */
  active: readonly Run[] = [];
  /** By register: a number for the value it has, and by how many bytes that was moved since it had it. */
  #versions: number[] = Array(NO_REGISTER + 1).fill(0);
  #moved: number[] = Array(NO_REGISTER + 1).fill(0);
  #lastVersion = 0;
  /** The register whose next writing moves it, and by how much. */
  #moving = NO_REGISTER;
  #movedBy = 0;
  /** The unit's instructions and those that are likely to follow, how many are its own, and blocks open outside of them. */
  #instructions: Foreseen = [];
  #own = 0;
  #depth = 0;
  /** Locals for addends. */
  readonly #addends: number[] = [];

  /** `newLocal` makes a local that lasts. */
  constructor(readonly newLocal: () => number) {}

  /**
   * Begins a unit: the instructions ahead, of which `own` are its own and the others follow where no other way leads; how many
   * blocks are open; and which runs there are, as `snapshot` gave them where the one way to the unit begins.
   */
  beginUnit(instructions: Foreseen = [], own = 0, depth = 0, from?: Runs): void {
    this.#instructions = instructions;
    this.#own = own;
    this.#depth = depth;
    this.active = from === undefined ? [] : copyOf(from.active);
    if (from === undefined) return;
    this.#versions = [...from.versions];
    this.#moved = [...from.moved];
  }

  /** The runs that there are here. */
  snapshot(): Runs {
    return { active: copyOf(this.active), versions: [...this.#versions], moved: [...this.#moved] };
  }

  /** Forgets all runs: how addresses are translated may have changed. */
  end(): void {
    this.active = [];
  }

  beginInstruction(): void {
    this.#moving = NO_REGISTER;
  }

  /** Says that the next value a register is set to is the one it has, plus `by`: what was looked up near it stays near. */
  moves(register: number, by: number): void {
    this.#moving = register;
    this.#movedBy = by;
  }

  /** Notes that a register is set. */
  noteWritten(register: number): void {
    if (register === this.#moving) {
      this.#moved[register] += this.#movedBy;
      this.#moving = NO_REGISTER;
      return;
    }
    this.#versions[register] = ++this.#lastVersion;
    this.#moved[register] = 0;
  }

  /** How far above a run's first byte the access at its place lies, which has begun it. */
  aboveFirst({ place, first }: Run): number {
    return this.#offsetOf(place) - first;
  }

  /** The run that an access belongs to, which counts it. */
  join(place: Place, bytes: number, isWrite: boolean): Run | undefined {
    const { base, index, scale } = place, offset = this.#offsetOf(place);
    const run = this.active.find((run) =>
      run.place.base === base && run.place.index === index && run.place.scale === scale &&
      run.baseVersion === this.#versions[base] && run.indexVersion === this.#versions[index] &&
      run.indexMoved === this.#moved[index] &&
      (run.isWrite || !isWrite) && offset >= run.first && offset + bytes <= run.end
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
    const { base, index } = place;
    const plan = planRun(this.#instructions, this.#own - incomplete, place, bytes, isWrite);
    if (plan === undefined) return undefined;
    const moved = this.#moved[base];
    return {
      place,
      baseVersion: this.#versions[base],
      indexVersion: this.#versions[index],
      indexMoved: this.#moved[index],
      first: plan.first + moved,
      end: plan.end + moved,
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

  /** Bytes from what a place's registers' sum was when they were last written. */
  #offsetOf({ base, displacement }: Place): number {
    return displacement + this.#moved[base];
  }
}

function copyOf(runs: readonly Run[]): Run[] {
  return runs.map((run) => ({ ...run }));
}
