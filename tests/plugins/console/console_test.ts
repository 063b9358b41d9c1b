// The console plugin on the base machine, with guests made here: input that is never lost, output, panics, saved states.

import { assertEquals, assertMatch } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, type Host, type Vm } from "../../../core/mod.ts";
import { al, Assembler, dx } from "../../../guests/assembler/mod.ts";
import * as console from "../../../plugins/console/mod.ts";

const COM1 = 0x3f8, LINE_STATUS = 0x3fd, DATA_READY = 1;
const ORIGIN = 0x7c00;
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** Polls for input, sends every byte back with its case changed, and halts after a full stop. */
function echo() {
  const asm = new Assembler({ origin: ORIGIN, bits: 16 });
  asm.label("wait").mov(dx, LINE_STATUS).in(al, dx).test(al, DATA_READY).jz("wait");
  asm.mov(dx, COM1).in(al, dx).xor(al, 0x20).out(dx, al).cmp(al, ".".charCodeAt(0) ^ 0x20).jne("wait");
  asm.cli().hlt();
  const { bytes } = asm.assemble();
  return { image: { loads: [{ address: ORIGIN, bytes }], entry: ORIGIN, mode: "real" as const } };
}

function hostWithRecorder() {
  const bytes: number[] = [], lines: string[] = [];
  const recorder = definePlugin({
    name: "recorder",
    requires: ["console"],
    setup({ on }) {
      on(console.output, ({ byte }) => void bytes.push(byte));
      on(console.line, ({ vm, line }) => void lines.push(`${vm.name}: ${line}`));
    },
  });
  return {
    host: createHost({ plugins: [recorder] }),
    lines,
    text: () => new TextDecoder().decode(Uint8Array.from(bytes)),
  };
}

const inputOf = (host: Host, vm: Vm) => host.service(console.consoleOf)(vm).input;

Deno.test("typed bytes reach the guest once and in order, however many come at once", async () => {
  const { host, text } = hostWithRecorder();
  const vm = addVm(host, { guest: echo(), memoryMib: 1 });
  const typed = "abcdefghij".repeat(300);
  inputOf(host, vm).push(bytesOf(typed + "."));
  await host.run();
  assertEquals(text(), typed.toUpperCase() + "\x0e");
  assertEquals(vm.exit?.reason, "halt");
});

Deno.test("bytes that come while the guest runs reach it too", async () => {
  const { host, text } = hostWithRecorder();
  const vm = addVm(host, { guest: echo(), memoryMib: 1 });
  for (const piece of ["ab", "c", "."]) {
    await host.run({ untilNs: host.clock.nowNs + 50e6 });
    inputOf(host, vm).push(bytesOf(piece));
  }
  await host.run({ untilNs: host.clock.nowNs + 1e9 });
  assertEquals(text(), "ABC\x0e");
});

Deno.test("two VMs have consoles of their own, and lines say whose they are", async () => {
  const { host, lines } = hostWithRecorder();
  addVm(host, { name: "a", guest: { use: "hello", options: { text: "one" } } });
  addVm(host, { name: "b", guest: { use: "hello", options: { text: "two" } } });
  await host.run();
  assertEquals(lines.toSorted(), ["a: one", "b: two"]);
});

Deno.test("input that waits and a line that is not finished are part of the saved state", () => {
  const { host } = hostWithRecorder();
  const vm = addVm(host, { guest: echo(), memoryMib: 1 });
  inputOf(host, vm).push(bytesOf("abc"));
  const stateOf = () => [inputOf(host, vm).length, host.service(console.consoleOf)(vm).unfinishedLine];
  const saved = host.save(vm);
  const before = stateOf();
  host.runTo(vm, vm.clock.steps + 200_000);
  assertEquals(stateOf(), [0, "ABC"]);
  host.restore(vm, saved);
  assertEquals(stateOf(), before);
  host.runTo(vm, vm.clock.steps + 200_000);
  assertEquals(stateOf(), [0, "ABC"]);
});

/** Prints a text and then does what `last` assembles. */
function printing(text: string, last: (asm: Assembler) => void) {
  const asm = new Assembler({ origin: ORIGIN, bits: 16 });
  asm.mov(dx, COM1);
  for (const byte of bytesOf(text)) asm.mov(al, byte).out(dx, al);
  last(asm);
  const { bytes } = asm.assemble();
  return { image: { loads: [{ address: ORIGIN, bytes }], entry: ORIGIN, mode: "real" as const } };
}

const PANIC = "Kernel panic - not syncing: out of luck";
const KEYBOARD_COMMAND = 0x64, RESET_PULSE = 0xfe, DEBUG_EXIT = 0xf4;
const halt = (asm: Assembler) => void asm.cli().hlt();
const reset = (asm: Assembler) =>
  void asm.mov(dx, KEYBOARD_COMMAND).mov(al, RESET_PULSE).out(dx, al).jmp("on").label("on");
const debugExit = (asm: Assembler) => void asm.mov(dx, DEBUG_EXIT).mov(al, 3).out(dx, al);
const forEver = (asm: Assembler) => void asm.label("on").jmp("on");

const ends: readonly [string, string, (asm: Assembler) => void, string, number][] = [
  ["a panic and a halt", `[    1.0] ${PANIC}\r\n`, halt, "panic", 3],
  ["a panic and a reset", `[    1.0] ${PANIC}\r\n`, reset, "panic", 3],
  ["a panic that waits for ever", `${PANIC}\r\nCPU: 0\r\n---[ end ${PANIC} ]---\r\n`, forEver, "panic", 3],
  ["the words of a panic and a debug exit", `${PANIC}\n`, debugExit, "debug-exit", 7],
  ["other words and a halt", "Kernel is well\n", halt, "halt", 0],
  ["other words and a reset", "Kernel is well\n", reset, "reset", 0],
];
for (const [what, text, last, reason, status] of ends) {
  Deno.test(`${what} is an end by ${reason} with status ${status}`, async () => {
    const { host } = hostWithRecorder();
    const vm = addVm(host, { guest: printing(text, last), memoryMib: 1 });
    await host.run({ untilNs: 1e9 });
    assertEquals([vm.exit?.reason, vm.exit?.status], [reason, status]);
    if (reason !== "panic") return;
    const [first, ...registers] = (vm.exit?.detail ?? "").split("\n");
    assertEquals(first, PANIC);
    assertMatch(registers.join("\n"), /^EAX=[^]*EIP=[^]*CR0=/);
  });
}
