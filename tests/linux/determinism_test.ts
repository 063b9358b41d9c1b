// Laws 1 and 2 over a boot of Linux: the state after N steps does not depend on the length of turns, on other VMs, on the
// process it runs in, nor on being saved and restored.

import { assert, assertEquals } from "@std/assert";
import { bootLinux, type BootRecord, type Waypoint } from "./boot.ts";
import { HASH_EVERY_STEPS, Machine, type MachineOptions, type StateHash } from "./machine.ts";
import { linuxTest } from "./prepared.ts";

/** A host that is anything but quiet: short turns of an odd length, and two VMs beside. */
const busyHost: MachineOptions = {
  quantumNs: 137_000,
  companions: [
    { guest: { use: "alu", options: { iterations: 300_000 } } },
    { guest: { use: "toucher", options: { schedule: "2:100,8:200" } }, memoryMib: 12 },
  ],
};

/** The recorded hashes above a step count, `count` of them. */
function recorded(record: BootRecord, aboveSteps: number, count: number): readonly StateHash[] {
  const hashes = record.hashes.filter(([steps]) => steps > aboveSteps).slice(0, count);
  assertEquals(hashes.length, count);
  return hashes;
}

linuxTest("the first instructions of a boot compute the same on a busy host", async (linux) => {
  const { record } = await bootLinux(linux);
  const machine = await Machine.powerOn(linux, busyHost);
  const expected = recorded(record, 0, 3);
  await machine.runToStep(3 * HASH_EVERY_STEPS);
  assertEquals(machine.hashes, expected);
  machine.audit();
  assert(machine.host.vms.slice(0, 2).every((companion) => companion.exit?.reason === "halt"), "a companion failed");
});

const resumptions: readonly [at: Waypoint, hashes: number][] = [["unpacking", 1], ["consoleUp", 2]];
for (const [at, count] of resumptions) {
  linuxTest(`a boot saved at "${at}" goes on in a fresh, busy host as if nothing had happened`, async (linux) => {
    const { record, saved } = await bootLinux(linux);
    const machine = Machine.restore(await saved(at), busyHost);
    const expected = recorded(record, machine.vm.clock.steps, count);
    await machine.runToStep(expected[count - 1][0]);
    assertEquals(machine.hashes, expected);
    machine.audit();
  });
}

linuxTest(
  "a boot saved as it starts the first process comes to the same prompt in a fresh, busy host",
  async (linux) => {
    const { record: { prompt: [steps, hash] }, saved } = await bootLinux(linux);
    const machine = Machine.restore(await saved("init"), busyHost);
    await machine.runToStep(steps);
    assertEquals(machine.host.stateHash(machine.vm), hash);
    machine.audit();
  },
);

linuxTest("a session at the shell goes the same way twice, and when it is saved half-way", async (linux) => {
  const first = ["seq 1 2000 | sort -r | sha256sum", "cat /proc/uptime"];
  const second = ["ls -lR /proc/sys/kernel | wc -l", "cat /proc/interrupts", "sleep 1; date"];
  const { saved } = await bootLinux(linux);
  const straight = Machine.restore(await saved("shell"));
  const expected = await converse(straight, [...first, ...second]);
  const again = Machine.restore(await saved("shell"), busyHost);
  const before = await converse(again, first);
  const resumed = Machine.restore(again.host.save(again.vm));
  assertEquals([...before, ...await converse(resumed, second)], expected);
  for (const machine of [straight, again, resumed]) machine.audit();
});

/** Runs commands; each one's output with the step count and the state hash after it. */
async function converse(machine: Machine, commands: readonly string[]): Promise<[string, ...StateHash][]> {
  const answers: [string, ...StateHash][] = [];
  for (const command of commands) {
    const output = await machine.command(command);
    answers.push([output, machine.vm.clock.steps, machine.host.stateHash(machine.vm)]);
  }
  return answers;
}
