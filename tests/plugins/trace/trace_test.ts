// Traces: what the lines say, in which order, and that tracing changes nothing.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { addVm } from "../../../cli/machine.ts";
import { eax, ecx, edi, mem } from "../../../guests/assembler/mod.ts";
import * as symbols from "../../../plugins/symbols/mod.ts";
import { type TraceKind, traceKinds, traceLine } from "../../../plugins/trace/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { type Machine, machineOf, ORIGIN, type Program, program } from "../debugger/machine.ts";

interface Traced extends Machine {
  readonly lines: string[];
}

function traced(guest: Program["guest"], events: readonly TraceKind[]): Traced {
  const machine = machineOf(guest, ["symbols", { use: "trace", options: { events } }]);
  const lines: string[] = [];
  machine.host.bus.on(traceLine, "test", ({ text }: { text: string }) => lines.push(text.trim().replace(/ +/g, " ")));
  return { ...machine, lines };
}

Deno.test("instructions are traced with their changes, and what they did to devices after them", async () => {
  const { guest } = program((asm) => {
    asm.mov(eax, 0x41).out(0x80, eax).add(eax, eax).cli().hlt();
  });
  const { host, lines } = traced(guest, ["exec", "io"]);
  await host.run();
  assertEquals(lines, [
    "0 exec 00100000 mov eax, 0x41 eax=00000041",
    "1 exec 00100005 out 0x80, eax",
    "1 io out 0x80.4 = 0x41",
    "2 exec 00100007 add eax, eax eax=00000082 efl=00000006",
    "3 exec 00100009 cli",
    "4 exec 0010000a hlt",
  ]);
});

Deno.test("a repeated instruction is one line with its iterations", async () => {
  const { guest } = program((asm) => {
    asm.cld().mov(edi, 0x20_0000).mov(ecx, 1000).rep().stosd().cli().hlt();
  });
  const { host, lines } = traced(guest, ["exec"]);
  await host.run();
  assertEquals(lines[3], "3 exec 0010000b rep stosd dword ptr [edi] (1000 iterations) ecx=00000000 edi=00200fa0");
  assertEquals(lines.length, 6);
});

Deno.test("symbols name where instructions are and where they go", async () => {
  const { guest, labels } = program((asm) => {
    asm.label("start").jmp("end").label("middle").nop().label("end").cli().hlt();
  });
  const { host, vm, lines } = traced(guest, ["exec"]);
  host.service(symbols.symbolsOf)(vm).add([...labels].map(([name, address]) => ({ name, address })));
  await host.run();
  assertMatch(lines[0], /^0 exec 00100000 <start> jmp 0x10000[0-9a-f] <end>$/);
  assertMatch(lines[2], /^2 exec 0010000[0-9a-f] <end\+0x1> hlt/);
});

Deno.test("an exception says its error code, where it happened and where it went", async () => {
  const { host, lines } = traced({ use: "pagetable", options: { rounds: 1 } }, ["exceptions"]);
  await host.run();
  const pageFault = /^\d+ exceptions #PF error 0x2 at 001\w+ <eachPage\S*> cr2 4000\w+ -> 001\w+ <pageFault>$/;
  assert(lines.some((line) => pageFault.test(line)), lines.join("\n"));
  const { host: other, vm, cpu, lines: faults } = traced(
    { image: { loads: [{ address: 0x7c00, bytes: Uint8Array.of(0x0f, 0x0b) }], entry: 0x7c00, mode: "real" } },
    ["exceptions"],
  );
  other.runTo(vm, 1);
  assertEquals(faults, ["0 exceptions #UD at 00000000 -> 00000000"]);
  assertEquals(cpu.eip, 0);
});

Deno.test("translation is traced: fills with their rights, flushes, faults", () => {
  const { host, vm, lines } = traced("pagetable", ["mmu", "exceptions"]);
  host.runTo(vm, 100_000);
  assert(lines.some((line) => /^\d+ mmu fill fetch 00100000 -> page 0x100 user write dirty$/.test(line)));
  assert(lines.some((line) => /^\d+ mmu flush/.test(line)));
});

Deno.test("interrupts are traced at their steps", () => {
  const { host, vm, lines } = traced("idle", ["irq"]);
  host.runTo(vm, 2_000);
  assert(lines.length > 2);
  for (const line of lines) {
    assertMatch(line, /^\d+ irq vector 0x20 at [0-9a-f]{8} <sleep.*> -> [0-9a-f]{8} <timerInterrupt>$/);
  }
});

for (const guest of ["privileged", "pagetable", "idle"]) {
  Deno.test(`guest ${guest} computes the same while everything is traced`, () => {
    const plain = machineOf(guest, []), { host, vm, lines } = traced(guest, traceKinds);
    host.runTo(vm, 20_000);
    plain.host.runTo(plain.vm, 20_000);
    assertEquals(host.stateHash(vm), plain.host.stateHash(plain.vm));
    assert(lines.length > 1000);
  });
}

Deno.test("without exec the engine is the one that runs without the plugin", () => {
  const { host } = machineOf("hello", ["symbols", { use: "trace", options: { events: ["io", "mmu"] } }]);
  assertEquals(host.service(x86.engine), host.service(x86.engine, "x86"));
});

Deno.test("a triple fault's report has registers, code and stack", async () => {
  const { guest } = program((asm) => {
    asm.mov(mem(0x8ffc), 0x1234_5678).ud2();
  });
  const { host } = machineOf("hello", []);
  const vm = addVm(host, { guest, memoryMib: 4 });
  await host.run();
  assertEquals(vm.exit?.reason, "triple-fault");
  const detail = vm.exit?.detail ?? "";
  assertMatch(detail, /^triple fault: exception 6, and no double-fault handler\nEAX=/);
  assertMatch(detail, new RegExp(`\\ncode\\n  ${(ORIGIN + 10).toString(16).padStart(8, "0")}  0f 0b +ud2\\n`));
  assertMatch(detail, /\nstack\n {2}00009000 {2}/);
});
