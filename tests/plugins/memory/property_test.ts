// Law 3 and 4 as a property: whatever is done to the pages of several VMs, by guests, devices and mechanisms, with little
// machine memory and a reclaimer that swaps, every page reads as a plain model says and the audit holds after each step;
// the state hash, kept as pages change, is that of the contents however often it was taken in between.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { SavedVm, Vm } from "../../../core/mod.ts";
import { PAGE_SIZE, PageState, reclaim, sharingEnded } from "../../../plugins/memory/mod.ts";
import { listening, MapSwapFile, memoryHost, PAGE_MIB, pageOf } from "./fixture.ts";

// Few enough that operations meet on the same pages, and fewer frames than pages.
const VMS = 2, PAGES = 3, FRAMES = 4;
const HALF = PAGE_SIZE / 2;
const FRAMES_OF_HOST = 256;

/** What a page holds (each half one byte all over), whether the guest has it, and its host-side bits. */
interface ModelPage {
  halves: [number, number];
  ballooned: boolean;
  accessed: boolean;
  dirty: boolean;
}

interface System {
  readonly model: ModelPage[][];
  readonly memory: ReturnType<typeof memoryHost>;
  readonly vms: readonly Vm[];
  readonly saved: (SavedVm | undefined)[];
  readonly savedModel: ModelPage[][];
}

/** VMs of a few pages each, on machine memory of which almost all frames are taken. */
function makeSystem(): System {
  const memory = memoryHost(
    1,
    listening(({ on, host }) => {
      on(sharingEnded, ({ mpn }) => assert(memory.mechanism.references(mpn) <= 1));
      on(reclaim, () => {
        for (const vm of host.vms) {
          for (let ppn = PAGES - 1; ppn >= 0; ppn--) {
            if (memory.mechanism.frameOf(vm, ppn) === undefined) continue;
            memory.mechanism.release(vm, ppn, PageState.swapped);
            // Out of memory, its bits are gone with it.
            Object.assign(system.model[vm.id][ppn], { accessed: false, dirty: false });
            if (memory.machine.freeFrames > 0) return true;
          }
        }
        return undefined;
      });
    }),
  );
  memory.mechanism.setSwapFile(new MapSwapFile());
  for (let i = FRAMES; i < FRAMES_OF_HOST; i++) memory.mechanism.takeHypervisorFrame();
  const vms = Array.from({ length: VMS }, (_, i) => memory.add(`vm${i}`, PAGES * PAGE_MIB));
  const untouched = (): ModelPage => ({ halves: [0, 0], ballooned: false, accessed: false, dirty: false });
  const model = vms.map(() => Array.from({ length: PAGES }, untouched));
  const system: System = { model, memory, vms, saved: [], savedModel: [] };
  return system;
}

type Place = readonly [vm: number, ppn: number];
type Operation = (system: System) => void;

const place = fc.tuple(fc.nat(VMS - 1), fc.nat(PAGES - 1));
const half = fc.constantFrom(0, 1);
const byte = fc.nat(1);

const contentsOf = ({ halves: [low, high] }: ModelPage) => pageOf(low).fill(high, HALF);

/** The guest or a device uses a page: a ballooned one becomes zeros again. */
function use({ model }: System, [vm, ppn]: Place, dirty: boolean): ModelPage {
  const page = model[vm][ppn];
  if (page.ballooned) Object.assign(page, { halves: [0, 0], ballooned: false });
  page.accessed = true;
  page.dirty ||= dirty;
  return page;
}

const isIn = ({ memory, vms }: System, [vm, ppn]: Place) => memory.mechanism.frameOf(vms[vm], ppn) !== undefined;
const stateAt = ({ memory, vms }: System, [vm, ppn]: Place) => memory.memoryOf(vms[vm]).stateOf(ppn);

const isWritable = ({ memory, vms }: System, [vm, ppn]: Place) => memory.memoryOf(vms[vm]).isWritable(ppn);

