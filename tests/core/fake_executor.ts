// A processor for tests of the core: instead of instructions it executes a script of actions, each of them in bulk, and
// obeys the same contract as the real one (exact step counts, deadlines, halts).

import {
  definePlugin,
  executor,
  type GuestTimer,
  type Plugin,
  type StateOwner,
  type Turn,
  type Vm,
  type VmConfig,
} from "../../core/mod.ts";

/**
 * What a fake processor does next: `run` steps; `halt` until a timer or input; `arm` its timer so many ns from now; call
 * a function of the test; `jump` to an action; `exit`.
 */
export type Action =
  | { readonly run: number }
  | "halt"
  | { readonly arm: number }
  | { readonly call: (vm: Vm) => void }
  | { readonly jump: number }
  | { readonly exit: number };

/** Everything that a fake guest can see, and what tests look at. */
export interface FakeProcessor extends StateOwner {
  /** Guest times at which its timer fired. */
  readonly firedNs: number[];
}

class Processor implements FakeProcessor {
  firedNs: number[] = [];
  #at = 0;
  #done = 0;
  #halted = false;
  readonly #timer: GuestTimer;

  constructor(readonly vm: Vm, readonly script: readonly Action[]) {
    this.#timer = vm.clock.timer("fake", (nowNs) => {
      this.firedNs.push(nowNs);
      this.#halted = false;
    });
  }

  run(): Turn {
    const { clock } = this.vm;
    while (this.vm.exit === undefined && clock.steps < clock.deadlineSteps) {
      if (this.#halted) return "halted";
      const action = this.script[this.#at];
      if (action === undefined) {
        this.vm.end({ reason: "power-off", status: 0 });
      } else if (typeof action === "object" && "run" in action) {
        const steps = Math.min(action.run - this.#done, clock.deadlineSteps - clock.steps);
        clock.steps += steps;
        this.#done += steps;
        if (this.#done === action.run) this.#next();
      } else {
        this.#next();
        if (action === "halt") this.#halted = true;
        else if ("arm" in action) this.#timer.arm(clock.nowNs() + action.arm);
        else if ("call" in action) action.call(this.vm);
        else if ("jump" in action) this.#at = action.jump;
        else this.vm.end({ reason: "debug-exit", status: action.exit });
      }
    }
    return this.#halted && this.vm.exit === undefined ? "halted" : "ran";
  }

  /** Input arrived: ends a halt. */
  interrupt(): void {
    this.#halted = false;
  }

  #next(): void {
    this.#at++;
    this.#done = 0;
  }

  save() {
    return { at: this.#at, done: this.#done, halted: this.#halted, firedNs: [...this.firedNs] };
  }

  restore(saved: ReturnType<Processor["save"]>): void {
    this.#at = saved.at;
    this.#done = saved.done;
    this.#halted = saved.halted;
    this.firedNs = [...saved.firedNs];
  }

  hash(hasher: Parameters<NonNullable<StateOwner["hash"]>>[0]): void {
    hasher.saved(this.save());
  }
}

/** A plugin that executes scripts, by VM name, and lets tests see and interrupt its processors. */
export function fakeExecutor(scripts: Readonly<Record<string, readonly Action[]>>): {
  readonly plugin: Plugin;
  processor(vm: Vm): FakeProcessor;
  interrupt(vm: Vm): void;
} {
  let processorOf: (vm: Vm) => Processor = () => {
    throw new Error("the fake executor is not set up");
  };
  const plugin = definePlugin({
    name: "fake-executor",
    tier: "base",
    setup({ perVm, provide, host }) {
      processorOf = perVm((vm) => new Processor(vm, scripts[vm.name] ?? []));
      provide(executor, { run: (vm) => processorOf(vm).run() });
      wake = (vm) => host.wake(vm);
    },
  });
  let wake: (vm: Vm) => void = () => {};
  return {
    plugin,
    processor: (vm) => processorOf(vm),
    interrupt(vm) {
      processorOf(vm).interrupt();
      wake(vm);
    },
  };
}

/** A VM of 1 MiB at 1000 MHz, where a step takes a nanosecond, unless told otherwise. */
export function vmConfig(name: string, other: Partial<VmConfig> = {}): VmConfig {
  return { name, memoryMib: 1, minMib: 0, shares: 1000, cpuMhz: 1000, options: {}, ...other };
}
