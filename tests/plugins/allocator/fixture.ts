// Hosts with memory, swap and the allocator, and scripted guests that use pages and check what they find in them.

import {
  definePlugin,
  Host,
  type Plugin,
  type PluginContext,
  type PluginUse,
  type Vm,
  type VmConfig,
} from "../../../core/mod.ts";
import allocator, { allocation } from "../../../plugins/allocator/mod.ts";
import memory, { guest, machine, PAGE_SIZE, type Ppn, report } from "../../../plugins/memory/mod.ts";
import swap, { pager } from "../../../plugins/swap/mod.ts";
import { type Action, fakeExecutor, vmConfig } from "../../core/fake_executor.ts";

/** Steps, and so ns, of a scripted guest between two bursts of pages. */
const STEPS = 100_000;

export interface Overcommitted {
  readonly host: Host;
  add(name: string, config: Partial<VmConfig>): Vm;
  audit(): void;
  allocated(vm: Vm): number;
  /** Pages on which a guest found other than it had written. */
  readonly wrong: string[];
}

export interface Setting {
  readonly memoryMib: number;
  /** What each guest does for ever, by name: see `guests`. */
  readonly scripts: Readonly<Record<string, readonly Action[]>>;
  readonly swap?: Readonly<Record<string, unknown>>;
  readonly allocator?: Readonly<Record<string, unknown>>;
  readonly plugins?: readonly (Plugin | PluginUse)[];
  readonly seed?: number;
  readonly log?: (plugin: string, message: string) => void;
}

export function overcommitted(setting: Setting): Overcommitted {
  const host = new Host({ memoryMib: setting.memoryMib, seed: setting.seed ?? 1, quantumNs: 1e6, log: setting.log });
  current = { host, written: new Map(), wrong: [] };
  const { wrong } = current;
  host.load(
    { plugin: memory },
    { plugin: swap, options: setting.swap },
    { plugin: allocator, options: { overheadMib: 0, ...setting.allocator } },
    { plugin: fakeExecutor(setting.scripts).plugin },
    ...(setting.plugins ?? []).map((plugin) => "plugin" in plugin ? plugin : { plugin }),
  );
  return {
    host,
    add: (name, config) => host.add(vmConfig(name, config)),
    audit: () => host.service(machine).audit(),
    allocated: (vm) => host.service(report).vm(vm).allocatedPages,
    wrong,
  };
}

/** Pages that targets may come to: all frames but the hypervisor's, and 6.5 % and one, at which the state is high again. */
export function givenOut({ host }: Overcommitted): number {
  const { totalFrames, hypervisorFrames, savedFrames } = host.service(report).host();
  return totalFrames - hypervisorFrames + savedFrames - Math.floor(0.065 * totalFrames) - 1;
}

export function watching(setup: (context: PluginContext<unknown>) => void): Plugin {
  return definePlugin({ name: "watching", requires: ["allocator"], setup });
}

export const allocationOf = (host: Host) => host.service(allocation);
export const pagerOf = (host: Host) => host.service(pager);

let current: { host: Host; written: Map<Vm, Int32Array>; wrong: string[] };

/** Writes a new value to a page, after checking that the last one is still there. */
export function touch(vm: Vm, ppn: Ppn): void {
  const { host, written, wrong } = current;
  const memory = host.service(guest)(vm), { view } = host.service(machine);
  let values = written.get(vm);
  if (values === undefined) written.set(vm, values = new Int32Array(memory.pages));
  const last = PAGE_SIZE - 4, read = memory.frameForRead(ppn) * PAGE_SIZE;
  const found = [view.getInt32(read, true), view.getInt32(read + last, true)];
  if (found.some((value) => value !== values[ppn])) {
    wrong.push(`${vm.name}: page ${ppn} has ${found}, not ${values[ppn]}`);
  }
  values[ppn] += vm.id + 1;
  const write = memory.frameForWrite(ppn) * PAGE_SIZE;
  view.setInt32(write, values[ppn], true);
  view.setInt32(write + last, values[ppn], true);
}

/** Scripts of guests, each of which goes on for ever. */
export const guests = {
  /** Uses `pages` pages one after another, `burst` at a time. */
  cycling(pages: number, burst: number): readonly Action[] {
    let next = 0;
    const call = (vm: Vm) => {
      for (let i = 0; i < burst; i++) touch(vm, next++ % pages);
    };
    return [{ call }, { run: STEPS }, { jump: 0 }];
  },
  /** Uses `pages` pages once, and then only time. */
  settling(pages: number, burst: number): readonly Action[] {
    let next = 0;
    const call = (vm: Vm) => {
      for (let i = 0; i < burst && next < pages; i++) touch(vm, next++);
    };
    return [{ call }, { run: STEPS }, { jump: 0 }];
  },
  idle: [{ run: STEPS }, { jump: 0 }] as readonly Action[],
};
