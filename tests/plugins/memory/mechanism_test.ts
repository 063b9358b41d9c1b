// Transitions that page sharing, ballooning and swapping are built from, one by one.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { ListenerError, type Vm } from "../../../core/mod.ts";
import {
  balloonPopped,
  contentsChanged,
  mappingChanged,
  PAGE_SIZE,
  PageState,
  reclaim,
  report,
  sharingEnded,
  written,
} from "../../../plugins/memory/mod.ts";
import { listening, MapSwapFile, memoryHost, PAGE_MIB, pageOf } from "./fixture.ts";

/** Two VMs of eight pages; events are noted as they come. */
function twoVms() {
  const events: string[] = [];
  const memory = memoryHost(
    1,
    listening(({ on }) => {
      on(mappingChanged, ({ vm, ppn }) => void events.push(`changed ${vm.name}/${ppn}`));
      on(sharingEnded, () => void events.push("sharing ended"));
      on(balloonPopped, ({ vm, ppn }) => void events.push(`popped ${vm.name}/${ppn}`));
    }),
  );
  const a = memory.add("a", 8 * PAGE_MIB), b = memory.add("b", 8 * PAGE_MIB);
  const put = (vm: Vm, ppn: number, byte: number) => memory.memoryOf(vm).write(ppn * PAGE_SIZE, pageOf(byte));
  const states = (vm: Vm) => Array.from({ length: 8 }, (_, ppn) => memory.memoryOf(vm).stateOf(ppn));
  return { ...memory, a, b, put, states, events };
}

Deno.test("equal pages share one frame, and writing to one gives it a copy of its own", () => {
  const { a, b, put, mechanism, memoryOf, machine, events, host } = twoVms();
  put(a, 0, 5);
  put(b, 3, 5);
  put(b, 4, 5);
  const mpn = mechanism.frameOf(a, 0) ?? -1;
  events.length = 0;
  assertEquals(mechanism.share(b, 3, mpn), true);
  assertEquals(events, ["changed a/0", "changed b/3"], "both lose the right to write");
  assertEquals(mechanism.share(b, 4, mpn), true);
  assertEquals(mechanism.references(mpn), 3);
  assertEquals([memoryOf(a).isWritable(0), memoryOf(b).isWritable(3)], [false, false]);
  assertEquals(memoryOf(a).stateOf(0), PageState.shared);
  assertEquals(machine.frameCounts(), { free: 255, private: 0, shared: 1, hypervisor: 0 });
  const { sharedFrames, savedFrames, usedFrames } = host.service(report).host();
  assertEquals({ sharedFrames, savedFrames, usedFrames }, { sharedFrames: 1, savedFrames: 2, usedFrames: 1 });
  assertEquals(host.service(report).vm(b).sharedPages, 2);
  machine.audit();

  events.length = 0;
  memoryOf(b).write(3 * PAGE_SIZE + 1, Uint8Array.of(6));
  assertEquals(events, ["changed b/3"]);
  assertEquals(b.chargedNs, 1000, "the copy is charged to the writer");
  assertEquals([...(memoryOf(b).peek(3) ?? []).slice(0, 3)], [5, 6, 5]);
  assertEquals(memoryOf(a).peek(0), pageOf(5));
  assertEquals(memoryOf(b).peek(4), pageOf(5));
  machine.audit();
});

Deno.test("the last page of a shared frame takes it over without a copy", () => {
  const { a, b, put, mechanism, memoryOf, machine, events } = twoVms();
  put(a, 0, 5);
  put(b, 0, 5);
  const mpn = mechanism.frameOf(a, 0) ?? -1;
  mechanism.share(b, 0, mpn);
  mechanism.release(a, 0, PageState.absent);
  assertEquals(mechanism.references(mpn), 1);
  events.length = 0;
  assertEquals(memoryOf(b).frameForWrite(0), mpn);
  assertEquals(events, ["changed b/0", "sharing ended"]);
  assertEquals([a.chargedNs, b.chargedNs], [0, 0]);
  assertEquals(memoryOf(b).isWritable(0), true);
  machine.audit();
});

Deno.test("pages that differ, are not in memory, or name no sharable frame are not shared", () => {
  const { a, b, put, mechanism, memoryOf, machine, states } = twoVms();
  put(a, 0, 5);
  memoryOf(b).write(0, pageOf(5).fill(6, PAGE_SIZE - 1));
  const mpn = mechanism.frameOf(a, 0) ?? -1;
  const hypervisorFrame = mechanism.takeHypervisorFrame();
  memoryOf(b).frameForRead(1);
  const cases: [string, number, number][] = [
    ["contents differ in the last byte", 0, mpn],
    ["the page is absent", 2, mpn],
    ["the frame is the hypervisor's, with equal contents", 1, hypervisorFrame],
    ["the frame is free, with equal contents", 1, 200],
    ["there is no such frame", 1, 256],
    ["there is no such frame", 1, -1],
    ["the frame is the page's own", 1, mechanism.frameOf(b, 1) ?? -1],
  ];
  const before = states(b);
  for (const [reason, ppn, frame] of cases) {
    assertEquals(mechanism.share(b, ppn, frame), false, reason);
    assertEquals(states(b), before, reason);
    machine.audit();
  }
  assertEquals(memoryOf(a).stateOf(0), PageState.private);
});