const operations: Record<string, fc.Arbitrary<Operation>> = {
  deviceWrite: fc.tuple(place, half, byte).map(([at, which, value]) => (system) => {
    const source = pageOf(value).subarray(0, HALF);
    system.memory.memoryOf(system.vms[at[0]]).write(at[1] * PAGE_SIZE + which * HALF, source);
    use(system, at, true).halves[which] = value;
    assert(isWritable(system, at));
  }),
  processorWrite: fc.tuple(place, half, byte).map(([at, which, value]) => (system) => {
    const { memory, vms } = system;
    const mpn = memory.memoryOf(vms[at[0]]).frameForWrite(at[1]);
    const start = mpn * PAGE_SIZE + which * HALF;
    memory.machine.bytes.fill(value, start, start + HALF);
    use(system, at, true).halves[which] = value;
    assert(isWritable(system, at));
  }),
  processorRead: place.map((at) => (system) => {
    const { memory, vms } = system;
    const mpn = memory.memoryOf(vms[at[0]]).frameForRead(at[1]);
    const expected = contentsOf(use(system, at, false));
    assertEquals(memory.machine.bytes.slice(mpn * PAGE_SIZE, (mpn + 1) * PAGE_SIZE), expected);
  }),
  share: fc.tuple(place, place).map(([at, other]) => (system) => {
    const { memory, vms, model } = system;
    const mpn = memory.mechanism.frameOf(vms[other[0]], other[1]);
    if (mpn === undefined) return;
    const same = `${model[at[0]][at[1]].halves}` === `${model[other[0]][other[1]].halves}`;
    const own = at[0] === other[0] && at[1] === other[1] && stateAt(system, at) === PageState.private;
    const expected = same && isIn(system, at) && !own;
    assertEquals(memory.mechanism.share(vms[at[0]], at[1], mpn), expected);
    if (expected) assertEquals(memory.mechanism.frameOf(vms[at[0]], at[1]), mpn);
  }),
  mapZero: place.map((at) => (system) => {
    const { memory, vms, model } = system;
    const state = stateAt(system, at);
    const expected = (isIn(system, at) && `${model[at[0]][at[1]].halves}` === "0,0") || state === PageState.absent;
    assertEquals(memory.mechanism.mapZero(vms[at[0]], at[1]), expected);
    if (expected) assertEquals(stateAt(system, at), PageState.zero);
  }),
  breakSharing: place.map((at) => (system) => {
    const wasIn = isIn(system, at);
    system.memory.mechanism.breakSharing(system.vms[at[0]], at[1]);
    if (wasIn) assertEquals(stateAt(system, at), PageState.private);
  }),
  balloon: place.map((at) => ({ memory, vms, model }) => {
    memory.mechanism.release(vms[at[0]], at[1], PageState.ballooned);
    Object.assign(model[at[0]][at[1]], { halves: [0, 0], ballooned: true, accessed: false, dirty: false });
  }),
  forget: place.map((at) => ({ memory, vms, model }) => {
    memory.mechanism.release(vms[at[0]], at[1], PageState.absent);
    Object.assign(model[at[0]][at[1]], { halves: [0, 0], ballooned: false, accessed: false, dirty: false });
  }),
  swapOut: place.map((at) => (system) => {
    if (!isIn(system, at)) return;
    system.memory.mechanism.release(system.vms[at[0]], at[1], PageState.swapped);
    Object.assign(system.model[at[0]][at[1]], { accessed: false, dirty: false });
  }),
  hash: fc.nat(VMS - 1).map((vm) => (system) => {
    system.memory.host.stateHash(system.vms[vm]);
    // Nobody may write to a page now without its being noted.
    for (let ppn = 0; ppn < PAGES; ppn++) assert(!isWritable(system, [vm, ppn]));
  }),
  save: fc.nat(VMS - 1).map((vm) => ({ memory, vms, model, saved, savedModel }) => {
    saved[vm] = memory.host.save(vms[vm]);
    savedModel[vm] = structuredClone(model[vm]);
  }),
  restore: fc.nat(VMS - 1).map((vm) => ({ memory, vms, model, saved, savedModel }) => {
    const state = saved[vm];
    if (state === undefined) return;
    memory.host.restore(vms[vm], state);
    for (const [ppn, page] of savedModel[vm].entries()) Object.assign(model[vm][ppn], structuredClone(page));
  }),
};

/** Every page reads as the model says, without being touched, and every total adds up. */
function check(system: System): void {
  const { memory, vms, model } = system;
  memory.machine.audit();
  for (const [i, vm] of vms.entries()) {
    for (const [ppn, page] of model[i].entries()) {
      const contents = memory.memoryOf(vm).peek(ppn) ?? pageOf(0);
      const [low, high] = page.halves;
      assert(
        contents.every((value, i) => value === (i < HALF ? low : high)),
        `the halves of page ${ppn} of ${vm.name} are not all ${low} and ${high}`,
      );
      assertEquals(stateAt(system, [i, ppn]) === PageState.ballooned, page.ballooned);
      const isOwn = stateAt(system, [i, ppn]) === PageState.private;
      if (isWritable(system, [i, ppn])) assert(page.accessed && page.dirty && isOwn);
    }
  }
}

Deno.test("random operations of guests, devices and mechanisms agree with a plain model of memory", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(...Object.values(operations)), { minLength: 1, maxLength: 80, size: "max" }),
      (sequence) => {
        const system = makeSystem();
        for (const operation of sequence) {
          operation(system);
          check(system);
        }
        // The same contents, put into fresh machines in one go, hash the same.
        const { host, add, memoryOf } = memoryHost(1);
        for (const [i, pages] of system.model.entries()) {
          const vm = add(`fresh${i}`, PAGES * PAGE_MIB);
          for (const [ppn, page] of pages.entries()) memoryOf(vm).write(ppn * PAGE_SIZE, contentsOf(page));
          assertEquals(system.memory.host.stateHash(system.vms[i]), host.stateHash(vm));
        }
      },
    ),
    { numRuns: 300, seed: 20260101 },
  );
});
