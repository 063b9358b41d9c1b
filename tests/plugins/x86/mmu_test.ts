// The MMU by itself: look-ups that may not raise, accesses that do, device memory that comes and goes.

import { assert, assertEquals } from "@std/assert";
import { definePlugin } from "../../../core/mod.ts";
import { GuestFault } from "../../../plugins/x86/fault.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { Arena } from "../bt/arena.ts";
import { L } from "../bt/arena_layout.ts";

const S = x86.state;
const NOTHING = -1;

/** An arena with paging on at CPL 3, and the faults that it tells. */
function listeningArena(): { arena: Arena; faults: string[] } {
  const arena = new Arena(), faults: string[] = [];
  const listener = definePlugin({
    name: "listener",
    requires: ["x86"],
    setup: ({ on }) => {
      on(x86.translated, (event) => {
        if (event.what === "fault") faults.push(`${event.linear.toString(16)} ${event.errorCode}`);
      });
    },
  });
  arena.host.load({ plugin: listener });
  const registers = [0, 0, 0, 0, L.STACK, 0, 0, 0];
  arena.begin({ cpl: 3, bits: 32, registers, eflags: 2, fs: 0, gs: 0, entry: 0, code: new Uint8Array(1) });
  return { arena, faults };
}

/** The fault that an action raises; undefined where it raises none. */
function faultOf(action: () => void): { vector: number; errorCode: number | undefined } | undefined {
  try {
    action();
  } catch (signal) {
    if (!(signal instanceof GuestFault)) throw signal;
    return { vector: signal.vector, errorCode: signal.errorCode };
  }
}

const denied: readonly { what: string; linear: number; isWrite: boolean; errorCode: number }[] = [
  { what: "a read of an absent page", linear: L.ABSENT, isWrite: false, errorCode: 4 },
  { what: "a write to an absent page", linear: L.ABSENT, isWrite: true, errorCode: 6 },
  { what: "a write to a read-only page", linear: L.READ_ONLY, isWrite: true, errorCode: 7 },
  { what: "a read of a supervisor's page", linear: L.SUPERVISOR, isWrite: false, errorCode: 5 },
];

for (const { what, linear, isWrite, errorCode } of denied) {
  Deno.test(`the look-up of ${what} changes nothing and tells nobody; the access raises #PF`, () => {
    const { arena, faults } = listeningArena();
    const { cpu } = arena, { mmu } = cpu, untouched = new Arena();
    untouched.begin({
      ...{ cpl: 3, bits: 32, eflags: 2, fs: 0, gs: 0, entry: 0, code: new Uint8Array(1) },
      registers: [0, 0, 0, 0, L.STACK, 0, 0, 0],
    });
    assertEquals(mmu.hostAddress(linear, 4, isWrite, cpu.bank), NOTHING);
    assertEquals(arena.differences(untouched, true), []);
    assertEquals(faults, []);
    const raised = faultOf(() => {
      if (isWrite) mmu.writeSlow(linear, 4, 0, cpu.bank);
      else mmu.readSlow(linear, 4, cpu.bank);
    });
    assertEquals(raised, { vector: S.Vector.pageFault, errorCode });
    assertEquals(cpu.r[S.CR2], linear);
    assertEquals(faults, [`${linear.toString(16)} ${errorCode}`]);
  });
}

Deno.test("an access across a page's end names the page that is denied, and writes nothing to the other", () => {
  const { arena, faults } = listeningArena();
  const { cpu } = arena, { mmu } = cpu;
  assertEquals(faultOf(() => mmu.readSlow(L.ABSENT - 2, 4, cpu.bank))?.errorCode, 4);
  assertEquals(cpu.r[S.CR2], L.ABSENT);
  // The last page of data ends where the read-only one begins.
  const before = mmu.readSlow(L.READ_ONLY - 2, 2, cpu.bank);
  assertEquals(faultOf(() => mmu.writeSlow(L.READ_ONLY - 2, 4, ~before, cpu.bank))?.errorCode, 7);
  assertEquals(mmu.readSlow(L.READ_ONLY - 2, 2, cpu.bank), before);
  assertEquals(faults, [`${L.ABSENT.toString(16)} 4`, `${L.READ_ONLY.toString(16)} 7`]);
});

Deno.test("device memory covers RAM while it is there, and lets go of it", () => {
  const { arena } = listeningArena();
  const { cpu } = arena, { mmu } = cpu;
  const written: number[] = [];
  const ramWord = mmu.readSlow(L.DATA + 4, 4, cpu.bank);
  mmu.addDevice(L.DATA, L.PAGE, "probe", {
    read: (offset) => 0x1000 + offset,
    write: (offset, _size, value) => void written.push(offset, value),
  });
  assertEquals(mmu.readSlow(L.DATA + 4, 4, cpu.bank), 0x1004);
  mmu.writeSlow(L.DATA + 8, 4, 5, cpu.bank);
  assertEquals(written, [8, 5]);
  assertEquals(mmu.hostAddress(L.DATA, 4, false, cpu.bank), NOTHING);
  assertEquals(mmu.peekBytes(L.DATA, 4).length, 0);
  mmu.removeDevice("probe");
  assertEquals(mmu.readSlow(L.DATA + 4, 4, cpu.bank), ramWord);
  assert(mmu.hostAddress(L.DATA, 4, false, cpu.bank) !== NOTHING);
});
