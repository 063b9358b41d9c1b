// VMware's balloon protocol as its drivers use it, and as no driver should.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { BALLOON_PORT, Capability, Command, MOST_ENTRIES, Status } from "../../../plugins/balloon/vmware.ts";
import { PAGE_SIZE, PageState } from "../../../plugins/memory/mod.ts";
import { hashOf } from "../pc/harness.ts";
import { makeVmware, PAGES } from "./vmware_driver.ts";

const ALL = Capability.BASIC | Capability.BATCHED | Capability.BATCHED_2M | Capability.SIGNALLED_WAKEUP;
const OFFERED = Capability.BASIC | Capability.BATCHED;

Deno.test("without the magic number, or narrower, the port is one that nobody claimed", () => {
  const { device, registers } = makeVmware();
  assertEquals(device.read(BALLOON_PORT, 4), 0xffff_ffff);
  registers[0] = 0x456c6d6f;
  assertEquals([device.read(BALLOON_PORT, 2), device.read(BALLOON_PORT, 1)], [0xffff, 0xff]);
  assertEquals([...registers.slice(1)], [0, 0, 0, 0, 0, 0, 0]);
});

const starts: readonly [name: string, requested: number, status: number, granted: number, connected: boolean][] = [
  ["everything there is", ALL, Status.SUCCESS_WITH_CAPABILITIES, OFFERED, true],
  ["basic and batched commands", OFFERED, Status.SUCCESS_WITH_CAPABILITIES, OFFERED, true],
  ["batched commands alone", Capability.BATCHED, Status.SUCCESS_WITH_CAPABILITIES, Capability.BATCHED, true],
  ["basic commands alone, as protocol version 2 did", Capability.BASIC, Status.SUCCESS, Command.START, true],
  ["what is not offered", Capability.BATCHED_2M, Status.SUCCESS_WITH_CAPABILITIES, 0, false],
  ["nothing, in leaving", 0, Status.SUCCESS, Command.START, false],
];
for (const [name, requested, status, ecx, connected] of starts) {
  Deno.test(`a driver that asks for ${name} is granted what is offered of it`, () => {
    const { start, device } = makeVmware();
    assertEquals(start(requested), { status, ebx: requested, ecx });
    assertEquals(device.isConnected, connected);
  });
}

Deno.test("before START, and after leaving, every command is answered by RESET", () => {
  const { start, call } = makeVmware();
  for (const before of [() => {}, () => void (start(ALL), start(0))]) {
    before();
    for (let command = Command.GET_TARGET; command <= 12; command++) {
      assertEquals(call(command, 5, 0).status, Status.RESET, `command ${command}`);
    }
  }
});

Deno.test("a locked page's frame is free at once, and unlocked the page reads as zeros", () => {
  const { start, call, fill, guest, machine, contents } = makeVmware(PAGES, 10);
  start();
  fill(7, 0xaa);
  const before = machine.freeFrames;
  assertEquals(call(Command.LOCK, 7, 1), { status: Status.SUCCESS, ebx: 10, ecx: Command.LOCK });
  assertEquals([machine.freeFrames, guest.stateOf(7)], [before + 1, PageState.ballooned]);
  machine.audit();
  assertEquals(call(Command.UNLOCK, 7, 1), { status: Status.SUCCESS, ebx: 10, ecx: Command.UNLOCK });
  assertEquals([machine.freeFrames, guest.stateOf(7)], [before + 1, PageState.absent]);
  assert(contents(7).every((byte) => byte === 0));
  machine.audit();
});

Deno.test("commands are answered by the target, which is the larger of two and never above the cap", () => {
  const { start, call, balloon } = makeVmware(PAGES, 100, 600);
  start();
  const target = () => call(Command.GET_TARGET, PAGES).ebx;
  assertEquals(target(), 100);
  balloon.byAllocator = 300;
  assertEquals(target(), 300);
  balloon.byHand = 5000;
  assertEquals(target(), 600);
  Object.assign(balloon, { byHand: 0, byAllocator: -5 });
  assertEquals(target(), 0);
  assertEquals(call(Command.GUEST_ID, 1), { status: Status.SUCCESS, ebx: 1, ecx: Command.GUEST_ID });
});

