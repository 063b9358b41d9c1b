// The audit is believed only because it catches what is planted here.

import { assertThrows } from "@std/assert";
import { Vm } from "../../../core/mod.ts";
import { audit } from "../../../plugins/memory/audit.ts";
import { FrameState, FrameTable } from "../../../plugins/memory/frames.ts";
import { makeMechanism } from "../../../plugins/memory/mechanism.ts";
import { PageState, type SwapFile } from "../../../plugins/memory/mod.ts";
import { Pmap } from "../../../plugins/memory/pmap.ts";
import { vmConfig } from "../../core/fake_executor.ts";
import { MapSwapFile } from "./fixture.ts";

/** Two VMs with a page in every state: a has 0 private, 1 shared, 2 zero, 3 ballooned, 4 swapped; b shares 0, 1 is private. */
function sound() {
  const frames = new FrameTable(1, { recycled() {}, sharingEnded() {} });
  const swapFile = new MapSwapFile();
  const pmaps = new Map<number, Pmap>();
  const domain = { frames, pmaps, swapFile: swapFile as SwapFile | undefined };
  const surroundings = {
    frames,
    swapFile,
    mappingChanged() {},
    contentsChanged() {},
    written() {},
    balloonPopped() {},
    reclaim: () => false,
    chargeCopy() {},
  };
  const [a, b] = ["a", "b"].map((name, id) => {
    const pmap = new Pmap(new Vm(id, vmConfig(name)), 8, surroundings);
    pmaps.set(id, pmap);
    return pmap;
  });
  const mechanism = makeMechanism(domain);
  for (const ppn of [0, 1, 4]) a.write(ppn * 4096, Uint8Array.of(ppn + 1));
  b.write(0, Uint8Array.of(2));
  b.frameForWrite(1);
  mechanism.share(b.vm, 0, a.mpns[1]);
  mechanism.mapZero(a.vm, 2);
  mechanism.release(a.vm, 3, PageState.ballooned);
  mechanism.release(a.vm, 4, PageState.swapped);
  const hypervisorFrame = mechanism.takeHypervisorFrame();
  const check = () => audit(frames, pmaps.values(), swapFile);
  check();
  return { frames, swapFile, pmaps, a, b, hypervisorFrame, check };
}

type Sound = ReturnType<typeof sound>;

const corruptions: { what: string; plant: (sound: Sound) => void; message: string }[] = [
  {
    what: "a private frame that two pages hold",
    plant: ({ a, b }) => b.mpns[1] = a.mpns[0],
    message: "belongs to page 0 of VM number 0",
  },
  {
    what: "a frame lost by its page",
    plant: ({ a }) => {
      a.mpns[0] = -1;
      a.info[0] = PageState.absent;
      a.counts[PageState.private]--;
      a.counts[PageState.absent]++;
    },
    message: "is mapped by 0 pages; by its state it is mapped by 1",
  },
  {
    what: "a reference too many",
    plant: ({ frames, a }) => frames.referenceCounts[a.mpns[1]]++,
    message: "is mapped by 2 pages; by its state it is mapped by 3",
  },
  {
    what: "a reference too few",
    plant: ({ frames, a }) => frames.referenceCounts[a.mpns[1]]--,
    message: "is mapped by 2 pages; by its state it is mapped by 1",
  },
  {
    what: "an absent page that holds a frame",
    plant: ({ a, b }) => a.mpns[6] = b.mpns[1],
    message: "(absent) holds frame",
  },
  {
    what: "a ballooned page that holds a frame",
    plant: ({ a, b }) => a.mpns[3] = b.mpns[1],
    message: "(ballooned) holds frame",
  },
  {
    what: "a frame that does not exist",
    plant: ({ a }) => a.mpns[0] = 256,
    message: "names frame 256, which does not exist",
  },
  {
    what: "a private page on a shared frame",
    plant: ({ a }) => a.mpns[0] = a.mpns[1],
    message: "which is not private",
  },
  {
    what: "a shared page on a private frame",
    plant: ({ a, b }) => a.mpns[1] = b.mpns[1],
    message: "which is not shared",
  },
  {
    what: "a page on a hypervisor frame",
    plant: ({ b, hypervisorFrame }) => b.mpns[1] = hypervisorFrame,
    message: "which is not private",
  },
  {
    what: "a page in another state than the totals say",
    plant: ({ a }) => a.info[3] = PageState.absent,
    message: 'pages of VM "a" are absent, but the total says',
  },
  {
    what: "a page in no state",
    plant: ({ a }) => a.info[3] = 7,
    message: "has no state",
  },
  {
    what: "a zero page on another frame",
    plant: ({ a }) => a.mpns[2] = a.mpns[1],
    message: "the zero frame is",
  },
  {
    what: "a zero frame that was written to",
    plant: ({ frames }) => frames.bytesOf(frames.zeroFrame)[4095] = 1,
    message: "holds other than zeros",
  },
  {
    what: "a frame in another state than the totals say",
    plant: ({ frames }) => frames.states[255] = FrameState.hypervisor,
    message: "frames are free, but the total says",
  },
  {
    what: "a free list that runs in a circle",
    plant: ({ frames }) => {
      const [first, second] = [frames.allocateForHypervisor(), frames.allocateForHypervisor()];
      frames.free(first);
      frames.free(second);
      frames.nextFree[first] = second;
    },
    message: "the free list runs in a circle",
  },
  {
    what: "a free list that lost a frame",
    plant: ({ frames }) => {
      const [first, second] = [frames.allocateForHypervisor(), frames.allocateForHypervisor()];
      frames.free(first);
      frames.free(second);
      frames.nextFree[second] = -1;
    },
    message: "are listed as free",
  },
  {
    what: "a swapped page that the swap file lost",
    plant: ({ swapFile }) => swapFile.pages.clear(),
    message: "is not swapped out",
  },
  {
    what: "a page in the swap file that is not swapped",
    plant: ({ swapFile, a }) => swapFile.write(a.vm, 0, new Uint8Array(4096)),
    message: "is kept in the swap file",
  },
  {
    what: "a VM whose frames nobody accounts for",
    plant: ({ pmaps }) => void pmaps.delete(1),
    message: "is mapped by",
  },
];

for (const { what, plant, message } of corruptions) {
  Deno.test(`the audit finds ${what}`, () => {
    const state = sound();
    plant(state);
    assertThrows(state.check, Error, message);
  });
}
