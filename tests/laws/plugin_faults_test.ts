// A plugin that throws is named, whatever it was doing. In the middle of a VM's own turn it costs that VM alone: the others go
// on to the same end as ever, and machine memory adds up. Elsewhere the run ends.

import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { addVm, createHost } from "../../cli/machine.ts";
import {
  definePlugin,
  type Host,
  ListenerError,
  type Plugin,
  turnEnded,
  type Vm,
  vmAdmission,
  vmCheckpoint,
  vmEnding,
  vmExited,
} from "../../core/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";
import * as x86 from "../../plugins/x86/mod.ts";

const ITERATIONS = 300;

function throwing(setup: Plugin["setup"]): Plugin {
  return definePlugin({ name: "broken", requires: ["memory", "x86", "console"], setup });
}

function oops(): never {
  throw new RangeError("oops");
}

/** Throws for the victim only, so that the others' events pass, and once it runs. */
const atVictim = ({ name, clock }: Vm) => {
  if (name === "victim" && clock.steps > 0) oops();
};

/** A host with a plugin that throws and three VMs, the second of which it throws at. */
function hostWith(plugin: Plugin, engine: readonly string[]): Host {
  const host = createHost({ memoryMib: 24, quantumNs: 100_000, plugins: [...engine, plugin] });
  for (const name of ["before", "victim", "after"]) {
    addVm(host, { name, guest: { use: "privileged", options: { iterations: ITERATIONS } }, memoryMib: 4 });
  }
  return host;
}

const inTurns: readonly [event: string, kind: string, setup: Plugin["setup"]][] = [
  ["x86.trapped", "observe", ({ on }) => on(x86.trapped, ({ vm }) => atVictim(vm))],
  ["x86.delivered", "observe", ({ on }) => on(x86.delivered, ({ vm }) => atVictim(vm))],
  ["x86.accessed", "observe", ({ on }) => on(x86.accessed, ({ vm }) => atVictim(vm))],
  ["x86.translated", "observe", ({ on }) => on(x86.translated, ({ vm }) => atVictim(vm))],
  ["console.output", "observe", ({ on }) => on(console.output, ({ vm }) => atVictim(vm))],
  [
    "x86.readMsr",
    "decide",
    ({ on }) => on(x86.readMsr, ({ vm }) => vm.name === "victim" ? oops() : undefined, { order: -1 }),
  ],
  ["x86.cpuid", "reduce", ({ on }) => on(x86.cpuid, (result, { vm }) => (atVictim(vm), result))],
  ["memory.mappingChanged", "observe", ({ on, every, host, service }) => {
    const mechanism = service(memory.mechanism);
    let isInTurn = true;
    // The VMs run one program, so that many pages are equal: shared, they get frames of their own when they are written.
    every(50_000, () => {
      isInTurn = false;
      const [first, ...others] = host.vms.filter(({ exit }) => exit === undefined);
      for (const vm of others) {
        for (let ppn = 0; ppn < 1024; ppn++) {
          const mpn = mechanism.frameOf(first, ppn);
          if (mpn !== undefined && mechanism.frameOf(vm, ppn) !== undefined) mechanism.share(vm, ppn, mpn);
        }
      }
      isInTurn = true;
    });
    on(memory.mappingChanged, ({ vm }) => {
      if (isInTurn && vm.exit === undefined) atVictim(vm);
    });
  }],
];
for (const engine of [[], ["bt"]]) {
  for (const [event, kind, setup] of inTurns) {
    const where = engine.length === 0 ? "the interpreter" : "the translator";
    Deno.test(`a listener of ${event} (${kind}) that throws ends its VM alone, under ${where}`, async () => {
      const host = hostWith(throwing(setup), engine);
      if (event === "x86.readMsr") askForMsr(host);
      await host.run({ untilNs: 2e9 });
      host.service(memory.machine).audit();
      const [before, victim, after] = host.vms;
      assertEquals([victim.exit?.reason, victim.exit?.status], ["failed", 70]);
      assertStringIncludes(victim.exit?.detail ?? "", `plugin "broken" failed in its listener of ${event}: oops`);
      assertEquals([before.exit?.reason, after.exit?.reason], ["halt", "halt"]);
      assertEquals(host.stateHash(after), host.stateHash(before));
    });
  }
}

/** An MSR that nobody knows, read at once. */
function askForMsr(host: Host): void {
  const guestMemory = host.service(memory.guest);
  for (const vm of host.vms) {
    const cpu = host.service(x86.processor)(vm), eip = cpu.eip;
    // MOV ECX, 1Bh; RDMSR; then back to the first bytes, which are kept behind.
    const code = [0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0xb9, 0, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xba, 0, 0, 0, 0];
    const at = 0x8000, jump = eip - (at + code.length + 5);
    guestMemory(vm).write(at, Uint8Array.from([...code, 0xe9, ...new Uint8Array(Int32Array.of(jump).buffer)]));
    cpu.r[x86.state.EIP] = at;
  }
}

const elsewhere: readonly [what: string, named: string, setup: Plugin["setup"]][] = [
  ["of the end of a turn", "core.turnEnded", ({ on }) => on(turnEnded, ({ vm }) => atVictim(vm))],
  ["of a checkpoint", "core.vmCheckpoint", ({ on }) => on(vmCheckpoint, atVictim)],
  ["that may change how a VM ends", "core.vmEnding", ({ on }) => on(vmEnding, (exit, vm) => (atVictim(vm), exit))],
  ["of a VM's end", "core.vmExited", ({ on }) => on(vmExited, atVictim)],
  ["of host time", "host time", ({ every }) => void every(1_000_000, oops)],
];
for (const [what, named, setup] of elsewhere) {
  Deno.test(`a listener ${what} that throws ends the run, with its plugin's name`, async () => {
    const host = hostWith(throwing(setup), []);
    for (const vm of host.vms) vm.checkpointEvery(1000);
    const error = await assertRejects(() => host.run(), ListenerError);
    assertStringIncludes(error.message, `plugin "broken" failed in its listener of ${named}: oops`);
    assert(error.cause instanceof RangeError);
    host.service(memory.machine).audit();
  });
}

const atAdmission: readonly [what: string, named: string, setup: Plugin["setup"]][] = [
  [
    "a factory of a VM's state",
    "VMs that come",
    ({ perVm }) => void perVm(({ name }) => name === "victim" ? oops() : {}),
  ],
  [
    "a listener that may refuse VMs",
    "core.vmAdmission",
    ({ on }) => on(vmAdmission, ({ name }) => name === "victim" ? oops() : undefined),
  ],
];
for (const [what, named, setup] of atAdmission) {
  Deno.test(`${what} that throws keeps that VM out, with its plugin's name, and others run`, async () => {
    const host = createHost({ memoryMib: 24, plugins: [throwing(setup)] });
    const vm = addVm(host, { name: "before", guest: "hello" });
    const error = assertThrows(() => addVm(host, { name: "victim", guest: "hello" }), ListenerError);
    assertStringIncludes(error.message, `plugin "broken" failed in its listener of ${named}: oops`);
    const other = addVm(host, { name: "after", guest: "hello" });
    await host.run();
    assertEquals([vm.exit?.reason, other.exit?.reason, host.vms.length], ["halt", "halt", 2]);
    host.service(memory.machine).audit();
    assert(host.vms.every(({ name }) => name !== "victim"));
  });
}
