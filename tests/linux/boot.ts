// The one boot of Linux that the tests share: its console, its state hashes, and snapshots at a few points of it. They
// are kept in the cache folder under a key of everything they depend on (the sources of the machine, kernel, initramfs),
// so that a test file that comes later, or runs again, need not boot.

import { createHash } from "node:crypto";
import { deserialize, serialize } from "node:v8";
import { fromFileUrl } from "@std/path";
import type { SavedVm } from "../../core/mod.ts";
import type { PreparedLinux } from "../../guests/linux/mod.ts";
import { filesBelow } from "../import_graph.ts";
import { Machine, type StateHash } from "./machine.ts";
import { cacheDir } from "./prepared.ts";

/** Points at which the boot is saved: an exact step, or the console's first showing of a text. In their order. */
const waypoints = {
  /** The kernel unpacks itself. */
  unpacking: 500_000_000,
  /** The console has just come up, before the driver that takes its input. */
  consoleUp: "Linux version",
  /** The kernel gives way to the first process. */
  init: "Run /init as init process",
  /** The shell waits for its first command. */
  shell: "/ # ",
} as const;

export type Waypoint = keyof typeof waypoints;
export const waypointNames = Object.keys(waypoints) as Waypoint[];

/** What is known of the boot besides the saved states. */
export interface BootRecord {
  /** The console from power-on to the first prompt. */
  readonly console: string;
  readonly hashes: readonly StateHash[];
  /** At the first prompt. */
  readonly prompt: StateHash;
}

export interface Boot {
  readonly record: BootRecord;
  saved(waypoint: Waypoint): Promise<SavedVm>;
}

/** The shared boot; the first call runs it, unless its snapshots are there. */
export async function bootLinux(linux: PreparedLinux): Promise<Boot> {
  const snapshots = `${cacheDir}/snapshots`;
  const folder = `${snapshots}/${await keyOf(linux)}`;
  await Deno.mkdir(snapshots, { recursive: true });
  // Test files may run side by side: one boots, the others wait for it.
  using lock = await Deno.open(`${snapshots}/lock`, { create: true, write: true });
  await lock.lock(true);
  if (!await exists(folder)) {
    for await (const { name, isDirectory } of Deno.readDir(snapshots)) {
      if (isDirectory) await Deno.remove(`${snapshots}/${name}`, { recursive: true });
    }
    const unfinished = `${folder}.unfinished`;
    await Deno.mkdir(unfinished);
    await runBoot(linux, unfinished);
    await Deno.rename(unfinished, folder);
  }
  return {
    record: await read(`${folder}/${RECORD}`) as BootRecord,
    saved: async (waypoint) => await read(`${folder}/${waypoint}`) as SavedVm,
  };
}

/** A machine that goes on from a waypoint. */
export async function restoreAt(linux: PreparedLinux, waypoint: Waypoint): Promise<Machine> {
  const boot = await bootLinux(linux);
  return Machine.restore(await boot.saved(waypoint));
}

const RECORD = "record";
/** Sources that a saved state does not depend on change nothing about a machine: the rest is hashed. */
const sourceFolders = ["cli", "core", "plugins", "tests/linux"];

async function runBoot(linux: PreparedLinux, folder: string): Promise<void> {
  const machine = await Machine.powerOn(linux);
  for (const name of waypointNames) {
    const where = waypoints[name];
    if (typeof where === "number") await machine.runToStep(where);
    else await machine.runUntil(where);
    await write(`${folder}/${name}`, machine.host.save(machine.vm));
  }
  machine.audit();
  const prompt: StateHash = [machine.vm.clock.steps, machine.host.stateHash(machine.vm)];
  const record: BootRecord = { console: machine.text, hashes: machine.hashes, prompt };
  await write(`${folder}/${RECORD}`, record);
}

async function keyOf(linux: PreparedLinux): Promise<string> {
  const hash = createHash("sha256");
  for (const path of [linux.kernel, linux.initrd]) hash.update(await Deno.readFile(path));
  const root = fromFileUrl(new URL("../..", import.meta.url));
  for (const folder of sourceFolders) {
    for (const path of filesBelow(root, folder)) {
      if (!path.endsWith("_test.ts")) hash.update(path).update(await Deno.readFile(`${root}/${path}`));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function write(path: string, value: unknown): Promise<void> {
  await Deno.writeFile(path, serialize(value));
}

async function read(path: string): Promise<unknown> {
  return owned(deserialize(await Deno.readFile(path)));
}

/** The same with arrays that have their bytes to themselves: here they are parts of the file, which a clone would copy whole. */
export function owned(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return "slice" in value && typeof value.slice === "function" ? value.slice() : value;
  if (Array.isArray(value)) return value.map(owned);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, owned(part)]));
}
