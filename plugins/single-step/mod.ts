// The single-step plugin: the plainest engine there is, the interpreter one instruction at a time, without the blocks that
// make it fast. A reference to compare engines with (`--lockstep`).

import { definePlugin, type Vm, z } from "../../core/mod.ts";
import * as x86 from "../x86/mod.ts";

/** Executes every instruction by `Engine.step` of another engine. */
export class SingleStep implements x86.Engine {
  readonly name = "single-step";

  constructor(readonly stepper: x86.Engine, readonly processorOf: (vm: Vm) => x86.Processor) {}

  execute(vm: Vm): void {
    const cpu = this.processorOf(vm), { clock } = vm;
    while (clock.steps < clock.deadlineSteps && cpu.attention === 0) this.stepper.step(vm);
  }

  step(vm: Vm): boolean {
    return this.stepper.step(vm);
  }
}

export default definePlugin({
  name: "single-step",
  summary: "reference engine: the interpreter, one instruction at a time",
  tier: "tool",
  requires: ["x86"],
  replaces: [x86.engine],
  options: z.strictObject({}),
  setup({ service, provide }) {
    provide(x86.engine, new SingleStep(service(x86.engine, "x86"), service(x86.processor)));
  },
});
