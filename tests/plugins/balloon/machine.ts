// A host with the balloon plugin and guests that speak to it; what they print, line by line.

import { addVm, createHost, type HostOptions, type VmOptions } from "../../../cli/machine.ts";
import { definePlugin, type Host, type Vm } from "../../../core/mod.ts";
import balloon, { type Balloons, balloons } from "../../../plugins/balloon/mod.ts";
import * as console from "../../../plugins/console/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";

export interface BalloonHost {
  readonly host: Host;
  readonly balloons: Balloons;
  readonly machine: memory.MachineMemory;
  /** What each VM printed. */
  readonly printed: Map<Vm, string>;
  add(options: VmOptions): Vm;
  /** Runs until so many seconds of host time, at most. */
  runTo(seconds: number): Promise<void>;
}

export function balloonHost(options: HostOptions = {}): BalloonHost {
  const host = createHost({ memoryMib: 96, ...options, plugins: [balloon, ...options.plugins ?? []] });
  const printed = new Map<Vm, string>();
  host.load({
    plugin: definePlugin({
      name: "printed",
      requires: ["console"],
      setup: ({ on }) =>
        void on(console.output, ({ vm, byte }) => {
          printed.set(vm, (printed.get(vm) ?? "") + String.fromCharCode(byte));
        }),
    }),
  });
  return {
    host,
    balloons: host.service(balloons),
    machine: host.service(memory.machine),
    printed,
    add: (vm) => addVm(host, vm),
    runTo: (seconds) => host.run({ untilNs: seconds * 1e9 }),
  };
}