Deno.test("sharing with the page's own shared frame changes nothing", () => {
  const { a, b, put, mechanism, machine } = twoVms();
  put(a, 0, 5);
  put(b, 0, 5);
  const mpn = mechanism.frameOf(a, 0) ?? -1;
  mechanism.share(b, 0, mpn);
  assertEquals(mechanism.share(b, 0, mpn), true);
  assertEquals(mechanism.references(mpn), 2);
  machine.audit();
});

Deno.test("pages of zeros map one zero frame, which goes with the last of them", () => {
  const { a, b, put, mechanism, memoryOf, machine, host, events } = twoVms();
  put(a, 0, 1);
  put(a, 0, 0);
  put(b, 1, 0);
  put(b, 2, 1);
  assertEquals(mechanism.mapZero(a, 0), true, "lends its own frame");
  assertEquals(machine.frameCounts(), { free: 253, private: 2, shared: 1, hypervisor: 0 });
  assertEquals(mechanism.mapZero(b, 1), true, "gives its frame back");
  assertEquals(mechanism.mapZero(b, 7), true, "had none");
  assertEquals(mechanism.mapZero(b, 7), true, "has it already");
  assertEquals(mechanism.mapZero(b, 2), false, "is not zero");
  const { zeroFrames, sharedFrames, savedFrames } = host.service(report).host();
  assertEquals({ zeroFrames, sharedFrames, savedFrames }, { zeroFrames: 3, sharedFrames: 1, savedFrames: 2 });
  assertEquals(host.service(report).vm(b).zeroPages, 2);
  machine.audit();

  put(b, 1, 3);
  assertEquals(memoryOf(a).peek(0), pageOf(0));
  mechanism.breakSharing(b, 7);
  assertEquals(memoryOf(b).stateOf(7), PageState.private);
  events.length = 0;
  mechanism.breakSharing(a, 0);
  assertEquals(events, ["changed a/0", "sharing ended"]);
  assertEquals(host.service(report).host().zeroFrames, 0);
  machine.audit();
});

Deno.test("an absent page starts the zero frame with one of its own", () => {
  const { a, mechanism, memoryOf, machine } = twoVms();
  assertEquals(mechanism.mapZero(a, 5), true);
  assertEquals(memoryOf(a).stateOf(5), PageState.zero);
  assertEquals(machine.frameCounts().shared, 1);
  machine.audit();
});

Deno.test("breaking what is not shared changes nothing", () => {
  const { a, put, mechanism, machine, states, events } = twoVms();
  put(a, 1, 1);
  mechanism.release(a, 2, PageState.ballooned);
  const before = states(a);
  events.length = 0;
  for (const ppn of [0, 1, 2]) mechanism.breakSharing(a, ppn);
  assertEquals(states(a), before);
  assertEquals(events, []);
  machine.audit();
});

Deno.test("a ballooned page holds no frame; using it pops the balloon and finds zeros", () => {
  const { a, put, mechanism, memoryOf, machine, events, host } = twoVms();
  put(a, 0, 7);
  mechanism.release(a, 0, PageState.ballooned);
  mechanism.release(a, 1, PageState.ballooned);
  assertEquals(memoryOf(a).allocatedPages, 0);
  assertEquals(host.service(report).vm(a).balloonedPages, 2);
  assertEquals(memoryOf(a).peek(0), undefined);
  machine.audit();

  events.length = 0;
  const target = pageOf(1);
  memoryOf(a).read(0, target);
  assertEquals(target, pageOf(0));
  assertEquals(events, ["popped a/0"]);
  mechanism.release(a, 1, PageState.absent);
  assertEquals(memoryOf(a).stateOf(1), PageState.absent);
  machine.audit();
});

