// The command `start`: several small guests side by side for a few seconds, and then who ran how long, what trapped, and
// what the memory holds.

import { fromFileUrl } from "@std/path";
import { definePlugin, type Host } from "../core/mod.ts";
import * as console from "../plugins/console/mod.ts";
import * as x86 from "../plugins/x86/mod.ts";
import { addVm, createHost, defaultHostMib, type VmOptions } from "./machine.ts";
import { type CommandSpec, type Given, table } from "./options.ts";
import { makeReport, type RunReport, type VmReport } from "./report.ts";
import { writeUserFile } from "./files.ts";

export const startCommand: CommandSpec = {
  name: "start",
  summary: "Runs several guests side by side and says what happened.",
  options: [],
};

/** Where the figures of the run are written, in the project's folder. */
const RESULTS_FOLDER = "out";
/** Host time of the demonstration. */
const RUN_NS = 1e9;
const NS_PER_MS = 1e6;

/** Two primes that take long to test show the shares; the others show what traps, and what memory is used for. */
const LONG_PRIME = 0x7fff_ffff;
const demonstration: readonly VmOptions[] = [
  { name: "prime-3-shares", guest: { use: "isprime", options: { n: LONG_PRIME } }, shares: 3000 },
  { name: "prime-1-share", guest: { use: "isprime", options: { n: LONG_PRIME } }, shares: 1000 },
  { guest: "hello" },
  { guest: { use: "privileged", options: { iterations: 2000 } } },
  { guest: "pagetable" },
  { guest: { use: "toucher", options: { schedule: "8:100,24:200" } }, memoryMib: 32 },
  { guest: { use: "idle", options: { ticks: 50 } } },
];

export async function start(_given: Given): Promise<number> {
  const host = createHost({ memoryMib: defaultHostMib(demonstration) });
  const traps = new Map<string, number>();
  const lines: string[] = [];
  host.load({ plugin: watch(traps, lines) });
  for (const vm of demonstration) addVm(host, vm);
  const startedMs = performance.now();
  await host.run({ untilNs: RUN_NS });
  const report = makeReport(host, (performance.now() - startedMs) / 1000);
  globalThis.console.log(summary(host, report, traps, lines));
  const folder = new URL(`../${RESULTS_FOLDER}/`, import.meta.url);
  await Deno.mkdir(folder, { recursive: true });
  const results = { ...report, traps: Object.fromEntries(traps) };
  await writeUserFile(
    fromFileUrl(new URL("start.json", folder)),
    "results",
    JSON.stringify(results, undefined, 2) + "\n",
  );
  globalThis.console.log(`All figures: ${RESULTS_FOLDER}/start.json`);
  return report.vms.find((vm) => vm.exitStatus !== 0)?.exitStatus ?? 0;
}

/** Counts traps and gathers console lines. */
function watch(traps: Map<string, number>, lines: string[]) {
  return definePlugin({
    name: "start-watch",
    requires: ["console", "x86"],
    setup({ on }) {
      on(x86.trapped, ({ mnemonic }) => void traps.set(mnemonic, (traps.get(mnemonic) ?? 0) + 1));
      on(console.line, ({ vm, line }) => void lines.push(`${vm.name}: ${line}`));
    },
  });
}

function summary(host: Host, report: RunReport, traps: ReadonlyMap<string, number>, lines: readonly string[]): string {
  const { vms, instructions, hostTimeNs, wallSeconds } = report;
  const rate = (instructions / wallSeconds / 1e6).toFixed(0);
  return [
    `${vms.length} guests ran ${(hostTimeNs / NS_PER_MS).toFixed(0)} ms of host time: ${
      million(instructions)
    } M instructions ` +
    `in ${wallSeconds.toFixed(1)} s of wall time, ${rate} M/s`,
    "",
    "What they printed",
    ...lines.map((line) => `  ${line}`),
    "",
    "Who ran how long (CPU and waiting in ms of host time)",
    table(
      [["VM", "SHARES", "CPU", "WAITED", "M INSTR.", "ENDED"], ...vms.map((vm, i) => timeRow(vm, shares(host, i)))],
      "  ",
    ),
    "What trapped (sensitive and privileged instructions that the hypervisor emulated)",
    trapTable(traps),
    "What machine memory holds",
    memoryPicture(report),
  ].join("\n");
}

function shares(host: Host, index: number): number {
  return host.vms[index].config.shares;
}

function timeRow(vm: VmReport, share: number): string[] {
  const ms = (ns: number) => (ns / NS_PER_MS).toFixed(1);
  const ended = vm.exit === "running" ? "still running" : vm.exit;
  return [vm.name, String(share), ms(vm.cpuNs), ms(vm.stolenNs), million(vm.instructions), ended];
}

function million(count: number): string {
  return (count / 1e6).toFixed(1);
}

const TRAP_COLUMNS = 5;

/** Counts by mnemonic, most frequent first. */
function trapTable(traps: ReadonlyMap<string, number>): string {
  const sorted = [...traps].toSorted(([a, n], [b, m]) => m - n || a.localeCompare(b));
  const cells = sorted.map(([mnemonic, count]) => `${mnemonic} ${count}`);
  const rows: string[][] = [];
  for (let at = 0; at < cells.length; at += TRAP_COLUMNS) rows.push(cells.slice(at, at + TRAP_COLUMNS));
  return table(rows, "  ");
}

const BAR_WIDTH = 60;

/** One bar for the host, and one for each VM: what it may use and what it has. */
function memoryPicture({ host: { memory }, vms }: RunReport): string {
  const mib = (frames: number) => `${(frames / 256).toFixed(1)} MiB`;
  const used = Math.ceil((memory.usedFrames / memory.totalFrames) * BAR_WIDTH);
  const most = Math.max(...vms.map((vm) => vm.memory.maxMib));
  const rows = vms.map(({ name, memory: { maxMib, allocatedMib } }) => {
    const width = Math.max(1, Math.round((maxMib / most) * BAR_WIDTH));
    const filled = Math.min(width, Math.ceil((allocatedMib / maxMib) * width));
    return [name, `${allocatedMib.toFixed(1)} of ${maxMib} MiB`, bar(filled, width)];
  });
  const hostRow = ["host", `${mib(memory.usedFrames)} of ${mib(memory.totalFrames)}`, bar(used, BAR_WIDTH)];
  return table([hostRow, ...rows], "  ");
}

function bar(filled: number, width: number): string {
  return "#".repeat(filled) + ".".repeat(width - filled);
}
