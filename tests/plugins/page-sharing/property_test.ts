// Laws 3 and 4 as a property: whatever guests, devices, balloons, swapping and the scanner do to pages of several VMs, in any
// order, with whole or cut hashes and any salt, every page reads as a plain model says and both audits hold after each step.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { SavedVm, Vm } from "../../../core/mod.ts";
import { FRAMES_PER_MIB, PAGE_SIZE, PageState } from "../../../plugins/memory/mod.ts";
import { type SharingHost, sharingHost } from "./fixture.ts";

// Few enough that operations meet on the same pages, and fewer frames than pages.
const VMS = 3, PAGES = 4, FRAMES = 7;
const PAGE_MIB = PAGE_SIZE / 2 ** 20;
const VALUES = 4;
const GROUPS = [undefined, "a", "a"];
const SALTS: readonly string[] = ["none", "group", "vm"];

interface ModelPage {
  /** Every byte of the page. */
  value: number;
  ballooned: boolean;
}

interface System {
  readonly memory: SharingHost;
  readonly vms: readonly Vm[];
  readonly model: ModelPage[][];
  readonly saved: (readonly [SavedVm, ModelPage[]] | undefined)[];
}

function makeSystem(hashBits: number, salt: string): System {
  const memory = sharingHost(1, { options: { hashBits, salt } });
  const vms = GROUPS.map((group, i) => memory.add(`vm${i}`, PAGES * PAGE_MIB, group));
  const reserved = memory.machine.frameCounts().hypervisor;
  for (let i = reserved + FRAMES; i < FRAMES_PER_MIB; i++) memory.mechanism.takeHypervisorFrame();
  const model = vms.map(() => Array.from({ length: PAGES }, () => ({ value: 0, ballooned: false })));
  return { memory, vms, model, saved: [] };
}

type Operation = (system: System) => void;

const place = fc.tuple(fc.nat(VMS - 1), fc.nat(PAGES - 1));
const value = fc.nat(VALUES - 1);

const pageOf = (value: number) => new Uint8Array(PAGE_SIZE).fill(value);

/** Whether two VMs may share, by the rules of salting. */
function mayShare(salt: string, a: number, b: number): boolean {
  if (a === b || salt === "none") return true;
  return GROUPS[a] === GROUPS[b] && (salt === "group" || GROUPS[a] !== undefined);
}

const scan = place.map(([vm, ppn]): Operation => ({ memory, vms }) => {
  const { freeFrames } = memory.machine;
  const state = memory.memoryOf(vms[vm]).stateOf(ppn);
  const result = memory.sharing.scan(vms[vm], ppn);
  const now = memory.memoryOf(vms[vm]).stateOf(ppn);
  if (result === "merged") assertEquals([now, memory.machine.freeFrames], [PageState.shared, freeFrames + 1]);
  else if (result === "zero") assertEquals(now, PageState.zero);
  else assertEquals([now, memory.machine.freeFrames], [state, freeFrames]);
});