Deno.test("a swapped page is in the swap file until it is used, and can be looked at and hashed there", () => {
  const { a, put, mechanism, memoryOf, machine, events, host } = twoVms();
  const swapFile = new MapSwapFile();
  mechanism.setSwapFile(swapFile);
  put(a, 0, 7);
  put(a, 1, 8);
  const hash = host.stateHash(a);
  events.length = 0;
  mechanism.release(a, 0, PageState.swapped);
  assertEquals(events, ["changed a/0"]);
  assertEquals(memoryOf(a).peek(0), pageOf(7));
  assertEquals(host.stateHash(a), hash);
  assertEquals(host.service(report).host().swappedPages, 1);
  assertEquals(memoryOf(a).stateOf(0), PageState.swapped);
  machine.audit();

  const mpn = memoryOf(a).frameForRead(0);
  assertEquals(machine.bytes.slice(mpn * PAGE_SIZE, (mpn + 1) * PAGE_SIZE), pageOf(7));
  mechanism.release(a, 1, PageState.swapped);
  mechanism.release(a, 1, PageState.absent);
  assertEquals(swapFile.forgotten, ["a/0 read", "a/1 dropped"]);
  machine.audit();
});

Deno.test("swapping one sharer out leaves the others their frame", () => {
  const { a, b, put, mechanism, memoryOf, machine } = twoVms();
  mechanism.setSwapFile(new MapSwapFile());
  put(a, 0, 7);
  put(b, 0, 7);
  mechanism.share(b, 0, mechanism.frameOf(a, 0) ?? -1);
  mechanism.release(a, 0, PageState.swapped);
  assertEquals(memoryOf(b).peek(0), pageOf(7));
  put(b, 0, 9);
  assertEquals(memoryOf(a).peek(0), pageOf(7));
  machine.audit();
});

Deno.test("pages without contents cannot be swapped out, nor any page without a swap file", () => {
  const { a, put, mechanism, memoryOf, machine } = twoVms();
  put(a, 0, 7);
  assertThrows(() => mechanism.release(a, 0, PageState.swapped), Error, "no plugin keeps swapped pages");
  mechanism.setSwapFile(new MapSwapFile());
  assertThrows(() => mechanism.setSwapFile(new MapSwapFile()), Error, "have a keeper already");
  mechanism.release(a, 2, PageState.ballooned);
  for (const ppn of [1, 2]) {
    assertThrows(() => mechanism.release(a, ppn, PageState.swapped), Error, "has no frame to swap out");
  }
  assertEquals(memoryOf(a).peek(0), pageOf(7));
  machine.audit();
});

Deno.test("a swap file that fails leaves page and frame as they were", () => {
  const { a, put, mechanism, memoryOf, machine } = twoVms();
  const swapFile = new MapSwapFile();
  mechanism.setSwapFile(swapFile);
  put(a, 0, 7);
  const { write, read } = swapFile;
  swapFile.write = () => {
    throw new Error("disk full");
  };
  assertThrows(() => mechanism.release(a, 0, PageState.swapped), Error, "disk full");
  assertEquals(memoryOf(a).stateOf(0), PageState.private);
  machine.audit();

  swapFile.write = write;
  mechanism.release(a, 0, PageState.swapped);
  swapFile.read = () => {
    throw new Error("disk gone");
  };
  assertThrows(() => memoryOf(a).frameForRead(0), Error, "disk gone");
  machine.audit();
  swapFile.read = read;
  assertEquals(memoryOf(a).peek(0), pageOf(7));
});

Deno.test("a reclaimer may take the very page whose sharing is being broken", () => {
  const swapFile = new MapSwapFile();
  const { add, memoryOf, machine, mechanism, host } = memoryHost(
    1,
    listening(({ on }) =>
      on(reclaim, ({ vm, ppn }) => {
        mechanism.release(vm, ppn, PageState.swapped);
        mechanism.release(host.vms[0], 1, PageState.swapped);
        return true;
      })
    ),
  );
  mechanism.setSwapFile(swapFile);
  const vm = add("a", 1);
  for (const ppn of [0, 1, 2]) memoryOf(vm).write(ppn * PAGE_SIZE, pageOf(ppn === 1 ? 1 : 5));
  mechanism.share(vm, 2, mechanism.frameOf(vm, 0) ?? -1);
  while (machine.freeFrames > 0) mechanism.takeHypervisorFrame();
  memoryOf(vm).write(2 * PAGE_SIZE, Uint8Array.of(6));
  assertEquals([...(memoryOf(vm).peek(2) ?? []).slice(0, 2)], [6, 5]);
  assertEquals(memoryOf(vm).peek(0), pageOf(5));
  assertEquals(memoryOf(vm).peek(1), pageOf(1));
  machine.audit();
});

