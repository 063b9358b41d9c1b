// The table of many VMs: redrawn in place while they run, where standard error is a terminal, and once when they have ended.

import type { Host, Vm } from "../core/mod.ts";
import { table } from "./options.ts";
import { makeReport, type RunReport } from "./report.ts";

const NS_PER_SECOND = 1e9, FRAMES_PER_MIB = 256;
/** Wall time between two drawings. */
const PERIOD_MS = 500;
/** ECMA-48: cursor up so many lines to the first column; erase from the cursor to the end of the screen. */
const cursorUp = (lines: number) => `\x1b[${lines}F`;
const ERASE_BELOW = "\x1b[J";

const columns = [
  ["VM", ({ name }) => name],
  ["STATE", (_, state) => state],
  ["ALLOCATED", ({ memory }) => mib(memory.allocatedMib)],
  ["TARGET", ({ memory }) => mib(memory.targetMib)],
  ["ACTIVE", ({ memory }) => memory.activeMib === undefined ? "-" : mib(memory.activeMib)],
  ["SHARED", ({ memory }) => mib(memory.sharedMib)],
  ["BALLOONED", ({ memory }) => mib(memory.balloonedMib)],
  ["SWAPPED", ({ memory }) => mib(memory.swappedMib)],
  ["OF MiB", ({ memory }) => String(memory.maxMib)],
  ["CPU s", ({ cpuNs }) => seconds(cpuNs)],
  ["STOLEN s", ({ stolenNs }) => seconds(stolenNs)],
] as const satisfies readonly [string, (vm: RunReport["vms"][number], state: string) => string][];

/** What every VM has and does, a line each, under a line about the host. Memory in MiB, times in s of host time. */
export function summarize(host: Host, report: RunReport): string {
  const { memory } = report.host;
  const free = (100 * memory.freeFrames) / memory.totalFrames;
  const state = memory.state === undefined ? "" : ` (${memory.state})`;
  const head = `host: ${seconds(report.hostTimeNs)} s, memory ${mib(memory.usedFrames / FRAMES_PER_MIB)} of ` +
    `${mib(memory.totalFrames / FRAMES_PER_MIB)} MiB used, ${free.toFixed(1)} % free${state}, ` +
    `${mib(memory.savedFrames / FRAMES_PER_MIB)} saved by sharing\n`;
  const rows = report.vms.map((vm, i) => columns.map(([, cell]) => cell(vm, stateOf(host.vms[i]))));
  return head + table([columns.map(([name]) => name), ...rows], "  ");
}

/** What a VM does; who has it blocked is worth knowing; an ended one says why. */
function stateOf(vm: Vm): string {
  if (vm.exit !== undefined) return vm.exit.reason;
  if (vm.suspendedBy.size === 0) return vm.state;
  return vm.suspendedBy.has("allocator") ? "blocked" : "suspended";
}

/** The table while VMs run. It stands below all else on the terminal: erase it before anything is printed there. */
export class LiveTable {
  #lines = 0;
  #drawnMs = -Infinity;

  constructor(readonly host: Host, readonly write: (text: string) => void, readonly nowMs: () => number) {}

  /** Draws it, if the last drawing is old enough. */
  refresh(): void {
    const nowMs = this.nowMs();
    if (nowMs - this.#drawnMs < PERIOD_MS) return;
    this.#drawnMs = nowMs;
    const text = summarize(this.host, makeReport(this.host, 0));
    const erase = this.#lines > 0 ? cursorUp(this.#lines) + ERASE_BELOW : "";
    this.#lines = text.split("\n").length - 1;
    this.write(erase + text);
  }

  /** Takes it off the terminal; the next drawing puts it there again. */
  erase(): void {
    if (this.#lines === 0) return;
    this.write(cursorUp(this.#lines) + ERASE_BELOW);
    this.#lines = 0;
  }
}

function mib(size: number): string {
  return size.toFixed(1);
}

function seconds(ns: number): string {
  return (ns / NS_PER_SECOND).toFixed(2);
}
