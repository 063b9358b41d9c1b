// The vga plugin in a host: a guest that writes to the screen, text typed at its keyboard, and what Linux is told.

import { assertEquals, assertThrows } from "@std/assert";
import { addVm, createHost, type GuestChoice } from "../../../cli/machine.ts";
import { InputError } from "../../../core/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { scancodesOf } from "../../../plugins/vga/keys.ts";
import vgaPlugin, * as vga from "../../../plugins/vga/mod.ts";
import { handmadeKernel } from "../boot/handmade_kernel.ts";

const ORIGIN = 0x7c00;
const withVga = { vga: { enabled: true } };

function boot(code: readonly number[], options: Record<string, Record<string, unknown>> = withVga) {
  const bytes = Uint8Array.from(code);
  const guest: GuestChoice = { image: { loads: [{ address: ORIGIN, bytes }], entry: ORIGIN, mode: "real" } };
  const host = createHost({ memoryMib: 16, plugins: [vgaPlugin] });
  return { host, vm: addVm(host, { guest, memoryMib: 2, options }) };
}

/** MOV AX, B800h; MOV ES, AX */
const TEXT_SEGMENT = [0xb8, 0x00, 0xb8, 0x8e, 0xc0];
const HALT = [0xfa, 0xf4];
/** Polls for a scan code, stores it at ES:DI with attribute 7, goes on until one equals 1Ch (Enter in set 1). */
const COPY_KEYS = [
  ...TEXT_SEGMENT,
  ...[0x31, 0xff, 0xb4, 0x07], // XOR DI, DI; MOV AH, 7
  ...[0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa], // wait: IN AL, 64h; TEST AL, 1; JZ wait
  ...[0xe4, 0x60, 0xab, 0x3c, 0x1c, 0x75, 0xf3], // IN AL, 60h; STOSW; CMP AL, 1Ch; JNE wait
  ...HALT,
];

Deno.test("a real-mode guest writes to B800h and the screen shows it", async () => {
  const letters = [..."Hi!"].flatMap((letter) => [0xb8, letter.charCodeAt(0), 0x1e, 0xab]);
  const { host, vm } = boot([...TEXT_SEGMENT, 0xbf, 162, 0, ...letters, ...HALT]);
  await host.run();
  assertEquals(vm.exit?.reason, "halt");
  const screen = host.service(vga.screen)(vm);
  assertEquals([screen?.lines[1], screen?.attributeAt(1, 1)], [" Hi!", 0x1e]);
});

Deno.test("a VM whose options do not ask for a VGA has none: there is memory in its place", async () => {
  const { host, vm } = boot([...TEXT_SEGMENT, 0x26, 0xc6, 0x06, 0x00, 0x00, 0x41, ...HALT], {});
  await host.run();
  assertThrows(() => host.service(vga.screen)(vm), InputError, "vga.enabled");
  const byte = new Uint8Array(1);
  host.service(memory.guest)(vm).read(0xb8000, byte);
  assertEquals(byte[0], 0x41);
});

Deno.test("text typed reaches the guest as scan codes, shifted keys with their shift", async () => {
  const { host, vm } = boot(COPY_KEYS);
  const typist = host.service(vga.typist)(vm);
  typist.type("aB\n");
  assertEquals(typist.waiting, 3);
  await host.run();
  const screen = host.service(memory.guest)(vm);
  assertEquals([vm.exit?.reason, typist.waiting, screen.pages], ["halt", 0, 512]);
  // Set 1: a down and up; left shift down, b down and up, shift up; Enter down.
  const codes = [0x1e, 0x9e, 0x2a, 0x30, 0xb0, 0xaa, 0x1c];
  const bus = host.service(x86.processor)(vm).mmu;
  assertEquals(
    codes.map((_, i) => bus.readPhysical32(0xb8000 + i * 2 - (i * 2) % 4) >> ((i * 2) % 4 * 8) & 0xff),
    codes,
  );
});

Deno.test("a keyboard that is full makes the typist wait, and no key is lost", async () => {
  // The guest does not look for 100 ms, in which ten keys are due and five fit the keyboard's buffer.
  const wait = [0x66, 0xb9, 0x80, 0x96, 0x98, 0x00, 0x67, 0xe2, 0xfe]; // MOV ECX, 10,000,000; LOOP $
  const { host, vm } = boot([...wait, ...COPY_KEYS]);
  host.service(vga.typist)(vm).type("abcdefghijklmnopqrstuvwxyz\n");
  await host.run();
  const { mmu } = host.service(x86.processor)(vm);
  const seen = Array.from(
    { length: 53 },
    (_, i) => (mmu.readPhysical32(0xb8000 + (i >> 1) * 4) >> (i % 2 * 16)) & 0xff,
  );
  const set1 = [
    ...[0x1e, 0x30, 0x2e, 0x20, 0x12, 0x21, 0x22, 0x23, 0x17, 0x24, 0x25, 0x26, 0x32],
    ...[0x31, 0x18, 0x19, 0x10, 0x13, 0x1f, 0x14, 0x16, 0x2f, 0x11, 0x2d, 0x15, 0x2c],
  ];
  assertEquals(seen, [...set1.flatMap((code) => [code, code | 0x80]), 0x1c]);
});

Deno.test("every printable ASCII character and the usual controls have keys; others are refused whole", () => {
  for (let code = 0x20; code < 0x80; code++) scancodesOf(String.fromCharCode(code));
  assertEquals(scancodesOf("\x03"), [0x14, 0x21, 0xf0, 0x21, 0xf0, 0x14]);
  assertEquals(scancodesOf("\t"), [0x0d, 0xf0, 0x0d]);
  const { host, vm } = boot(HALT);
  const typist = host.service(vga.typist)(vm);
  assertThrows(() => typist.type("caf\u00e9"), InputError, "é");
  assertEquals(typist.waiting, 0);
});

Deno.test("a Linux kernel is told of the VGA, and of no text mode where there is none", () => {
  const screenInfo = (options: Record<string, Record<string, unknown>>) => {
    const host = createHost({ memoryMib: 64, plugins: [vgaPlugin] });
    const guest = { linux: { kernel: handmadeKernel(), kernelName: "k" } };
    const vm = addVm(host, { guest, memoryMib: 32, options });
    const page = new Uint8Array(0x12);
    host.service(memory.guest)(vm).read(host.service(x86.processor)(vm).getRegister(x86.ESI), page);
    return [page[6], page[7], page[14], page[15], page[16]];
  };
  assertEquals(screenInfo(withVga), [3, 80, 25, 1, 16]);
  assertEquals(screenInfo({}), [0x12, 0, 0, 0, 0]);
});

Deno.test("a VM saved in the midst of typing goes on with the same screen", () => {
  const { host, vm } = boot(COPY_KEYS);
  host.service(vga.typist)(vm).type("abc\n");
  host.runTo(vm, 1_500_000);
  const saved = host.save(vm);
  const end = () => {
    host.runTo(vm, 10_000_000);
    return [host.stateHash(vm), vm.exit?.reason, host.service(vga.screen)(vm)?.lines[0]];
  };
  const first = end();
  host.restore(vm, saved);
  assertEquals([end(), first[1]], [first, "halt"]);
});