const LAST = PAGES - 1;
const refusals: readonly [what: string, command: number, ppn: number, status: number][] = [
  ["locking a page twice", Command.LOCK, 3, Status.PPN_LOCKED],
  ["locking beyond the end of memory", Command.LOCK, PAGES, Status.PPN_INVALID],
  ["locking the last page that 32 bits can name", Command.LOCK, 0xffff_ffff, Status.PPN_INVALID],
  ["unlocking what is not locked", Command.UNLOCK, LAST, Status.PPN_UNLOCKED],
  ["unlocking beyond the end of memory", Command.UNLOCK, PAGES, Status.PPN_INVALID],
  ["command 5, which there is not", 5, 4, Status.CMD_INVALID],
  ["locking large pages, which is not offered", 8, 4, Status.CMD_INVALID],
  ["setting a doorbell, which is not offered", 10, 4, Status.CMD_INVALID],
  ["a command beyond all", 0xffff_ffff, 4, Status.CMD_INVALID],
];
for (const [what, command, ppn, status] of refusals) {
  Deno.test(`${what} is refused and changes nothing`, () => {
    const { start, call, guest, balloon, machine } = makeVmware();
    start();
    call(Command.LOCK, 3);
    assertEquals(call(command, ppn, 1).status, status);
    assertEquals([balloon.actualPages, guest.stateOf(3), guest.stateOf(LAST)], [
      1,
      PageState.ballooned,
      PageState.absent,
    ]);
    machine.audit();
  });
}

Deno.test("commands that were not granted are invalid", () => {
  const { start, call, batch } = makeVmware();
  start(Capability.BASIC);
  assertEquals(batch(Command.BATCHED_LOCK, 1, [5]), { status: Status.CMD_INVALID, entries: [0] });
  assertEquals(call(Command.LOCK, 5).status, Status.SUCCESS);
  start(Capability.BATCHED);
  assertEquals(call(Command.LOCK, 5).status, Status.CMD_INVALID);
  assertEquals(batch(Command.BATCHED_LOCK, 1, [5]), { status: Status.SUCCESS, entries: [0] });
});

Deno.test("a balloon that has its size needs no more pages", () => {
  const { start, call, batch, balloon, counters } = makeVmware(PAGES, 3);
  start();
  assertEquals(batch(Command.BATCHED_LOCK, 0, [10, 11, 12, 13, 14]).entries, [0, 0, 0, 6, 6]);
  assertEquals(call(Command.LOCK, 20).status, Status.PPN_NOTNEEDED);
  balloon.byHand = 4;
  assertEquals(call(Command.LOCK, 20).status, Status.SUCCESS);
  assertEquals([balloon.actualPages, counters.inflatedPages.value, counters.refusedPages.value], [4, 4, 3]);
});

Deno.test("each entry of a batch has a status of its own, and keeps its page number", () => {
  const { start, batch, guest, machine } = makeVmware();
  start();
  const batchPpn = 2;
  assertEquals(batch(Command.BATCHED_LOCK, batchPpn, [10, 10, PAGES, 2 ** 40, batchPpn, 11]), {
    status: Status.SUCCESS,
    entries: [Status.SUCCESS, Status.PPN_LOCKED, Status.PPN_INVALID, Status.PPN_INVALID, Status.PPN_PINNED, 0],
  });
  const entry = new Uint8Array(8);
  guest.read(batchPpn * PAGE_SIZE + 3 * 8, entry);
  assertEquals(new DataView(entry.buffer).getBigUint64(0, true), (2n ** 40n << 12n) | BigInt(Status.PPN_INVALID));
  assertEquals(batch(Command.BATCHED_UNLOCK, batchPpn, [11, 12, 10]).entries, [0, Status.PPN_UNLOCKED, 0]);
  machine.audit();
});

