// Timing of guest `nanobench`: what one operation of it costs under the interpreter, or under the translator with the
// operation's class handled in one of its forms (BT paper 3.3 and 6.1).

import process from "node:process";
import type { Host, Vm } from "../core/mod.ts";
import { stepsOf } from "../guests/mod.ts";
import type { Form, SensitiveClassName } from "../plugins/bt/mod.ts";
import { EBP, processor } from "../plugins/x86/mod.ts";
import { addVm, createHost } from "./machine.ts";

/** How an operation is run: by the interpreter, by the translator as it is by default, or with its class in a form. */
export type NanoEngine = "interpreter" | "bt" | Form;

/** Rounds of the guest's loop: more than anybody waits for. */
const ROUNDS = 0x7fff_ffff;
const HOST_MIB = 16;
/** Operations before anything is timed: past the translator's threshold, and enough for V8 to compile what is hot. */
const WARM_UP_OPERATIONS = 200_000;
/** Operations in one go. */
export const BATCH_OPERATIONS = 1000;

/** A machine that runs one operation over and over. */
export class NanoMachine {
  readonly #host: Host;
  readonly #vm: Vm;
  /** Operations of the warming up that are done. */
  #warmed = 0;

  /** The name of an operation is that of its class, where the engine is a form. `forms` are other classes' forms. */
  constructor(
    readonly operation: string,
    readonly engine: NanoEngine,
    forms: Readonly<Partial<Record<SensitiveClassName, Form>>> = {},
  ) {
    const isForm = engine !== "interpreter" && engine !== "bt";
    this.#host = createHost({
      memoryMib: HOST_MIB,
      plugins: engine === "interpreter" ? [] : ["bt"],
      options: engine === "interpreter" ? {} : { bt: { ...forms, ...(isForm ? { [operation]: engine } : {}) } },
    });
    this.#vm = addVm(this.#host, { guest: { use: "nanobench", options: { operation, rounds: ROUNDS } } });
  }

  /** Runs operations; a multiple of ten. Throws where the guest has ended. */
  run(count: number): void {
    this.#host.runTo(this.#vm, this.#vm.clock.steps + stepsOf(this.operation, count));
    if (this.#vm.exit !== undefined) throw new Error(`nanobench ${this.operation} ended: ${this.#vm.exit.detail}`);
  }

  /** Where the guest is: EIP, and rounds of its loop that are left. For tests. */
  place(): { readonly eip: number; rounds: number } {
    const cpu = this.#host.service(processor)(this.#vm);
    return { eip: cpu.eip, rounds: cpu.getRegister(EBP) };
  }

  /** How often the translator has trapped, called out, and interpreted a step. */
  counts(): Readonly<Record<"traps" | "callouts" | "interpretedSteps", number>> {
    const figures = this.#host.plugins.loaded.get("bt")?.stats.snapshot() ?? {};
    const count = (name: string) => Number(figures[name]);
    return { traps: count("traps"), callouts: count("callouts"), interpretedSteps: count("interpretedSteps") };
  }

  /** Once is enough. */
  warmUp(): void {
    for (; this.#warmed < WARM_UP_OPERATIONS; this.#warmed += BATCH_OPERATIONS) this.run(BATCH_OPERATIONS);
  }

  /**
   * Nanoseconds of CPU time that an operation takes, its share of the loop included: the best of several batches of `batchMs`
   * each. CPU time, because a busy machine disturbs it less than the wall's.
   */
  measureNs(batches = 7, batchMs = 15): number {
    this.warmUp();
    let best = Infinity;
    for (let batch = 0; batch < batches; batch++) {
      const started = process.cpuUsage();
      let count = 0, elapsedUs = 0;
      while (elapsedUs < batchMs * 1000) {
        this.run(BATCH_OPERATIONS);
        count += BATCH_OPERATIONS;
        elapsedUs = process.cpuUsage(started).user;
      }
      best = Math.min(best, (elapsedUs * 1000) / count);
    }
    return best;
  }
}
