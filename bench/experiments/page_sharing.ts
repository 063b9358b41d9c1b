// Figure 4: what page sharing finds in one to ten alike VMs, held against an exact count of equal pages, and what salting leaves of
// it (ESX paper, section 4.4).

import { createHash } from "node:crypto";
import { z } from "../../core/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { sharing } from "../../plugins/page-sharing/mod.ts";
import { defineExperiment, holds, reproducedIf, type Row, within } from "./framework/definition.ts";
import type { Scene, Stage } from "./framework/scene.ts";
import { LINUX_VM_MIB, linuxScene, MOST_LINUX_GUESTS } from "./sharing_linux.ts";

/** MB of the paper's VMs (read off the figure), and pages of ours: a quarter. */
const SCALE = 4, PAGES_PER_MB = 256 / SCALE;
const PAPER = {
  total: [38.8, 78.1, 117.2, 156.5, 195.6, 234.5, 273.4, 312.6, 351.8, 390.8],
  shared: [6.5, 47.7, 76.0, 103.3, 130.2, 156.7, 181.7, 210.6, 235.6, 262.0],
  reclaimed: [4.9, 28.4, 53.8, 79.9, 106.2, 130.9, 155.6, 183.2, 208.0, 234.1],
  zero: [2.7, 5.2, 8.0, 10.3, 13.0, 15.6, 17.2, 19.9, 22.0, 24.4],
} as const;
/** A VM's memory in MB of the paper: what ten VMs show of it, and how one shares with itself. Calibrated. */
const MIX = { zero: 2.4, common: 20, repeated: 3.8, repeatedKinds: 0.8, own: 12.8 } as const;
const VM_MIB = 16, SETTLE_SECONDS = 8;
const HOST_MIB = 200;

function scene(count: number, seconds: number, salt: "group" | "vm"): Scene {
  const pages = (mb: number) => Math.round(mb * PAGES_PER_MB);
  const options = {
    zeroPages: pages(MIX.zero),
    commonPages: pages(MIX.common),
    repeatedPages: pages(MIX.repeated),
    repeatedKinds: pages(MIX.repeatedKinds),
    repeatedAlike: 0,
    ownPages: pages(MIX.own),
    seconds: seconds + 60,
  };
  return {
    hostMib: HOST_MIB,
    cpuMhz: 10,
    plugins: [{ use: "page-sharing", options: { salt } }],
    // Ten minutes of the default rates in one: a pass over each VM takes ten seconds.
    options: { "page-sharing": { scanMinutes: 1 / 6, maxRatePagesPerS: 1024, hostMibPerSPerGhz: 10_000 } },
    vms: Array.from({ length: count }, (_, i) => ({
      name: `vm${i + 1}`,
      memoryMib: VM_MIB,
      guest: { use: "mosaic", options: { ...options, seed: i + 1 } },
    })),
    untilSeconds: SETTLE_SECONDS + seconds,
    sampleSeconds: 2,
    atEnd: measure,
  };
}

/** Sharing's own figures beside an exact count that knows nothing of it. */
function measure({ host }: Stage): Readonly<Record<string, number>> {
  const figures = host.service(sharing).figures(), contents = new Map<string, number>();
  host.service(sharing).audit();
  let pages = 0, zeros = 0, within = 0;
  const zeroHash = hashOf(new Uint8Array(memory.PAGE_SIZE));
  for (const vm of host.vms) {
    const guest = host.service(memory.guest)(vm), own = new Set<string>();
    for (let ppn = 0; ppn < guest.pages; ppn++) {
      const page = guest.peek(ppn);
      if (page === undefined) continue;
      const hash = hashOf(page);
      pages++;
      if (hash === zeroHash) zeros++;
      if (own.has(hash)) within++;
      own.add(hash);
      contents.set(hash, (contents.get(hash) ?? 0) + 1);
    }
  }
  return {
    ...figures,
    exactPages: pages,
    exactReclaimable: pages - contents.size,
    exactWithin: within,
    exactZeros: zeros,
  };
}

