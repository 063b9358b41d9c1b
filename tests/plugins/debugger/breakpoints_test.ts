// Breakpoints, watchpoints, steps and pauses: where they stop, that they go on, and that no guest notices.

import { assert, assertEquals } from "@std/assert";
import { Assembler, eax, ebx, ecx, edi, mem } from "../../../guests/assembler/mod.ts";
import { debug, linearEip, stopping, type WatchKind } from "../../../plugins/debugger/mod.ts";
import { builtinPlugins } from "../../../cli/catalogue.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { type Machine, machineOf, type Program, program, runToStop } from "./machine.ts";

const DATA = 0x20_0000;
const ROUNDS = 5;

/** Counts ECX down, and keeps the count in memory. */
function counting(): Program {
  return program((asm: Assembler) => {
    asm.mov(ecx, ROUNDS).label("loop").mov(mem(DATA), ecx).mov(eax, mem(DATA)).inc(ebx).dec(ecx).jnz("loop");
    asm.label("done").cli().hlt();
  });
}

const at = (labels: ReadonlyMap<string, number>, name: string): number => {
  const address = labels.get(name);
  assert(address !== undefined, name);
  return address;
};

function debugged(guest: Program["guest"], engine: readonly string[] = []): Machine {
  return machineOf(guest, [...engine, "debugger"]);
}

Deno.test("a breakpoint stops before its instruction every time, and removing it lets the guest end", async () => {
  const { guest, labels } = counting();
  const machine = debugged(guest);
  const debugService = machine.host.service(debug), loop = at(labels, "loop");
  debugService.addBreakpoint(machine.vm, loop);
  const counts: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const stop = await runToStop(machine);
    assertEquals(stop?.reason, { kind: "breakpoint", address: loop });
    assertEquals(linearEip(machine.cpu), loop);
    counts.push(machine.cpu.getRegister(x86.ECX));
    debugService.resume();
  }
  assertEquals(counts, [5, 4, 3, 2, 1]);
  assertEquals(await runToStop(machine), undefined);
  assertEquals(machine.vm.exit?.reason, "halt");
});

Deno.test("a breakpoint that two asked for stays until both took it back", async () => {
  const { guest, labels } = counting();
  const machine = debugged(guest), done = at(labels, "done");
  const debugService = machine.host.service(debug);
  debugService.addBreakpoint(machine.vm, done);
  debugService.addBreakpoint(machine.vm, done);
  assertEquals(debugService.removeBreakpoint(machine.vm, done), true);
  assertEquals((await runToStop(machine))?.reason.kind, "breakpoint");
  assertEquals(debugService.removeBreakpoint(machine.vm, done), true);
  assertEquals(debugService.removeBreakpoint(machine.vm, done), false);
  debugService.resume();
  assertEquals(await runToStop(machine), undefined);
});

const watchCases: readonly [WatchKind, number, boolean[]][] = [
  ["write", DATA, [true, true, true, true, true]],
  ["read", DATA + 3, [false, false, false, false, false]],
  ["access", DATA, [true, false, true, false, true, false, true, false, true, false]],
  ["access", DATA + 4, []],
];
for (const [kind, address, writes] of watchCases) {
  Deno.test(`a watchpoint on ${kind} of a byte at offset ${address - DATA} stops ${writes.length} times`, async () => {
    const machine = debugged(counting().guest);
    const debugService = machine.host.service(debug);
    debugService.addWatchpoint(machine.vm, address, 1, kind);
    const seen: boolean[] = [];
    for (let stop = await runToStop(machine); stop !== undefined; stop = await runToStop(machine)) {
      assert(stop.reason.kind === "watchpoint");
      assertEquals([stop.reason.address, stop.reason.watch], [address, kind]);
      seen.push(stop.reason.isWrite);
      debugService.resume();
    }
    assertEquals(seen, writes);
    assertEquals(debugService.removeWatchpoint(machine.vm, address, 1, kind), true);
    assertEquals(machine.cpu.accessWatch, undefined);
  });
}

Deno.test("single steps go one instruction at a time, over a breakpoint, too", async () => {
  const { guest, labels } = counting();
  const machine = debugged(guest), loop = at(labels, "loop");
  const debugService = machine.host.service(debug);
  debugService.addBreakpoint(machine.vm, loop);
  await runToStop(machine);
  const { steps } = machine.vm.clock;
  for (let count = 1; count <= 4; count++) {
    debugService.resume({ stepped: [machine.vm] });
    assertEquals((await runToStop(machine))?.reason.kind, "step");
    assertEquals(machine.vm.clock.steps, steps + count);
  }
});

