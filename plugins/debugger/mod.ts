// The debugger plugin: stops a guest where somebody wants to look, without the guest or its clock noticing, and lets gdb do
// the same over TCP. While nothing is set, the engine below runs as if the plugin were not there.

import { definePlugin, type Vm, vmExited, z } from "../../core/mod.ts";
import * as x86 from "../x86/mod.ts";
import { armProcessor, DebuggedEngine, DebuggedVm } from "./engine.ts";
import { debug, type Debugger, resumed, type Stop, stopped, stopping, type StopReason } from "./services.ts";

export * from "./services.ts";
export { linearEip } from "./engine.ts";
export { GdbServer, type GdbTarget } from "./gdb/server.ts";
export { GdbSession } from "./gdb/session.ts";
export { type Divergence, Lockstep, type LockstepOptions, type LockstepSide } from "./lockstep.ts";

export default definePlugin({
  name: "debugger",
  summary: "breakpoints, watchpoints and single steps that guests cannot notice; gdb's remote protocol",
  tier: "tool",
  requires: ["x86", "memory"],
  replaces: [x86.engine],
  options: z.strictObject({}),
  setup({ on, port, service, provide }) {
    const processorOf = service(x86.processor);
    const asks = port(stopping), tells = port(stopped), goesOn = port(resumed);
    const debuggedVms = new WeakMap<Vm, DebuggedVm>();
    let current: Stop | undefined;
    let waiting: (() => void)[] = [];

    function debuggedOf(vm: Vm): DebuggedVm {
      const debugged = debuggedVms.get(vm) ?? new DebuggedVm();
      debuggedVms.set(vm, debugged);
      return debugged;
    }

    function stop(vm: Vm, reason: StopReason): boolean {
      if (asks.ask({ vm, reason }) === "go-on") return false;
      current = { vm, reason };
      tells.emit(current);
      return true;
    }

    function settle(): void {
      const settled = waiting;
      waiting = [];
      for (const resolve of settled) resolve();
    }

    const debuggerService: Debugger = {
      get stopped() {
        return current;
      },
      whenResumed: () => current === undefined ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)),
      addBreakpoint(vm, address) {
        const { breakpoints } = debuggedOf(vm);
        breakpoints.set(address, (breakpoints.get(address) ?? 0) + 1);
        armProcessor(processorOf(vm), debuggedOf(vm));
      },
      removeBreakpoint(vm, address) {
        const { breakpoints } = debuggedOf(vm);
        const count = breakpoints.get(address);
        if (count === undefined) return false;
        if (count > 1) breakpoints.set(address, count - 1);
        else breakpoints.delete(address);
        armProcessor(processorOf(vm), debuggedOf(vm));
        return true;
      },
      addWatchpoint(vm, address, size, kind) {
        debuggedOf(vm).watchpoints.push({ address, size, kind });
        armProcessor(processorOf(vm), debuggedOf(vm));
      },
      removeWatchpoint(vm, address, size, kind) {
        const { watchpoints } = debuggedOf(vm);
        const at = watchpoints.findIndex((w) => w.address === address && w.size === size && w.kind === kind);
        if (at < 0) return false;
        watchpoints.splice(at, 1);
        armProcessor(processorOf(vm), debuggedOf(vm));
        return true;
      },
      clear(vm) {
        const debugged = debuggedOf(vm);
        debugged.breakpoints.clear();
        debugged.watchpoints.length = 0;
        debugged.stepFrom = undefined;
        armProcessor(processorOf(vm), debugged);
      },
      pause(vm) {
        if (current !== undefined || vm.exit !== undefined) return;
        debuggedOf(vm).stepFrom = undefined;
        current = { vm, reason: { kind: "pause" } };
        tells.emit(current);
      },
      resume(forOneStep = false) {
        if (current === undefined) return;
        const { vm } = current;
        const debugged = debuggedOf(vm);
        debugged.passSteps = vm.clock.steps;
        debugged.stepFrom = forOneStep ? vm.clock.steps : undefined;
        current = undefined;
        goesOn.emit(vm);
        settle();
      },
    };

    on(vmExited, (vm) => {
      if (current?.vm !== vm) return;
      current = undefined;
      settle();
    });
    provide(debug, debuggerService);
    provide(x86.engine, new DebuggedEngine(service(x86.engine), processorOf, debuggedOf, stop));
  },
});
