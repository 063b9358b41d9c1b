// Admission control: a VM is powered on exactly if its minimum and overhead fit machine memory, and the rest of its maximum the swap
// space (ESX paper, section 6.2).

import { InputError, z } from "../../core/mod.ts";
import { addVm, createHost } from "../../cli/machine.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { type Data, defineExperiment, holds, type PerformContext } from "./framework/definition.ts";

const OVERHEAD_MIB = 2, HOST_MIB = 64, SWAP_MIB = 96, MOST_MIB = 32;

/** One request to power on, and what came of it. */
interface Request {
  readonly min: number;
  readonly max: number;
  readonly isAdmitted: boolean;
  readonly isExpected: boolean;
  /** Reserved afterwards, in MiB. */
  readonly memory: number;
  readonly swap: number;
}

async function powerOn(
  { seed, overrides, breathe }: PerformContext,
  sequences: number,
  requests: number,
): Promise<Data> {
  const found: Request[][] = [];
  let state = seed >>> 0;
  // A small generator of our own: what is asked for must not depend on what is tested.
  const below = (bound: number) => ((state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 8) % bound;
  for (let sequence = 0; sequence < sequences; sequence++) {
    await breathe(sequence / sequences);
    const options = { allocator: { overheadMib: OVERHEAD_MIB, ...overrides.allocator }, swap: { sizeMib: SWAP_MIB } };
    const host = createHost({ memoryMib: HOST_MIB, plugins: [], options });
    // What the hypervisor keeps for itself is no VM's.
    const free = host.service(memory.machine).totalFrames - host.service(memory.machine).frameCounts().hypervisor;
    let memoryLeft = free / memory.FRAMES_PER_MIB, swapLeft: number = SWAP_MIB;
    const sequenceFound: Request[] = [];
    for (let i = 0; i < requests; i++) {
      const max = 4 + below(MOST_MIB - 3), min = below(max + 1);
      const isExpected = min + OVERHEAD_MIB <= memoryLeft && max - min <= swapLeft;
      const isAdmitted = tryToAdd(host, `vm${i}`, min, max);
      if (isAdmitted) {
        memoryLeft -= min + OVERHEAD_MIB;
        swapLeft -= max - min;
      }
      sequenceFound.push({
        min,
        max,
        isAdmitted,
        isExpected,
        memory: HOST_MIB - memoryLeft,
        swap: SWAP_MIB - swapLeft,
      });
    }
    found.push(sequenceFound);
  }
  return { sequences: found };
}

function tryToAdd(host: ReturnType<typeof createHost>, name: string, minMib: number, memoryMib: number): boolean {
  try {
    addVm(host, { name, guest: "idle", minMib, memoryMib });
    return true;
  } catch (cause) {
    if (cause instanceof InputError) return false;
    throw cause;
  }
}

export default defineExperiment({
  name: "admission",
  title: "Admission control",
  source: "ESX paper, section 6.2 (no figure)",
  summary: "random power-ons are refused exactly if minimum and overhead, or the swap space, are not to be had",
  scale:
    `A host of ${HOST_MIB} MiB with ${SWAP_MIB} MiB of swap space, VMs of up to ${MOST_MIB} MiB, ${OVERHEAD_MIB} MiB of overhead each.`,
  knobs: z.strictObject({
    sequences: z.int().min(1).default(100).describe("sequences of power-ons, each on a host of its own"),
    requests: z.int().min(1).max(200).default(20).describe("power-ons in a sequence"),
  }),
  quick: { sequences: 20 },
  seeds: { full: 3, quick: 1 },
  runs: (
    { sequences, requests },
  ) => [{ name: "power-ons", perform: async (context) => ({ data: await powerOn(context, sequences, requests) }) }],
  evaluate({ data }) {
    const sequences = data("power-ons").flatMap((one) => one.sequences as Request[][]), all = sequences.flat();
    const wrong = all.filter(({ isAdmitted, isExpected }) => isAdmitted !== isExpected);
    const refused = all.filter(({ isAdmitted }) => !isAdmitted);
    const [first] = sequences;
    const line = (of: (request: Request) => number) =>
      first.map((request, i): [number, number] => [i + 1, of(request)]);
    return {
      rows: [
        { quantity: "power-ons", unit: "", measured: all.length, verdict: "ours" },
        {
          quantity: "of them refused",
          unit: "",
          model: all.filter(({ isExpected }) => !isExpected).length,
          measured: refused.length,
          verdict: "as modelled",
        },
      ],
      checks: [
        holds(
          "a VM is admitted exactly if what it needs is there",
          wrong.length === 0,
          "0 wrong answers",
          wrong.length,
          "X",
        ),
        holds(
          "some are admitted and some refused",
          refused.length > 0 && refused.length < all.length,
          "both",
          `${refused.length} of ${all.length} refused`,
        ),
      ],
      figure: {
        title: "Admission control",
        panels: [{
          title: "One sequence of power-ons: reserved after each",
          x: { name: "power-on", min: 0, max: first.length + 1 },
          y: { name: "MiB", min: 0, max: SWAP_MIB + 24 },
          series: [
            {
              name: "memory reserved",
              origin: "measured",
              shape: "steps",
              colour: 0,
              points: line(({ memory }) => memory),
            },
            {
              name: "swap space reserved",
              origin: "measured",
              shape: "steps",
              colour: 1,
              points: line(({ swap }) => swap),
            },
            {
              name: "refused: what it would have taken of memory",
              origin: "measured",
              shape: "points",
              colour: 2,
              points: first.flatMap(({ isAdmitted, memory, min }, i): [number, number][] =>
                isAdmitted ? [] : [[i + 1, memory + min + OVERHEAD_MIB]]
              ),
            },
            {
              name: "machine memory",
              origin: "model",
              shape: "line",
              colour: 0,
              points: [[0, HOST_MIB], [first.length + 1, HOST_MIB]],
            },
            {
              name: "swap space",
              origin: "model",
              shape: "line",
              colour: 1,
              points: [[0, SWAP_MIB], [first.length + 1, SWAP_MIB]],
            },
          ],
        }],
      },
      notes: ["A VM below the line of machine memory is refused for the swap space its maximum would need."],
    };
  },
});
