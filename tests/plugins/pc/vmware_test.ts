// The VMware personality as Linux's vmware_platform and VMware's own tools see it.

import { assertEquals } from "@std/assert";
import {
  Backdoor,
  BACKDOOR_MAGIC,
  BACKDOOR_PORT,
  BackdoorCommand,
  BUS_MHZ,
  LEAF_HYPERVISOR,
  LEAF_TIMING,
  vmwareCpuid,
} from "../../../plugins/pc/devices/vmware.ts";
import type { AccessSize } from "../../../plugins/x86/mod.ts";
import { makeVm, pass } from "./harness.ts";

const ECX = 1, EDX = 2, EBX = 3;
const START_SECONDS = 1_767_225_600;
const ONES = 0xffff_ffff;

function makeBackdoor(cpuMhz = 1000, memoryMib = 128) {
  const vm = makeVm(memoryMib, cpuMhz), registers = new Uint32Array(8);
  const cpu = {
    getRegister: (register: number) => registers[register] | 0,
    setRegister: (register: number, value: number) => void (registers[register] = value),
  };
  const backdoor = new Backdoor(vm, () => cpu, START_SECONDS, BUS_MHZ);
  /** IN of a size with these registers: EAX, EBX, ECX, EDX afterwards. */
  const call = (command: number, magic = BACKDOOR_MAGIC, size: AccessSize = 4) => {
    registers.set([magic, command, BACKDOOR_PORT, 0x1234]);
    const eax = backdoor.read(BACKDOOR_PORT, size);
    return [eax, registers[EBX], registers[ECX], registers[EDX]];
  };
  return { vm, call };
}

Deno.test("CPUID names the hypervisor, says that there is one, and gives the clock rates", () => {
  const none = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const { eax, ebx, ecx, edx } = vmwareCpuid(none, LEAF_HYPERVISOR, 1000, 66);
  assertEquals(new TextDecoder().decode(Uint32Array.of(ebx, ecx, edx)), "VMwareVMware");
  assertEquals(eax, LEAF_TIMING);
  assertEquals(vmwareCpuid(none, LEAF_TIMING, 2400, 66), { eax: 2_400_000, ebx: 66_000, ecx: 0, edx: 0 });
  assertEquals(vmwareCpuid({ ...none, eax: 0x683, ecx: 1 }, 1, 1000, 66), { ...none, eax: 0x683, ecx: 0x8000_0001 });
  const other = { eax: 1, ebx: 2, ecx: 3, edx: 4 };
  for (const leaf of [0, 2, 0x8000_0000, LEAF_TIMING + 1]) assertEquals(vmwareCpuid(other, leaf, 1000, 66), other);
});

Deno.test("backdoor commands answer in EAX, EBX and ECX", () => {
  const cases: readonly [name: string, command: number, result: number[]][] = [
    ["version", BackdoorCommand.GET_VERSION, [6, BACKDOOR_MAGIC, 2, BACKDOOR_PORT]],
    ["high half of ECX is no part of the command", 0xabcd_0000 | BackdoorCommand.GET_VERSION, [
      6,
      BACKDOOR_MAGIC,
      2,
      BACKDOOR_PORT,
    ]],
    ["memory in MiB", BackdoorCommand.GET_MEMORY_SIZE, [128, 0x1234, BackdoorCommand.GET_MEMORY_SIZE, BACKDOOR_PORT]],
    ["clock rates", BackdoorCommand.GET_HZ, [1_000_000_000, 0, 66_000_000, BACKDOOR_PORT]],
    ["steal clock, which is not here", 91, [ONES, ONES, 91, BACKDOOR_PORT]],
    ["absolute pointer, which is not here", 41, [ONES, ONES, 41, BACKDOOR_PORT]],
  ];
  for (const [name, command, result] of cases) assertEquals(makeBackdoor().call(command), result, name);
});

Deno.test("a clock rate above 2^32 Hz spans EBX and EAX", () => {
  const [eax, ebx] = makeBackdoor(5000).call(BackdoorCommand.GET_HZ);
  assertEquals(ebx * 2 ** 32 + eax, 5e9);
});

Deno.test("the time is the guest's own", () => {
  const { vm, call } = makeBackdoor();
  pass(vm, 3_000_250_000);
  assertEquals(call(BackdoorCommand.GET_TIME), [START_SECONDS + 3, 250, 0, 0]);
});

Deno.test("without the magic number, or narrower, it is a port that nobody claimed", () => {
  const { call } = makeBackdoor();
  const unchanged = [0x1234, BackdoorCommand.GET_VERSION, BACKDOOR_PORT];
  assertEquals(call(BackdoorCommand.GET_VERSION, 0), [ONES, ...unchanged]);
  assertEquals(call(BackdoorCommand.GET_VERSION, BACKDOOR_MAGIC, 2), [0xffff, ...unchanged]);
  assertEquals(call(BackdoorCommand.GET_VERSION, BACKDOOR_MAGIC, 1), [0xff, ...unchanged]);
});
