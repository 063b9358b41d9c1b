// What page sharing finds in three stock Debian guests that were booted one by one and did the same work, with the kernel's
// address-space randomization (KASLR) and without, and what it costs; beside the ESX paper's figure 4 and Linux's KSM on three
// QEMU guests. As a program:
//
//     deno run -A bench/linux_sharing.ts
//
//     BALLAST_FORMS=nokaslr,kaslr   which kernels
//     BALLAST_SCALE=0.25            part of the benches' sizes of each workload
//     BALLAST_PAIRS=3               runs with sharing and without, in turn, for their times
//
// Exit status: 0; 1 where a line does not hold; 2 for a wrong variable or a guest that is not to be had.

import { defaultAppend, LinuxUnavailable, picOnlyAppend, prepareLinux } from "../guests/linux/mod.ts";
import { buildWorkloads, readMark, workloads, WorkloadsUnavailable } from "../guests/workloads/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import { sharing } from "../plugins/page-sharing/mod.ts";
import type { SavedVm } from "../core/mod.ts";
import { bootToShell, countExactly, hostMibOf, type Work, work, type Worked } from "./linux_guests.ts";
import { cacheDir, progress } from "./peers/session.ts";

/** Host names of the guests. Each has an initramfs of its own, and with KASLR so its kernel draws a base of its own. */
const NAMES = ["ada", "bertrand", "christopher-strachey"] as const;
/** As KSM's guests ran. */
const WORKLOADS = ["sieve", "forkexec", "pgfault", "bb_gzip", "bb_sh", "bb_sort"] as const;
const RANDOMIZED = defaultAppend.split(" ").filter((word) => word !== "nokaslr").join(" ");
/** Command lines, and what KSM saved of the memory of such guests under QEMU's TCG, in percent of their pages in use. */
const forms = {
  nokaslr: { append: `${defaultAppend} ${picOnlyAppend}`, ksmPercent: 57.2 },
  kaslr: { append: `${RANDOMIZED} ${picOnlyAppend}`, ksmPercent: 50.3 },
} as const;
type Form = keyof typeof forms;
/** The ESX paper's figure 4, in percent of the VMs' memory: three VMs, and ten. */
const PAPER = { shared: "64.8 / 67.0", reclaimed: "45.9 / 59.9", zero: "6.8 / 6.2" } as const;

const HASH_EVERY_STEPS = 5e6;
/** Every page is scanned some times, and is shared and written to in the middle of the work. */
const EAGERLY = { scanMinutes: 1 / 60, maxRatePagesPerS: 30_000, hostMibPerSPerGhz: 10_000 };
/** What must hold: merged of what an exact count finds, in percent; guest work in a host second; the table's part of memory. */
const LEAST_MERGED = 99, LEAST_WORK = 0.98, MOST_METADATA = 0.5;
const Status = { success: 0, failed: 1, usage: 2 } as const;

interface Choices {
  readonly forms: readonly Form[];
  readonly scale: number;
  readonly pairs: number;
}

/** Throws an Error that names the variable that is wrong. */
function readChoices(variable: (name: string) => string | undefined): Choices {
  const chosen = (variable("BALLAST_FORMS") ?? Object.keys(forms).join()).split(",");
  for (const form of chosen) {
    if (!Object.hasOwn(forms, form)) {
      throw new Error(`BALLAST_FORMS: there is no ${JSON.stringify(form)}; there are ${Object.keys(forms).join(", ")}`);
    }
  }
  const number = (name: string, fallback: number) => {
    const value = Number(variable(name) ?? fallback);
    if (!(value > 0 && value <= 100)) {
      throw new Error(`${name} ${variable(name)}: expected a number above 0, at most 100`);
    }
    return value;
  };
  return {
    forms: chosen as Form[],
    scale: number("BALLAST_SCALE", 0.25),
    pairs: Math.ceil(number("BALLAST_PAIRS", 3)),
  };
}

