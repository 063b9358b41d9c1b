// The debugger plugin: stops a guest where somebody wants to look, without the guest or its clock noticing, and lets gdb do
// the same over TCP. While nothing is set, the engine below runs as if the plugin were not there.

import { definePlugin, turnEnded, type Vm, vmExited, z } from "../../core/mod.ts";
import * as x86 from "../x86/mod.ts";
import { armProcessor, DebuggedEngine, DebuggedVm } from "./engine.ts";
import { debug, type Debugger, resumed, type Stop, stopped, stopping, type StopReason } from "./services.ts";

export * from "./services.ts";
export { linearEip } from "./engine.ts";
export { GdbServer, type GdbTarget } from "./gdb/server.ts";
export { GdbSession } from "./gdb/session.ts";
export { type Divergence, Lockstep, type LockstepOptions, type LockstepSide } from "./lockstep.ts";

/** In whose name VMs are held back. */
const HOLDER = "debugger";

export default definePlugin({
  name: "debugger",
  summary: "breakpoints, watchpoints and single steps that guests cannot notice; gdb's remote protocol",
  tier: "tool",
  requires: ["x86", "memory"],
  replaces: [x86.engine],
  options: z.strictObject({}),
  setup({ host, on, port, service, provide }) {
    const processorOf = service(x86.processor);
    const asks = port(stopping), tells = port(stopped), goesOn = port(resumed);
    const debuggedVms = new WeakMap<Vm, DebuggedVm>();
    let current: Stop | undefined;
    let waiting: (() => void)[] = [];
    let held: readonly Vm[] = [];

    function debuggedOf(vm: Vm): DebuggedVm {
      const debugged = debuggedVms.get(vm) ?? new DebuggedVm();
      debuggedVms.set(vm, debugged);
      return debugged;
    }

    function stop(vm: Vm, reason: StopReason): boolean {
      if (asks.ask({ vm, reason }) === "go-on") return false;
      standStill({ vm, reason });
      return true;
    }

    function standStill(stop: Stop): void {
      for (const vm of host.vms) debuggedOf(vm).stepFrom = undefined;
      for (const vm of held) host.resume(vm, HOLDER);
      held = [];
      current = stop;
      tells.emit(stop);
    }

    function isRunning(vm: Vm): boolean {
      return vm.exit === undefined && !held.includes(vm);
    }

    /** Whether nothing but input from outside will make a VM run. */
    function waitsForInput(vm: Vm): boolean {
      return processorOf(vm).r[x86.state.HALTED] !== 0 && vm.clock.nextTimerNs() === Infinity;
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
        if (current === undefined && vm.exit === undefined) standStill({ vm, reason: { kind: "pause" } });
      },
      resume(how = {}) {
        if (current === undefined) return;
        const { vm } = current, { stepped = [] } = how;
        for (const passed of [vm, ...stepped]) debuggedOf(passed).passSteps = passed.clock.steps;
        for (const one of stepped) debuggedOf(one).stepFrom = one.clock.steps;
        held = (how.held ?? []).filter((other) => other.exit === undefined);
        // With the others held, VMs that wait for input alone would be at their end.
        if (host.vms.filter(isRunning).every(waitsForInput)) held = [];
        for (const other of held) host.suspend(other, HOLDER);
        current = undefined;
        goesOn.emit(vm);
        settle();
      },
    };

    on(turnEnded, ({ vm }) => {
      if (held.length > 0 && host.vms.filter(isRunning).every(waitsForInput)) debuggerService.pause(vm);
    });

    on(vmExited, (vm) => {
      if (current?.vm === vm) {
        current = undefined;
        settle();
      } else if (current === undefined && (held.length > 0 || debuggedOf(vm).stepFrom !== undefined)) {
        // Whoever asked for the step, or for this VM to run alone, gets another one to look at.
        const other = host.vms.find(({ exit }) => exit === undefined);
        if (other !== undefined) standStill({ vm: other, reason: { kind: "pause" } });
      }
    });
    provide(debug, debuggerService);
    provide(x86.engine, new DebuggedEngine(service(x86.engine), processorOf, debuggedOf, stop));
  },
});