Deno.test("a batch of a page full is served, one of more or from beyond memory is not", () => {
  const { start, call, batch, balloon } = makeVmware();
  start();
  const full = Array.from({ length: MOST_ENTRIES }, (_, i) => 100 + i);
  assertEquals(batch(Command.BATCHED_LOCK, 0, full).entries, full.map(() => 0));
  assertEquals(balloon.actualPages, MOST_ENTRIES);
  assertEquals(call(Command.BATCHED_UNLOCK, 0, MOST_ENTRIES + 1).status, Status.CMD_INVALID);
  assertEquals(call(Command.BATCHED_UNLOCK, PAGES, 1).status, Status.PPN_INVALID);
  assertEquals(call(Command.BATCHED_UNLOCK, 0, 0).status, Status.SUCCESS);
  assertEquals(balloon.actualPages, MOST_ENTRIES);
});

Deno.test("a page that the guest uses is popped: it reads as zeros, and the driver has to start over", () => {
  const { start, call, batch, fill, contents, balloon, device, machine } = makeVmware();
  start();
  for (const ppn of [5, 6, 7]) fill(ppn, ppn);
  assertEquals(batch(Command.BATCHED_LOCK, 0, [5, 6, 7]).entries, [0, 0, 0]);
  assert(contents(6).every((byte) => byte === 0));
  assertEquals([balloon.actualPages, device.isConnected], [2, false]);
  for (const command of [Command.GET_TARGET, Command.UNLOCK, Command.BATCHED_UNLOCK, Command.GUEST_ID]) {
    assertEquals(call(command, 5).status, Status.RESET);
  }
  assertEquals(balloon.actualPages, 2);
  start();
  assertEquals([balloon.actualPages, call(Command.GET_TARGET).status], [0, Status.SUCCESS]);
  machine.audit();
});

Deno.test("a batch page that is in the balloon pops, and nobody else is hurt", () => {
  const { start, call, balloon, machine } = makeVmware();
  start();
  call(Command.LOCK, 9);
  call(Command.BATCHED_LOCK, 9, 2);
  assertEquals(call(Command.GET_TARGET).status, Status.RESET);
  // The two entries were of page 0: the batch page read as zeros.
  assertEquals(balloon.actualPages, 1);
  machine.audit();
});

Deno.test("pages that are shared or of zeros go into the balloon as others do", () => {
  const { start, call, fill, mechanism, vm, machine, guest } = makeVmware();
  start();
  for (const ppn of [1, 2]) fill(ppn, 0x55);
  for (const ppn of [3, 4]) mechanism.mapZero(vm, ppn);
  mechanism.share(vm, 1, mechanism.frameOf(vm, 2) ?? -1);
  for (const ppn of [1, 2, 3, 4, 5]) {
    assertEquals(call(Command.LOCK, ppn).status, Status.SUCCESS);
    machine.audit();
  }
  assertEquals(guest.allocatedPages, 0);
});

Deno.test("requests are charged by the page and end the turn", () => {
  const { start, batch, call, charges, vm } = makeVmware();
  start();
  vm.clock.beginTurn(1000);
  batch(Command.BATCHED_LOCK, 0, [1, 2, 3]);
  assertEquals(vm.clock.deadlineSteps, 0);
  call(Command.UNLOCK, 1);
  start();
  assertEquals(charges, [0, 3, 1, 2]);
});

Deno.test("a saved balloon goes on with its driver and its pages", () => {
  const made = makeVmware();
  made.start();
  made.batch(Command.BATCHED_LOCK, 0, [5, 6]);
  const other = makeVmware();
  other.host.restore(other.vm, made.host.save(made.vm));
  other.device.restore(made.device.save());
  assertEquals(hashOf(other.device), hashOf(made.device));
  assertEquals(other.batch(Command.BATCHED_UNLOCK, 0, [5, 6, 7]).entries, [0, 0, Status.PPN_UNLOCKED]);
  other.device.reset();
  assert(hashOf(other.device) !== hashOf(made.device));
});

