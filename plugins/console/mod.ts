// The console plugin: the other end of each VM's first serial port. It keeps input until the guest's driver takes it,
// tells listeners of every byte and line of output, and recognises a Linux kernel panic.

import {
  definePlugin,
  type Saved,
  type StateOwner,
  type Vm,
  vmAdmitted,
  vmEnding,
  type VmExit,
  z,
} from "../../core/mod.ts";
import * as pc from "../pc/mod.ts";
import * as x86 from "../x86/mod.ts";
import { InputQueue } from "./input.ts";
import { LineBuffer } from "./lines.ts";
import { readPanic } from "./panic.ts";
import { consoleOf, line, output, type VmConsole } from "./services.ts";

export * from "./services.ts";
export { InputQueue } from "./input.ts";
export { EscapeKeys } from "./keys.ts";
export { LineBuffer } from "./lines.ts";
export { ConsoleWriter, type WriteSync } from "./writer.ts";

/** Exit status of a VM that died. */
const DIED = 3;
/** How a kernel leaves after a panic; by the rest it shows that it lived on, or others ended it. */
const endsOfPanic: readonly VmExit["reason"][] = ["reset", "halt", "triple-fault", "stalled", "panic"];

/** State of one console. Nothing of it is visible to the guest: what it has received is in the serial port. */
class ConsoleState implements VmConsole, StateOwner {
  readonly input = new InputQueue();
  readonly lines = new LineBuffer();
  /** The first line of a panic, once there was one. */
  panic: string | undefined;

  get unfinishedLine(): string {
    return this.lines.text;
  }

  save(): Saved {
    return { input: this.input.waiting(), line: this.lines.save(), panic: this.panic ?? null };
  }

  restore(saved: Saved): void {
    const state = saved as { input: Uint8Array; line: Uint8Array; panic: string | null };
    this.input.replace(state.input);
    this.lines.restore(state.line);
    this.panic = state.panic ?? undefined;
  }
}

export default definePlugin({
  name: "console",
  summary: "each VM's serial console: input, output, kernel panics",
  tier: "base",
  requires: ["pc", "x86"],
  options: z.strictObject({}),
  setup({ on, service, port, perVm, provide, host }) {
    const serialOf = service(pc.serial), processorOf = service(x86.processor);
    const bytes = port(output), lines = port(line);
    const stateOf = perVm(() => new ConsoleState());

    function transmit(vm: Vm, byte: number): void {
      if (bytes.active) bytes.emit({ vm, byte });
      const text = stateOf(vm).lines.add(byte);
      if (text === undefined) return;
      if (lines.active) lines.emit({ vm, line: text });
      const panic = readPanic(text);
      if (panic === undefined) return;
      stateOf(vm).panic ??= panic.text;
      // The kernel waits for ever now: there is nothing more to come.
      if (panic.kind === "end") vm.end({ reason: "panic", status: DIED });
    }

    on(vmAdmitted, (vm) => {
      const { input } = stateOf(vm);
      const serialPort = serialOf(vm);
      serialPort.attach({ transmit: (byte) => transmit(vm, byte), nextByte: () => input.pull() });
      input.onArrival = () => {
        serialPort.inputArrived();
        host.wake(vm);
      };
    });

    on(vmEnding, (exit, vm): VmExit => {
      const { panic } = stateOf(vm);
      if (panic === undefined || !endsOfPanic.includes(exit.reason)) return exit;
      return { reason: "panic", status: DIED, detail: `${panic}\n${x86.describeRegisters(processorOf(vm))}` };
    });

    provide(consoleOf, stateOf);
  },
});