/** The guests of a form at their shells, and what they are told to do. */
async function prepare(form: Form, scale: number): Promise<Work> {
  await Deno.mkdir(cacheDir(), { recursive: true });
  const programs = await buildWorkloads(cacheDir());
  const saved: SavedVm[] = [];
  for (const name of NAMES) {
    progress(`${form}: booting ${name}`);
    const extraFiles = new Map([...programs, ["/etc/hostname", new TextEncoder().encode(`${name}\n`)]]);
    // No search path: what is not in the cache is not fetched by a bench.
    const linux = await prepareLinux({ cacheDir: cacheDir(), extraFiles, log: () => {}, apt: { searchPath: "" } });
    const [kernel, initrd] = [await Deno.readFile(linux.kernel), await Deno.readFile(linux.initrd)];
    saved.push(await bootToShell({ kernel, kernelName: linux.kernel, initrd, append: forms[form].append }));
  }
  const runs = WORKLOADS.map((name) => {
    const { size } = workloads.find((workload) => workload.name === name) ?? { size: 1 };
    return `workload ${name} ${Math.max(1, Math.round(size * scale))}`;
  });
  return { saved, command: [...runs, "grep 'Kernel code' /proc/iomem", ""].join("\n") };
}

interface Line {
  readonly what: string;
  readonly figure: string;
  readonly beside?: string;
  /** Undefined where nothing is asked. */
  readonly holds?: boolean;
}

async function measure(form: Form, { scale, pairs }: Choices): Promise<Line[]> {
  const given = await prepare(form, scale);
  const hashed = { ...given, hashEverySteps: HASH_EVERY_STEPS };
  progress(`${form}: without sharing`);
  const without = await work(hashed);
  progress(`${form}: with sharing by its defaults`);
  const byDefault = await work({ ...hashed, sharing: {} });
  progress(`${form}: with eager sharing`);
  const eager = await work({ ...hashed, sharing: EAGERLY });
  const equal = [byDefault, eager].map((run) => equalHashes(without, run));
  const ratio = byDefault.stepsPerHostSecond / without.stepsPerHostSecond;
  const found = sharingFound(eager, forms[form].ksmPercent);
  const times = await timesOf(form, given, pairs);
  return [
    { what: "physical bases of the kernels", figure: basesOf(without).join(" ") },
    { what: "checksums of the work agree", figure: String(checksums(without).length), holds: allAgree(without) },
    ...found,
    {
      what: "state hashes equal to those without sharing, by the defaults / eagerly",
      figure: equal.map(({ compared }) => compared).join(" / "),
      holds: equal.every(({ compared, differing }) => compared > 0 && differing === 0),
    },
    {
      what: "guest work in a second of host time, with sharing by its defaults / without",
      figure: ratio.toFixed(4),
      holds: ratio >= LEAST_WORK && ratio <= 2 - LEAST_WORK,
    },
    ...times,
  ];
}

/** Whole scans after the work, beside an exact count. */
function sharingFound(run: Worked, ksmPercent: number): Line[] {
  const shared = run.host.service(sharing), exact = countExactly(run), early = shared.figures().reclaimedPages;
  shared.scanAll();
  const { sharedPages, reclaimedPages, zeroPages, allocatedPages } = shared.figures();
  run.host.service(memory.machine).audit();
  shared.audit();
  const possible = exact.pages - exact.distinct, merged = (100 * reclaimedPages) / possible;
  const percent = (pages: number, of = allocatedPages) => ((100 * pages) / of).toFixed(1);
  const nonzero = exact.pages - exact.zeros, nonzeroSaved = reclaimedPages - Math.max(0, exact.zeros - 1);
  const metadata = (100 * shared.metadataBytes) / (hostMibOf(NAMES.length) * 2 ** 20);
  return [
    { what: "pages in use", figure: String(allocatedPages), holds: allocatedPages === exact.pages },
    { what: "shared, %", figure: percent(sharedPages), beside: `ESX, 3 / 10 guests: ${PAPER.shared}` },
    {
      what: "reclaimed, %",
      figure: percent(reclaimedPages),
      beside: `ESX: ${PAPER.reclaimed}; KSM, 3 guests: ${ksmPercent.toFixed(1)}`,
    },
    { what: "zero, %", figure: percent(zeroPages), beside: `ESX: ${PAPER.zero}` },
    { what: "reclaimed of pages that are not zero, %", figure: percent(nonzeroSaved, nonzero) },
    {
      what: "merged of what an exact count finds, %",
      figure: `${merged.toFixed(2)} (${reclaimedPages} of ${possible})`,
      holds: merged >= LEAST_MERGED && reclaimedPages <= possible,
    },
    { what: "reclaimed while they worked, pages", figure: String(early), holds: early > 0 },
    { what: "the table's part of memory, %", figure: metadata.toFixed(2), holds: metadata <= MOST_METADATA },
  ];
}

