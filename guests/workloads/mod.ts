// Workloads in C for Linux guests: what they are, how gcc builds them, and how a guest that runs them talks to its
// host. Where it stands: beside guests/linux, which packs them into an initramfs; benches need them, and tests with
// small sizes. Debian's gcc-multilib builds static i386 programs. Each workload prints a checksum that is the same on
// every machine.

import { createHash } from "node:crypto";
import { fromFileUrl } from "@std/path";

/** One workload: what it does is said in its C source. */
export interface Workload {
  readonly name: string;
  /** Its size in benches, in the unit that its C source names. */
  readonly size: number;
  /** A size for tests, and its checksum there. */
  readonly small: { readonly size: number; readonly checksum: string };
}

/** All of them, in the order in which they run. */
export const workloads: readonly Workload[] = [
  { name: "sieve", size: 25, small: { size: 1, checksum: "a8bb1f25" } },
  { name: "sha256", size: 484, small: { size: 2, checksum: "8954fa95" } },
  { name: "intmix", size: 469, small: { size: 1, checksum: "0ad5b7a4" } },
  { name: "interp", size: 87000, small: { size: 300, checksum: "5dd8fb4d" } },
  { name: "bigcode", size: 60, small: { size: 1, checksum: "7b4b5390" } },
  { name: "matmul_x87", size: 16, small: { size: 1, checksum: "db2a96f2" } },
  { name: "matmul_sse2", size: 11, small: { size: 1, checksum: "db2a96f2" } },
  { name: "memcpy", size: 405, small: { size: 2, checksum: "970d8b23" } },
  { name: "chase", size: 3600, small: { size: 10, checksum: "f826a457" } },
  { name: "syscall", size: 524000, small: { size: 100, checksum: "00000064" } },
  { name: "int80", size: 500000, small: { size: 100, checksum: "00000064" } },
  { name: "fork", size: 500, small: { size: 5, checksum: "ba1e9fef" } },
  { name: "forkexec", size: 340, small: { size: 5, checksum: "1c1f20c6" } },
  { name: "pgfault", size: 175, small: { size: 1, checksum: "90a458c5" } },
  { name: "pipe", size: 20000, small: { size: 20, checksum: "7d73cca7" } },
  { name: "bb_gzip", size: 3700, small: { size: 20, checksum: "463d34b7" } },
  { name: "bb_sh", size: 17500, small: { size: 50, checksum: "370435c1" } },
  { name: "bb_sort", size: 31000, small: { size: 50, checksum: "546994fd" } },
];

/** The workloads cannot be built here: the message says why. */
export class WorkloadsUnavailable extends Error {
  override readonly name = "WorkloadsUnavailable";
}

/** The programs by their path in the guest, as PrepareLinuxOptions.extraFiles wants them. */
export type WorkloadFiles = ReadonlyMap<string, Uint8Array>;

/** Path in the guest of the program `workload NAME SIZE`. */
export const WORKLOAD_PATH = "/bin/workload";
/** Path in the guest of the program that workload forkexec starts. */
export const NOTHING_PATH = "/bin/nothing";
/** Path in the guest of the script that runs the workloads of the kernel's command line. */
const SCRIPT_PATH = "/etc/run-workloads";

/**
 * Builds the programs with gcc into `folder`, unless what these sources and flags give is there already.
 * Throws WorkloadsUnavailable where there is no gcc or it cannot build for i386.
 */
export async function buildWorkloads(folder: string): Promise<WorkloadFiles> {
  const built = `${folder}/workloads-${await digestOfSources()}`;
  await Deno.mkdir(built, { recursive: true });
  return new Map([
    [WORKLOAD_PATH, await program(`${built}/workload`, linkWorkload)],
    [
      NOTHING_PATH,
      await program(`${built}/nothing`, (to) => gcc([...NOTHING_FLAGS, `${SOURCES}/nothing.c`, "-o", to])),
    ],
    [SCRIPT_PATH, new TextEncoder().encode(SCRIPT)],
  ]);
}

/** What a guest is to run: workloads by name, each with its size. */
export interface WorkloadRun {
  readonly name: string;
  readonly size: number;
}