const others = fc.oneof(
  fc.tuple(place, value).map(([[vm, ppn], value]): Operation => ({ memory, vms, model }) => {
    const mpn = memory.memoryOf(vms[vm]).frameForWrite(ppn);
    memory.machine.bytes.fill(value, mpn * PAGE_SIZE, (mpn + 1) * PAGE_SIZE);
    model[vm][ppn] = { value, ballooned: false };
  }),
  fc.tuple(place, value).map(([[vm, ppn], value]): Operation => ({ memory, vms, model }) => {
    memory.memoryOf(vms[vm]).write(ppn * PAGE_SIZE, pageOf(value));
    model[vm][ppn] = { value, ballooned: false };
  }),
  place.map(([vm, ppn]): Operation => ({ memory, vms, model }) => {
    const mpn = memory.memoryOf(vms[vm]).frameForRead(ppn);
    model[vm][ppn].ballooned = false;
    assertEquals(memory.machine.bytes[mpn * PAGE_SIZE], model[vm][ppn].value);
  }),
  fc.tuple(place, fc.constantFrom(PageState.ballooned, PageState.absent)).map(
    ([[vm, ppn], state]): Operation => ({ memory, vms, model }) => {
      memory.mechanism.release(vms[vm], ppn, state);
      model[vm][ppn] = { value: 0, ballooned: state === PageState.ballooned };
    },
  ),
  place.map(([vm, ppn]): Operation => ({ memory, vms }) => {
    if (memory.mechanism.frameOf(vms[vm], ppn) !== undefined) {
      memory.mechanism.release(vms[vm], ppn, PageState.swapped);
    }
  }),
  fc.tuple(fc.nat(VMS - 1), fc.integer({ min: 1, max: PAGES })).map(([vm, count]): Operation => ({ memory, vms }) => {
    memory.pager.pageOut(vms[vm], count);
  }),
  place.map(([vm, ppn]): Operation => ({ memory, vms }) => memory.mechanism.breakSharing(vms[vm], ppn)),
  fc.nat(VMS - 1).map((vm): Operation => ({ memory, vms }) => void memory.host.stateHash(vms[vm])),
  fc.nat(VMS - 1).map((vm): Operation => ({ memory, vms, model, saved }) => {
    saved[vm] = [memory.host.save(vms[vm]), structuredClone(model[vm])];
  }),
  fc.nat(VMS - 1).map((vm): Operation => ({ memory, vms, model, saved }) => {
    const state = saved[vm];
    if (state === undefined) return;
    memory.host.restore(vms[vm], state[0]);
    model[vm] = structuredClone(state[1]);
  }),
);

const operation = fc.oneof(
  { arbitrary: others, weight: 3 },
  { arbitrary: scan, weight: 2 },
  { arbitrary: fc.constant(({ memory }: System) => memory.sharing.scanAll()), weight: 1 },
);

function check({ memory, vms, model }: System, salt: string): void {
  memory.audit();
  const owners = new Map<number, number>();
  for (const [i, vm] of vms.entries()) {
    const pages = memory.memoryOf(vm);
    for (const [ppn, { value, ballooned }] of model[i].entries()) {
      const contents = pages.peek(ppn) ?? pageOf(0);
      assert(contents.every((byte) => byte === value), `page ${ppn} of ${vm.name} is not all ${value}`);
      assertEquals(pages.stateOf(ppn) === PageState.ballooned, ballooned);
      const mpn = memory.mechanism.frameOf(vm, ppn);
      if (mpn === undefined || pages.stateOf(ppn) === PageState.zero) continue;
      const owner = owners.get(mpn) ?? i;
      assert(mayShare(salt, owner, i), `${vm.name} shares with vm${owner}, against salt ${salt}`);
      owners.set(mpn, i);
    }
  }
}

for (const hashBits of [64, 1]) {
  Deno.test(`random operations agree with a plain model, with hashes of ${hashBits} bits`, () => {
    const sequence = fc.array(operation, { minLength: 1, maxLength: 80, size: "max" });
    fc.assert(
      fc.property(fc.constantFrom(...SALTS), sequence, (salt, operations) => {
        const system = makeSystem(hashBits, salt);
        for (const operate of operations) {
          operate(system);
          check(system, salt);
        }
      }),
      { numRuns: 150, seed: 20260103 },
    );
  });
}

Deno.test("after a full scan no two pages that may share have equal contents in two frames", () => {
  fc.assert(
    fc.property(fc.constantFrom(...SALTS), fc.array(operation, { maxLength: 60, size: "max" }), (salt, operations) => {
      const system = makeSystem(64, salt), { memory, vms, model } = system;
      for (const operate of operations) operate(system);
      memory.sharing.scanAll();
      const frames = new Map<string, number>();
      for (const [i, vm] of vms.entries()) {
        for (const [ppn, { value }] of model[i].entries()) {
          const mpn = memory.mechanism.frameOf(vm, ppn);
          if (mpn === undefined) continue;
          for (const j of vms.keys()) {
            const other = frames.get(`${value}/${j}`);
            if (other !== undefined && (value === 0 || mayShare(salt, i, j))) assertEquals(mpn, other);
          }
          frames.set(`${value}/${i}`, mpn);
        }
      }
    }),
    { numRuns: 150, seed: 20260104 },
  );
});