function hashOf(page: Uint8Array): string {
  return createHash("sha1").update(page).digest("base64");
}

/** Seconds of a boot here, in those of a second of host time of a mosaic. */
const LINUX_WEIGHT = 200;
const OTHER_SYSTEM =
  "another system: a Debian kernel of 2022 and its initramfs in 64 MiB, after other work, in place of Red Hat 7.2 with SPEC95 in 40 MB";

function linuxRow(count: number, quantity: string, unit: string, measured: number): Row {
  const guests = count === 1 ? "1 Linux guest" : `${count} Linux guests`;
  return { quantity: `${guests}: ${quantity}`, unit, measured, verdict: "ours" };
}

export default defineExperiment({
  name: "page-sharing",
  title: "Content-based page sharing",
  source: "ESX paper, section 4.4 and figure 4",
  summary: "memory shared and reclaimed in one to ten alike VMs, beside an exact count of equal pages",
  scale:
    "A quarter of the paper's pages: VMs with 9.75 MiB in use in place of 39 MB. Each boots by itself; none is a copy of another. " +
    "Their contents are a mosaic: zeros, pages that all have, pages that each repeats within itself, and pages of their own. The " +
    `second scene has Debian guests of ${LINUX_VM_MIB} MiB, each powered on by itself.`,
  knobs: z.strictObject({
    vms: z.array(z.int().min(1).max(10)).default([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).describe("numbers of VMs"),
    seconds: z.int().min(10).default(60).describe("host seconds of scanning"),
    linuxGuests: z.int().min(0).max(MOST_LINUX_GUESTS).default(MOST_LINUX_GUESTS).describe(
      "Linux guests of the second scene",
    ),
  }),
  quick: { vms: [1, 2, 5, 10], seconds: 30, linuxGuests: 2 },
  seeds: { full: 3, quick: 1 },
  needsLinux: true,
  runs: async ({ vms, seconds, linuxGuests }) => [
    ...vms.map((count) => ({ name: `${count} VMs`, scene: scene(count, seconds, "group") })),
    { name: "salted", scene: scene(Math.max(...vms), seconds, "vm") },
    ...(linuxGuests === 0
      ? []
      : [{ name: "Linux", scene: await linuxScene(linuxGuests, measure), weight: LINUX_WEIGHT * linuxGuests }]),
  ],
  evaluate({ recordings, knobs: { vms, linuxGuests } }) {
    const linux = Array.from({ length: linuxGuests }, (_, i) => {
      const [{ atEnd }] = recordings("Linux"), of = (name: string) => atEnd[`${i + 1}.${name}`];
      const part = (pages: number) => (100 * pages) / of("allocatedPages");
      return {
        count: i + 1,
        mib: of("allocatedPages") / 256,
        shared: part(of("sharedPages")),
        reclaimed: part(of("reclaimedPages")),
        exact: part(of("exactReclaimable")),
        within: part(of("exactWithin")),
        zero: part(of("exactZeros")),
        merged: (100 * of("reclaimedPages")) / of("exactReclaimable"),
      };
    });
    const found = vms.map((count) => {
      const runs = recordings(`${count} VMs`).map(({ atEnd }) => atEnd);
      const sum = (name: string) => runs.reduce((total, run) => total + run[name], 0) / runs.length;
      const total = sum("allocatedPages");
      return {
        count,
        total,
        shared: sum("sharedPages"),
        reclaimed: sum("reclaimedPages"),
        zero: sum("zeroPages"),
        exact: sum("exactReclaimable"),
        exactPages: sum("exactPages"),
        part: (pages: number) => (100 * pages) / total,
      };
    });
    const salted = recordings("salted").map(({ atEnd }) => atEnd)[0];
    // Zeros are one frame for all VMs, whatever their salts.
    const saltedMost = salted.exactWithin + Math.max(...vms) - 1;
    const last = found[found.length - 1], counters = recordings(`${vms[0]} VMs`)[0].counters["page-sharing"];
    const paperPart = (name: keyof typeof PAPER, count: number) =>
      (100 * PAPER[name][count - 1]) / PAPER.total[count - 1];
    const mb = (pages: number) => pages / PAGES_PER_MB;
    const curve = (of: (one: typeof found[number]) => number) =>
      found.map((one): [number, number] => [one.count, mb(of(one))]);
    const paper = (name: keyof typeof PAPER) => PAPER[name].map((value, i): [number, number] => [i + 1, value]);
    const between = vms.filter((count) => count > 1 && count < 10);
    return {
      rows: [
        ...found.flatMap(({ count, part, shared, reclaimed, exact }) => {
          const isNear = (measured: number, name: "shared" | "reclaimed") =>
            Math.abs(measured - paperPart(name, count)) <= 4;
          const verdictOf = (measured: number, name: "shared" | "reclaimed") =>
            count === 10 || count === 1 ? { verdict: "calibrated" as const } : reproducedIf(
              isNear(measured, name),
              "more than 4 points off: the paper's two VMs have less in common than three or more, which a fixed mix of contents " +
                "cannot have",
            );
          return [
            {
              quantity: `shared, ${count} VMs`,
              unit: "%",
              paper: paperPart("shared", count).toFixed(1),
              measured: part(shared).toFixed(1),
              ...verdictOf(part(shared), "shared"),
            },
            {
              quantity: `reclaimed, ${count} VMs`,
              unit: "%",
              paper: paperPart("reclaimed", count).toFixed(1),
              model: part(exact).toFixed(1),
              measured: part(reclaimed).toFixed(1),
              ...verdictOf(part(reclaimed), "reclaimed"),
            },
          ];
        }),
        {
          quantity: "reclaimed with a salt for each VM",
          unit: "pages",
          model: salted.exactWithin,
          measured: salted.reclaimedPages,
          verdict: "ours",
        },
        { quantity: "reclaimed without", unit: "pages", model: last.exact, measured: last.reclaimed, verdict: "ours" },
        ...linux.flatMap(({ count, mib, shared, reclaimed, exact, within, zero }): Row[] => [
          linuxRow(count, "in use", "MiB", mib),
          {
            ...linuxRow(count, "shared", "%", shared),
            paper: paperPart("shared", count).toFixed(1),
            ...reproducedIf(Math.abs(shared - paperPart("shared", count)) <= 4, OTHER_SYSTEM),
          },
          {
            ...linuxRow(count, "reclaimed", "%", reclaimed),
            paper: paperPart("reclaimed", count).toFixed(1),
            model: exact,
            ...reproducedIf(Math.abs(reclaimed - paperPart("reclaimed", count)) <= 4, OTHER_SYSTEM),
          },
          linuxRow(count, "alike within one VM (exact count)", "%", within),
          linuxRow(count, "zeros (exact count)", "%", zero),
        ]),
      ],
      checks: [
        ...found.map(({ count, reclaimed, exact }) =>
          within(`reclaimed of what an exact count finds, ${count} VMs`, (100 * reclaimed) / exact, [99, 100], "%", "X")
        ),
        ...found.map(({ count, total, exactPages }) =>
          holds(`pages in use, ${count} VMs, are what is counted`, total === exactPages, String(exactPages), total, "X")
        ),
        ...between.flatMap((count) => {
          const one = found.find((other) => other.count === count) ?? last;
          return [
            // What two VMs share is not reproduced: see its row.
            ...(count === 2 ? [] : [within(
              `shared, ${count} VMs, beside the paper`,
              one.part(one.shared) - paperPart("shared", count),
              [-4, 4],
              "points",
            )]),
            within(
              `reclaimed, ${count} VMs, beside the paper`,
              one.part(one.reclaimed) - paperPart("reclaimed", count),
              [-4, 4],
              "points",
            ),
          ];
        }),
        ...linux.map(({ count, merged }) =>
          within(`reclaimed of what an exact count finds, ${count} Linux guests`, merged, [99, 100], "%", "X")
        ),
        holds(
          "what Linux guests share grows with their number",
          linux.every(({ reclaimed }, i) => i === 0 || reclaimed > linux[i - 1].reclaimed),
          "more with each",
          linux.map(({ reclaimed }) => `${reclaimed.toFixed(1)} %`).join(", "),
        ),
        holds(
          "with a salt for each VM, sharing is within VMs alone",
          salted.reclaimedPages <= saltedMost && salted.reclaimedPages >= 0.99 * salted.exactWithin,
          `${salted.exactWithin} to ${saltedMost} pages`,
          salted.reclaimedPages,
          "X",
        ),
        holds(
          "no two different pages have one hash",
          counters.falseMatches === 0,
          "0 false matches",
          counters.falseMatches,
          "X",
        ),
      ],
      figure: {
        title: "Page sharing in identical VMs (ESX figure 4)",
        panels: [
          {
            title: "MB at the paper's scale",
            x: { name: "VMs", min: 0, max: 10 },
            y: { name: "MB", min: 0, max: 400 },
            series: [
              {
                name: "VM memory",
                origin: "measured",
                shape: "marked",
                colour: 6,
                points: curve(({ total }) => total),
              },
              {
                name: "shared (COW)",
                origin: "measured",
                shape: "marked",
                colour: 0,
                points: curve(({ shared }) => shared),
              },
              {
                name: "reclaimed",
                origin: "measured",
                shape: "marked",
                colour: 1,
                points: curve(({ reclaimed }) => reclaimed),
              },
              { name: "zero pages", origin: "measured", shape: "marked", colour: 2, points: curve(({ zero }) => zero) },
              { name: "VM memory, paper", origin: "paper", shape: "marked", colour: 6, points: paper("total") },
              { name: "shared, paper", origin: "paper", shape: "marked", colour: 0, points: paper("shared") },
              { name: "reclaimed, paper", origin: "paper", shape: "marked", colour: 1, points: paper("reclaimed") },
              { name: "zero, paper", origin: "paper", shape: "marked", colour: 2, points: paper("zero") },
            ],
          },
          {
            title: "Of VM memory",
            x: { name: "VMs", min: 0, max: 10 },
            y: { name: "%", min: 0, max: 80 },
            series: [
              {
                name: "shared",
                origin: "measured",
                shape: "marked",
                colour: 0,
                points: found.map((o) => [o.count, o.part(o.shared)]),
              },
              {
                name: "reclaimed",
                origin: "measured",
                shape: "marked",
                colour: 1,
                points: found.map((o) => [o.count, o.part(o.reclaimed)]),
              },
              {
                name: "exact count",
                origin: "model",
                shape: "points",
                colour: 6,
                points: found.map((o) => [o.count, o.part(o.exact)]),
              },
              {
                name: "shared %, paper",
                origin: "paper",
                shape: "marked",
                colour: 0,
                points: PAPER.total.map((_, i) => [i + 1, paperPart("shared", i + 1)]),
              },
              {
                name: "reclaimed %, paper",
                origin: "paper",
                shape: "marked",
                colour: 1,
                points: PAPER.total.map((_, i) => [i + 1, paperPart("reclaimed", i + 1)]),
              },
              ...(linux.length === 0 ? [] : [
                {
                  name: "shared, Debian guests",
                  origin: "measured" as const,
                  shape: "marked" as const,
                  colour: 5,
                  points: linux.map(({ count, shared }) => [count, shared] as const),
                },
                {
                  name: "reclaimed, Debian guests",
                  origin: "measured" as const,
                  shape: "marked" as const,
                  colour: 4,
                  points: linux.map(({ count, reclaimed }) => [count, reclaimed] as const),
                },
              ]),
            ],
          },
        ],
      },
      notes: [
        "The mix of contents is calibrated: its common part to ten VMs, what a VM shares with itself to one. What two to nine VMs " +
        "share follows from it.",
        "The paper's guests run SPEC95 for 30 minutes; ours keep their contents, so that the exact count is one number.",
        "The scan is faster than by default, so that it needs a minute where the default needs an hour for a VM.",
      ],
    };
  },
});