/** What to add to the kernel's command line, so that the guest runs these one after the other. */
export function workloadAppend(runs: readonly WorkloadRun[]): string {
  const list = runs.map(({ name, size }) => `${name}:${size}`).join(",");
  return `ballast.run=${SCRIPT_PATH} ${LIST_PARAMETER}=${list}`;
}

/** What a line of the guest's console says to the host; after "done" the guest waits for input. */
export type Mark =
  | { readonly kind: "init" | "done" }
  | { readonly kind: "start"; readonly name: string }
  | { readonly kind: "end"; readonly name: string; readonly checksum: string }
  | { readonly kind: "fail"; readonly name: string; readonly reason: string };

/** Reads a line of the console, without its line end; undefined if it is not for the host. */
export function readMark(line: string): Mark | undefined {
  const [, kind, name = "", rest = ""] = /^@(\w+)(?: (\w+)(?: (.*))?)?$/.exec(line) ?? [];
  if (kind === "init" || kind === "done") return { kind };
  if (kind === "start") return { kind, name };
  if (kind === "end" && CHECKSUM.test(rest)) return { kind, name, checksum: rest };
  if (kind === "fail") return { kind, name, reason: rest };
  return undefined;
}

const CHECKSUM = /^[0-9a-f]{8}$/;
/** Parameter of the kernel's command line: NAME:SIZE,NAME:SIZE,... */
const LIST_PARAMETER = "ballast.workloads";

const SCRIPT = `#!/bin/sh
echo @init
list=
read -r words < /proc/cmdline
for word in $words; do
  case "$word" in ${LIST_PARAMETER}=*) list="\${word#*=}" ;; esac
done
IFS=,
for run in $list; do
  workload "\${run%:*}" "\${run#*:}" || echo "@fail \${run%:*} exit status $?"
done
echo @done
read -r _
`;

const SOURCES = fromFileUrl(new URL(".", import.meta.url)).replace(/\/$/, "");
/** A Pentium Pro: what Debian's i386 kernels ask for. */
const FLAGS = ["-m32", "-march=i686", "-O2", "-Wall", "-Wextra", "-Werror"];
const NOTHING_FLAGS = [...FLAGS, "-static", "-nostdlib", "-s"];
/** The sources of `workload`, with the flags that one of them needs beside the common ones. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  main: [],
  sieve: [],
  sha256: [],
  intmix: [],
  interp: [],
  bigcode: [],
  matmul_x87: ["-mfpmath=387"],
  matmul_sse2: ["-msse2", "-mfpmath=sse"],
  memory: [],
  syscalls: [],
  processes: [],
  busybox: [],
};

async function digestOfSources(): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify([FLAGS, NOTHING_FLAGS, PARTS]));
  const names: string[] = [];
  for await (const { name } of Deno.readDir(SOURCES)) if (/\.[ch]$/.test(name)) names.push(name);
  for (const name of names.sort()) hash.update(name).update(await Deno.readFile(`${SOURCES}/${name}`));
  return hash.digest("hex").slice(0, 16);
}

/** The program at `path`; `build` makes it first if it is not there. */
async function program(path: string, build: (to: string) => Promise<void>): Promise<Uint8Array> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const unfinished = await Deno.makeTempDir({ dir: path.slice(0, path.lastIndexOf("/")) });
  try {
    await build(`${unfinished}/program`);
    await Deno.rename(`${unfinished}/program`, path);
  } finally {
    await Deno.remove(unfinished, { recursive: true });
  }
  return await Deno.readFile(path);
}

async function linkWorkload(to: string): Promise<void> {
  const objects: string[] = [];
  for (const [name, flags] of Object.entries(PARTS)) {
    const object = `${to}-${name}.o`;
    await gcc([...FLAGS, ...flags, "-c", `${SOURCES}/${name}.c`, "-o", object]);
    objects.push(object);
  }
  await gcc(["-m32", "-static", "-s", ...objects, "-o", to]);
}

async function gcc(args: readonly string[]): Promise<void> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command("gcc", { args: [...args], stdin: "null", stdout: "null", stderr: "piped" })
      .output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new WorkloadsUnavailable("there is no gcc (Debian: gcc-multilib)", { cause: error });
  }
  if (output.success) return;
  const said = new TextDecoder().decode(output.stderr).trim();
  throw new WorkloadsUnavailable(`gcc cannot build for i386 (Debian: gcc-multilib): gcc ${args.join(" ")}\n${said}`);
}