Deno.test("a paused host stands still until it is resumed", async () => {
  const machine = debugged(counting().guest);
  const debugService = machine.host.service(debug);
  debugService.pause(machine.vm);
  await runToStop(machine);
  assertEquals(machine.vm.clock.steps, 0);
  let isResumed = false;
  const resumption = debugService.whenResumed().then(() => isResumed = true);
  await Promise.resolve();
  assertEquals(isResumed, false);
  debugService.resume();
  await resumption;
  assertEquals(await runToStop(machine), undefined);
});

Deno.test("whoever answers `stopping` makes the guest go on", async () => {
  const { guest, labels } = counting();
  const machine = debugged(guest);
  let hits = 0;
  machine.host.bus.on(stopping, "test", () => (hits++, "go-on"));
  machine.host.service(debug).addBreakpoint(machine.vm, at(labels, "loop"));
  assertEquals(await runToStop(machine), undefined);
  assertEquals(hits, ROUNDS);
});

Deno.test("a breakpoint in the shadow of STI keeps the shadow", async () => {
  // A pending interrupt would be taken before HLT if stopping there ended the shadow; without an IDT that is fatal.
  const { guest, labels } = program((asm) => {
    asm.sti().label("shadowed").cli().label("after").hlt();
  });
  const machine = debugged(guest);
  const debugService = machine.host.service(debug);
  debugService.addBreakpoint(machine.vm, at(labels, "shadowed"));
  machine.host.service(x86.bus).setInterrupt(machine.vm, true);
  assertEquals((await runToStop(machine))?.reason.kind, "breakpoint");
  assertEquals(machine.cpu.getRegister(x86.state.INTERRUPT_SHADOW), x86.state.Shadow.sti);
  debugService.resume();
  assertEquals(await runToStop(machine), undefined);
  assertEquals([machine.vm.exit?.reason, linearEip(machine.cpu)], ["halt", at(labels, "after") + 1]);
});

const STEPS = 200_000;
const guests = ["privileged", "pagetable", "idle", "alu"];
const engines: readonly (readonly string[])[] = [
  [],
  ...builtinPlugins.filter(isFasterEngine).map(({ name }) => [name]),
];
for (const [guest, engine] of guests.flatMap((guest) => engines.map((engine) => [guest, engine] as const))) {
  const over = engine[0] ?? "the interpreter";
  Deno.test(`guest ${guest} over ${over} is stopped everywhere it should be, and computes the same`, async () => {
    const plain = machineOf(guest, []), watched = debugged(guest, engine);
    const debugService = watched.host.service(debug);
    let hits = 0;
    watched.host.bus.on(stopping, "test", () => (hits++, "go-on"));
    // Wherever it is after some steps, it comes again.
    watched.host.runTo(watched.vm, 5_000);
    debugService.addBreakpoint(watched.vm, linearEip(watched.cpu));
    const expected = countPasses(plain, linearEip(watched.cpu), 5_000, STEPS / 2);
    watched.host.runTo(watched.vm, STEPS / 2);
    assertEquals(hits, expected);
    debugService.addWatchpoint(watched.vm, watched.cpu.esp - 4, 4, "access");
    watched.host.runTo(watched.vm, STEPS);
    plain.host.runTo(plain.vm, STEPS);
    assert(hits > 0, "nothing was hit");
    assertEquals(watched.host.stateHash(watched.vm), plain.host.stateHash(plain.vm));
    await Promise.resolve();
  });
}

function isFasterEngine(plugin: (typeof builtinPlugins)[number]): boolean {
  return plugin.tier === "enhanced" && (plugin.replaces ?? []).some(({ name }) => name === x86.engine.name);
}

/** How often a VM comes to an instruction between two steps, going a step at a time. */
function countPasses({ host, vm, cpu }: Machine, address: number, fromSteps: number, toSteps: number): number {
  let passes = 0;
  host.runTo(vm, fromSteps);
  for (let steps = fromSteps; steps < toSteps; steps++) {
    if (linearEip(cpu) === address && !cpu.getRegister(x86.state.HALTED)) passes++;
    host.runTo(vm, steps + 1);
    if (vm.clock.steps <= steps) break;
  }
  return passes;
}

Deno.test("a repeated string instruction that is watched stops after the iteration that meets the watchpoint", async () => {
  const machine = debugged(
    program((asm) => {
      asm.cld().mov(edi, DATA).mov(ecx, 16).rep().stosd().cli().hlt();
    }).guest,
  );
  machine.host.service(debug).addWatchpoint(machine.vm, DATA + 4 * 9, 4, "write");
  assertEquals((await runToStop(machine))?.reason.kind, "watchpoint");
  assertEquals(machine.cpu.getRegister(x86.EDI), DATA + 4 * 10);
});