/** Runs with sharing and without in turn, so that a slow minute of the machine meets both alike. */
async function timesOf(form: Form, given: Work, pairs: number): Promise<Line[]> {
  const wall: number[] = [], cpu: number[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    progress(`${form}: pair ${pair + 1} of ${pairs}`);
    // Who goes first changes, too.
    const [first, second] = pair % 2 === 0 ? [undefined, {}] : [{}, undefined];
    const runs = [await work({ ...given, sharing: first }), await work({ ...given, sharing: second })];
    const [off, on] = pair % 2 === 0 ? runs : runs.toReversed();
    wall.push(on.wallSeconds / off.wallSeconds);
    cpu.push(on.cpuSeconds / off.cpuSeconds);
  }
  const tell = (ratios: readonly number[]) =>
    `${median(ratios).toFixed(3)} (${ratios.map((ratio) => ratio.toFixed(3)).join(", ")})`;
  return [
    { what: "wall time with sharing / without, median of pairs", figure: tell(wall) },
    { what: "CPU time with sharing / without, median of pairs", figure: tell(cpu) },
  ];
}

function equalHashes(expected: Worked, actual: Worked): { readonly compared: number; readonly differing: number } {
  let compared = 0, differing = 0;
  for (const [i, hashes] of expected.hashes.entries()) {
    // A guest that was done waits for the others at its shell, for longer in one run than in the other.
    const common = Math.min(hashes.length, actual.hashes[i].length);
    compared += common;
    for (let at = 0; at < common; at++) if (hashes[at] !== actual.hashes[i][at]) differing++;
  }
  return { compared, differing };
}

/** By guest: the results of its workloads. */
function checksums({ lines }: Worked): string[] {
  return lines.map((ofGuest) =>
    ofGuest.flatMap((line) => {
      const mark = readMark(line);
      return mark?.kind === "end" ? [`${mark.name} ${mark.checksum}`] : [];
    }).join()
  );
}

function allAgree(run: Worked): boolean {
  const [first, ...others] = checksums(run);
  return first.split(",").length === WORKLOADS.length && others.every((other) => other === first);
}

function basesOf({ lines }: Worked): string[] {
  return lines.map((ofGuest) => {
    const [, base = "unknown"] = ofGuest.map((line) => /^([0-9a-f]{8})-[0-9a-f]{8} : Kernel code/.exec(line))
      .find((match) => match !== null) ?? [];
    return base;
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function tableOf(form: Form, lines: readonly Line[]): string {
  const width = Math.max(...lines.map(({ what }) => what.length));
  const rows = lines.map(({ what, figure, beside, holds }) => {
    const verdict = holds === undefined ? "      " : holds ? "holds " : "FAILS ";
    return `  ${verdict}${what.padEnd(width)}  ${figure}${beside === undefined ? "" : `   (${beside})`}`;
  });
  return [`\nThree Debian guests, ${form}`, ...rows].join("\n");
}

async function main(): Promise<number> {
  try {
    const choices = readChoices((name) => Deno.env.get(name));
    let all = true;
    for (const form of choices.forms) {
      const lines = await measure(form, choices);
      console.log(tableOf(form, lines));
      all &&= lines.every(({ holds }) => holds !== false);
    }
    return all ? Status.success : Status.failed;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const isUsage = error.message.startsWith("BALLAST_") || error instanceof LinuxUnavailable ||
      error instanceof WorkloadsUnavailable;
    if (!isUsage) throw error;
    progress(error.message);
    return Status.usage;
  }
}

Deno.exit(await main());
