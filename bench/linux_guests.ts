// Linux guests that page sharing is measured on: booted each by itself from power-on, saved at their shells, and set to the same
// work side by side, with page sharing or without; and an exact count of the pages they have in common.

import { createHash } from "node:crypto";
import process from "node:process";
import { DEFAULT_CPU_MHZ, DEFAULT_SHARES, DEFAULT_VM_MIB } from "../cli/defaults.ts";
import { addVm, createHost } from "../cli/machine.ts";
import { definePlugin, type Host, type SavedVm, type Vm, vmCheckpoint } from "../core/mod.ts";
import * as boot from "../plugins/boot/mod.ts";
import * as bt from "../plugins/bt/mod.ts";
import * as console from "../plugins/console/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import pageSharing from "../plugins/page-sharing/mod.ts";

/** Machine memory beside the guests'. */
const SPARE_MIB = 64;
const PROMPT = "/ # ";
/** The line that says that a guest is done, and a command that prints it; a terminal's echo of that is another line. */
const DONE = "all is done", SAY_DONE = `echo "all is" done\n`;
/** Steps within which a guest must come to its shell: three boots with nothing left out. */
const PATIENCE_STEPS = 20e9;

/** Machine memory for so many guests, none of which is to be paged. */
export const hostMibOf = (guests: number) => guests * DEFAULT_VM_MIB + SPARE_MIB;

/** Powers a guest on and saves it at its shell. Throws where it does not get there. */
export async function bootToShell(source: boot.LinuxSource): Promise<SavedVm> {
  let text = "", isThere = false;
  const watcher = definePlugin({
    name: "watcher",
    requires: ["console"],
    setup({ on }) {
      on(console.output, ({ vm, byte }) => {
        text = (text + String.fromCharCode(byte)).slice(-200);
        if (isThere || !text.endsWith(PROMPT)) return;
        isThere = true;
        vm.clock.endTurn();
      });
    },
  });
  const host = createHost({ memoryMib: hostMibOf(1), plugins: [bt.default, watcher] });
  const vm = addVm(host, { guest: { linux: source } });
  await host.run({ stop: () => isThere || vm.clock.steps > PATIENCE_STEPS });
  if (!isThere) throw new Error(`Linux did not come to its shell; last on its console: ${text}`);
  return host.save(vm);
}

export interface Work {
  /** Of each guest, one saved state; the same one more than once for copies of one boot. */
  readonly saved: readonly SavedVm[];
  /** What is typed into every shell. */
  readonly command: string;
  /** Options of page sharing; undefined: without it. */
  readonly sharing?: Readonly<Record<string, unknown>>;
  /** State hashes are taken at multiples of so many steps; undefined: none. */
  readonly hashEverySteps?: number;
}

export interface Worked {
  readonly host: Host;
  readonly vms: readonly Vm[];
  /** State hashes of each VM at the multiples of `hashEverySteps` that it passed. */
  readonly hashes: readonly (readonly string[])[];
  /** What each VM's console showed. */
  readonly lines: readonly (readonly string[])[];
  /** Steps of all guests in a second of host time. */
  readonly stepsPerHostSecond: number;
  readonly steps: number;
  /** What the run took here: by the clock on the wall, and of all threads of this process. */
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
}

/** Lets the guests work side by side until all have said that they are done. */
export async function work({ saved, command, sharing, hashEverySteps }: Work): Promise<Worked> {
  const hashes: string[][] = saved.map(() => []), lines: string[][] = saved.map(() => []), done = new Set<Vm>();
  const watcher = definePlugin({
    name: "watcher",
    requires: ["console"],
    setup({ on }) {
      on(console.line, ({ vm, line }) => {
        lines[vm.id].push(line.trim());
        if (line.trim() === DONE) done.add(vm);
      });
      on(vmCheckpoint, (vm) => hashes[vm.id].push(host.stateHash(vm)));
    },
  });
  const plugins = [
    bt.default,
    watcher,
    ...(sharing === undefined ? [] : [{ plugin: pageSharing, options: sharing }]),
  ];
  const host = createHost({ memoryMib: hostMibOf(saved.length), plugins });
  const config = { memoryMib: DEFAULT_VM_MIB, minMib: 0, shares: DEFAULT_SHARES, cpuMhz: DEFAULT_CPU_MHZ, options: {} };
  const vms = saved.map((state, i) => {
    const vm = host.add({ name: `linux${i}`, ...config });
    // The state was saved without page sharing, which begins anew.
    host.restore(vm, { ...state, plugins: { ...host.save(vm).plugins, ...state.plugins } });
    if (hashEverySteps !== undefined) vm.checkpointEvery(hashEverySteps);
    host.service(console.consoleOf)(vm).input.push(new TextEncoder().encode(command + SAY_DONE));
    return vm;
  });
  const stepsOf = () => vms.reduce((sum, vm) => sum + vm.clock.steps, 0);
  const before = stepsOf(), beganMs = performance.now(), cpuBefore = process.cpuUsage();
  await host.run({ stop: () => done.size === vms.length });
  const { user, system } = process.cpuUsage(cpuBefore);
  const wallSeconds = (performance.now() - beganMs) / 1000, steps = stepsOf() - before;
  const hostSeconds = vms.reduce((sum, vm) => sum + vm.cpuNs, 0) / 1e9;
  const cpuSeconds = (user + system) / 1e6;
  return { host, vms, hashes, lines, stepsPerHostSecond: steps / hostSeconds, steps, wallSeconds, cpuSeconds };
}

/** Pages with frames, those of zeros among them, and how many frames would do. */
export interface ExactCount {
  readonly pages: number;
  readonly zeros: number;
  readonly distinct: number;
}

/** Counts by contents, and knows nothing of page sharing. */
export function countExactly({ host, vms }: Worked): ExactCount {
  const pageStates = host.service(memory.pages), found = new Set<string>();
  const hashOf = (page: Uint8Array) => createHash("sha1").update(page).digest("base64");
  const zeroHash = hashOf(new Uint8Array(memory.PAGE_SIZE));
  let pages = 0, zeros = 0;
  for (const vm of vms) {
    const contents = host.service(memory.guest)(vm);
    for (let ppn = 0; ppn < contents.pages; ppn++) {
      const page = contents.peek(ppn);
      if (page === undefined || pageStates.stateOf(vm, ppn) === memory.PageState.swapped) continue;
      const hash = hashOf(page);
      pages++;
      if (hash === zeroHash) zeros++;
      found.add(hash);
    }
  }
  return { pages, zeros, distinct: found.size };
}
