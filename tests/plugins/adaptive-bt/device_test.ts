// Adapted accesses to a device: it sees the same accesses at the same steps under every engine, and what it does in turn
// (interrupts, timers, DMA into the code that runs) takes effect at the same instruction.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, type PluginUse, vmAdmitted } from "../../../core/mod.ts";
import {
  addr,
  al,
  ax,
  bl,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  mem,
  mem16,
  mem32,
  mem8,
} from "../../../guests/assembler/mod.ts";
import { buildProtected, setGate } from "../../../guests/runtime.ts";
import adaptiveBt, { hotSites } from "../../../plugins/adaptive-bt/mod.ts";
import bt from "../../../plugins/bt/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import * as x86 from "../../../plugins/x86/mod.ts";

const DEVICE = 0xe000_0000, NMI = 2, ROUNDS = 200;
/** Where the device writes, by DMA, the immediate of an instruction of the loop. */
const PATCH_EVERY = 61, NMI_EVERY = 37, DEADLINE_EVERY = 23;

const meddled = buildProtected((asm) => {
  setGate(asm, NMI, "nmi");
  asm.mov(edi, DEVICE).mov(ebp, ROUNDS).xor(ebx, ebx).align(16).label("round");
  asm.mov(eax, mem(edi)).add(ebx, eax).mov(mem(edi, { disp: 4 }), ebx).movzx(ecx, mem8(edi, { disp: 8 })).add(ebx, ecx);
  asm.movsx(edx, mem16(edi, { disp: 10 })).xor(ebx, edx).add(ebx, mem(edi, { disp: 12 }));
  asm.cmp(mem32(edi, { disp: 16 }), 0x55).sbb(ebx, 0).test(mem8(edi, { disp: 20 }), 1).setz(al).add(bl, al);
  asm.mov(mem16(edi, { disp: 24 }), ax).mov(mem8(edi, { disp: 28 }), al).mov(mem32(edi, { disp: 32 }), 0x1234);
  // A read-modify-write has no form: it goes on trapping.
  asm.or(mem32(edi, { disp: 36 }), 3);
  asm.label("patched").add(ebx, 0x1000_0000);
  asm.dec(ebp).jnz("round").mov(mem32(0x7000), ebx);
  asm.section("routines", () => asm.align(16).label("nmi").add(mem32(addr("nmis")), 1).iret());
  asm.section("data", () => asm.align(4).label("nmis").dd(0));
});

interface Outcome {
  readonly accesses: readonly string[];
  readonly end: string;
  readonly states: ReadonlyMap<number, string>;
}

/** Stores to the device until that is adapted; then another instruction takes its place, and goes round as often. */
function rewriting(replacement: readonly number[]) {
  return buildProtected((asm) => {
    asm.mov(edi, DEVICE).mov(eax, 1).mov(edx, 2).mov(ebp, 2).label("again").mov(ecx, ROUNDS);
    asm.label("round").mov(mem(edi), eax).nop().nop().inc(eax).dec(ecx).jnz("round");
    replacement.forEach((byte, i) => asm.mov(mem8(addr("round", i)), byte));
    asm.dec(ebp).jnz("again").mov(mem32(0x7000), eax);
  });
}

/** Runs a guest with a device that meddles; every access with its step count. */
async function run(plugins: readonly PluginUse[], image = meddled): Promise<Outcome> {
  const accesses: string[] = [];
  const device = definePlugin({
    name: "meddler",
    requires: ["x86", "memory"],
    setup({ on, service }) {
      const bus = service(x86.bus), ramOf = service(memory.guest);
      on(vmAdmitted, (vm) => {
        const timer = vm.clock.timer("meddler", () => void accesses.push(`${vm.clock.steps} timer`));
        const note = (what: string) => {
          const count = accesses.push(`${vm.clock.steps} ${what}`);
          if (count % NMI_EVERY === 0 && image === meddled) bus.raiseNmi(vm);
          if (count % DEADLINE_EVERY === 0) timer.arm(vm.clock.nowNs() + 20);
          if (count % PATCH_EVERY === 0 && image === meddled) {
            const at = (image.symbols.get("patched") ?? 0) + 2;
            ramOf(vm).write(at, Uint8Array.of(count & 0xff));
          }
          return count;
        };
        bus.memory(vm, DEVICE, 4096, "meddler", {
          read: (offset, size) => (note(`read ${offset} ${size}`) * 0x9e37_79b9) & (2 ** (8 * size) - 1),
          write: (offset, size, value) => void note(`write ${offset} ${size} ${value}`),
        });
      });
    },
  });
  const host = createHost({ memoryMib: 32, plugins: [...plugins, { plugin: device }] });
  const vm = addVm(host, { name: "vm", guest: { image }, memoryMib: 8 });
  await host.run({ stop: () => vm.state === "exited" });
  const states = new Map<number, string>();
  if (host.plugins.loaded.has("adaptive-bt")) {
    for (const { address, state } of host.service(hotSites)()) states.set(address, state);
  }
  return { accesses, end: `${vm.exit?.reason} ${vm.clock.steps} ${host.stateHash(vm)}`, states };
}

const translator = (mmio = "callout"): PluginUse => ({ plugin: bt, options: { threshold: 0, mmio } });

for (const mmio of ["trap", "callout"]) {
  Deno.test(`a device sees the same accesses at the same steps from adapted instructions, by default a ${mmio}`, async () => {
    const expected = await run([]);
    assert(expected.accesses.length > ROUNDS * 10, `${expected.accesses.length} accesses`);
    const plain = await run([translator(mmio)]);
    assertEquals(plain.accesses, expected.accesses);
    assertEquals(plain.end, expected.end);
    const adapted = await run([translator(mmio), { plugin: adaptiveBt, options: { threshold: 5 } }]);
    assertEquals(adapted.accesses, expected.accesses);
    assertEquals(adapted.end, expected.end);
    const states = [...adapted.states.values()];
    // All but the read-modify-write, which has no form for a device.
    assertEquals(states.filter((state) => state === "common").length, 1);
    assert(states.filter((state) => state === "guilty").length >= 10, states.join());
  });
}

/** In place of MOV [EDI], EAX: instructions that read as well, store elsewhere too, or are the last of their unit. */
const replacements: Readonly<Record<string, readonly number[]>> = {
  "OR [EDI], EAX": [0x09, 0x07],
  "XADD [EDI], EAX": [0x0f, 0xc1, 0x07],
  "CMPXCHG [EDI], EDX": [0x0f, 0xb1, 0x17],
  "INC [EDI]": [0xff, 0x07],
  "PUSH [EDI]": [0xff, 0x37],
  "POP [EDI]": [0x8f, 0x07],
};
for (const [text, bytes] of Object.entries(replacements)) {
  Deno.test(`another instruction at the address of an adapted one does what it is: ${text}`, async () => {
    const image = rewriting(bytes);
    const expected = await run([], image);
    const adapted = await run([translator(), { plugin: adaptiveBt, options: { threshold: 5 } }], image);
    assertMatch(expected.end, /^halt/);
    assert(expected.accesses.length > 2 * ROUNDS, `${expected.accesses.length} accesses`);
    assertEquals(adapted.accesses, expected.accesses);
    assertEquals(adapted.end, expected.end);
    assertEquals(adapted.states.get(image.symbols.get("round") ?? 0), "guilty");
  });
}