Deno.test("a restored VM has its contents, states and host-side bits, whatever happened in between", () => {
  const { a, b, put, mechanism, memoryOf, machine, host } = twoVms();
  mechanism.setSwapFile(new MapSwapFile());
  put(a, 0, 1);
  put(a, 1, 2);
  put(b, 1, 2);
  put(a, 2, 3);
  mechanism.share(b, 1, mechanism.frameOf(a, 1) ?? -1);
  mechanism.release(a, 2, PageState.swapped);
  mechanism.release(a, 3, PageState.ballooned);
  mechanism.mapZero(a, 4);
  memoryOf(a).frameForRead(5);
  const saved = structuredClone(host.save(a));
  const hash = host.stateHash(a);

  put(a, 0, 9);
  put(a, 1, 9);
  put(a, 2, 9);
  put(a, 3, 9);
  put(a, 7, 9);
  mechanism.release(a, 0, PageState.swapped);
  host.restore(a, saved);
  assertEquals([0, 5].map((ppn) => memoryOf(a).isWritable(ppn)), [true, false]);
  assertEquals(host.stateHash(a), hash);
  assertEquals(
    Array.from({ length: 8 }, (_, ppn) => memoryOf(a).stateOf(ppn)),
    [
      PageState.private,
      PageState.private,
      PageState.private,
      PageState.ballooned,
      PageState.zero,
      PageState.private,
      PageState.absent,
      PageState.absent,
    ],
  );
  assertEquals(memoryOf(b).peek(1), pageOf(2));
  machine.audit();

  host.restore(b, saved);
  assertEquals(host.stateHash(b), hash, "another VM of the same size can take it over");
  machine.audit();
});

Deno.test("memory of another size is not restored", () => {
  const { host, add } = memoryHost(1);
  const a = add("a", PAGE_MIB), b = add("b", 2 * PAGE_MIB);
  assertThrows(() => host.restore(b, host.save(a)), Error, "has 1 pages; it has 2");
});

/** Transitions between page states, from pages 0 of both VMs, which are equal. */
const transitions: readonly [what: string, run: (memory: ReturnType<typeof twoVms>) => void][] = [
  ["share", ({ a, b, mechanism }) => mechanism.share(b, 0, mechanism.frameOf(a, 0) ?? -1)],
  ["break sharing", (memory) => (shareFirst(memory), memory.mechanism.breakSharing(memory.b, 0))],
  ["write to the last page of a shared frame", (memory) => {
    shareFirst(memory);
    memory.mechanism.release(memory.b, 0, PageState.absent);
    memory.put(memory.a, 0, 7);
  }],
  ["free the last page of a shared frame", (memory) => {
    shareFirst(memory);
    memory.mechanism.release(memory.b, 0, PageState.absent);
    memory.mechanism.release(memory.a, 0, PageState.absent);
  }],
  ["swap the last page of a shared frame", (memory) => {
    shareFirst(memory);
    memory.mechanism.release(memory.b, 0, PageState.absent);
    memory.mechanism.release(memory.a, 0, PageState.swapped);
  }],
  ["share the last page of a shared frame with another", (memory) => {
    const { a, b, put, mechanism } = memory;
    shareFirst(memory);
    put(b, 1, 5);
    mechanism.release(b, 0, PageState.absent);
    mechanism.share(a, 0, mechanism.frameOf(b, 1) ?? -1);
  }],
  ["use a frame again", ({ a, b, put, mechanism }) => {
    mechanism.release(a, 0, PageState.absent);
    put(b, 1, 7);
  }],
  ["balloon", ({ a, mechanism }) => mechanism.release(a, 0, PageState.ballooned)],
  ["use a ballooned page", ({ a, put, mechanism }) => {
    mechanism.release(a, 0, PageState.ballooned);
    put(a, 0, 7);
  }],
  ["swap", ({ a, mechanism }) => mechanism.release(a, 0, PageState.swapped)],
  [
    "map zeros",
    ({ a, put, mechanism }) => (put(a, 1, 0), put(a, 2, 0), mechanism.mapZero(a, 1), mechanism.mapZero(a, 2)),
  ],
];

function shareFirst({ a, b, mechanism }: ReturnType<typeof twoVms>): void {
  mechanism.share(b, 0, mechanism.frameOf(a, 0) ?? -1);
}

for (const [what, run] of transitions) {
  Deno.test(`a listener that throws, at any event, leaves pages and frames consistent: ${what}`, () => {
    const tokens = [mappingChanged, sharingEnded, balloonPopped, written, contentsChanged];
    const thrown = tokens.map((token) => {
      for (let after = 0;; after++) {
        const memory = twoVms(), { a, b, put, host, machine, mechanism } = memory;
        mechanism.setSwapFile(new MapSwapFile());
        put(a, 0, 5);
        put(b, 0, 5);
        let calls = 0;
        host.bus.on(token, "broken", () => {
          if (calls++ === after) throw new RangeError("oops");
        });
        try {
          run(memory);
        } catch (cause) {
          assertEquals(cause instanceof ListenerError && cause.event, token.name);
        }
        machine.audit();
        if (calls <= after) return after;
      }
    });
    assert(thrown.some((count) => count > 0), "no event was thrown at");
  });
}