/** What a guest may do, in any order. */
type Action =
  | { readonly do: "start"; readonly capabilities: number }
  | { readonly do: "target"; readonly pages: number }
  | { readonly do: "single"; readonly command: number; readonly ppn: number }
  | { readonly do: "batch"; readonly command: number; readonly batchPpn: number; readonly ppns: readonly number[] }
  | { readonly do: "write" | "read"; readonly ppn: number };

const SMALL = 32;
const ppn = fc.integer({ min: 0, max: SMALL + 2 }), inMemory = fc.integer({ min: 0, max: SMALL - 1 });
const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ do: fc.constant("start" as const), capabilities: fc.constantFrom(0, 2, 4, 6, ALL) }),
  fc.record({ do: fc.constant("target" as const), pages: fc.integer({ min: 0, max: SMALL }) }),
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("single" as const), command: fc.integer({ min: 1, max: 5 }), ppn }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("batch" as const),
      command: fc.constantFrom<number>(Command.BATCHED_LOCK, Command.BATCHED_UNLOCK),
      batchPpn: inMemory,
      ppns: fc.array(ppn, { maxLength: 12 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("write" as const, "read" as const), ppn: inMemory }) },
);

Deno.test("whatever a guest sends, its pages hold what it wrote or zeros, and every frame is accounted for", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
      const made = makeVmware(SMALL, SMALL);
      // The model: what each page reads as, and which are in the balloon.
      const written = new Array<number>(SMALL).fill(0), inBalloon = new Set<number>();
      let next = 0;
      const lock = (page: number) => {
        if (page >= SMALL || inBalloon.has(page) || inBalloon.size >= made.balloon.targetPages) return;
        inBalloon.add(page);
        written[page] = 0;
      };
      for (const step of actions) {
        const granted = made.device.isConnected ? (made.device.save() as { capabilities: number }).capabilities : 0;
        switch (step.do) {
          case "start":
            made.start(step.capabilities);
            inBalloon.clear();
            break;
          case "target":
            made.balloon.byHand = step.pages;
            break;
          case "single":
            if (granted & Capability.BASIC && step.command === Command.LOCK) lock(step.ppn);
            if (granted & Capability.BASIC && step.command === Command.UNLOCK) inBalloon.delete(step.ppn);
            made.call(step.command, step.ppn);
            break;
          case "batch": {
            // Writing the entries pops the batch page, and with it the connection.
            const isPopped = inBalloon.delete(step.batchPpn);
            made.batch(step.command, step.batchPpn, step.ppns);
            // The page holds entries: one byte of it does not tell what it is, so it is written anew.
            made.fill(step.batchPpn, written[step.batchPpn] = ++next & 0xff);
            if (isPopped || !(granted & Capability.BATCHED)) break;
            for (const page of step.ppns) {
              if (step.command === Command.BATCHED_UNLOCK) inBalloon.delete(page);
              else if (page !== step.batchPpn) lock(page);
            }
            break;
          }
          case "write":
            inBalloon.delete(step.ppn);
            made.fill(step.ppn, written[step.ppn] = ++next & 0xff);
            break;
          case "read":
            inBalloon.delete(step.ppn);
            assertEquals(made.contents(step.ppn), new Uint8Array(PAGE_SIZE).fill(written[step.ppn]));
        }
        made.machine.audit();
        assertEquals(made.balloon.actualPages, inBalloon.size);
        for (let page = 0; page < SMALL; page++) {
          assertEquals(made.guest.stateOf(page) === PageState.ballooned, inBalloon.has(page), `page ${page}`);
          const [byte = 0] = made.guest.peek(page) ?? [];
          assertEquals(byte, written[page], `page ${page}`);
        }
      }
    }),
    { numRuns: 150 },
  );
});
