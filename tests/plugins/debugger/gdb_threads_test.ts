// Several VMs under gdb: each is a thread with its own registers, memory and steps, and all of them stop when one does.

import { assert, assertEquals } from "@std/assert";
import { Assembler, eax, ebx, mem } from "../../../guests/assembler/mod.ts";
import { readActions, readThread } from "../../../plugins/debugger/gdb/threads.ts";
import { fromHex } from "../../../plugins/debugger/gdb/packets.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { dialogueOf, hex, wordHex } from "./dialogue.ts";
import { machineOf, ORIGIN, program } from "./machine.ts";

const DATA = 0x20_0000;

/** Counts EBX up from `first` and keeps it in memory; ends after `rounds`, or never. */
function counting(first: number, rounds?: number) {
  return program((asm: Assembler) => {
    asm.mov(ebx, first).mov(eax, rounds ?? 1);
    asm.label("loop").mov(mem(DATA), ebx).inc(ebx);
    if (rounds !== undefined) asm.dec(eax);
    asm.jnz("loop").label("done").cli().hlt();
  });
}

/** Two that count for ever and one that ends, taking turns of a few hundred steps. */
function three(plugins: readonly string[] = []) {
  const guests = [counting(0x1000), counting(0x2000), counting(0x3000, 5000)];
  const { labels } = guests[0];
  return { ...dialogueOf(guests.map(({ guest }) => guest), { plugins, quantumNs: 3_000 }), labels };
}

/** A register of the VM that gdb chose. */
const EBX = "p3", EIP = "p8";

Deno.test("every VM is a thread, and gdb chooses whose registers and memory it sees", () => {
  const { ask, cpus } = three();
  for (const [i, cpu] of cpus.entries()) cpu.setRegister(x86.EBX, 0x11 * (i + 1));
  assertEquals([ask("qfThreadInfo"), ask("qsThreadInfo"), ask("qC"), ask("?")], ["m1,2,3", "l", "QC1", "T02thread:1;"]);
  const names = ["1", "2", "3"].map((id) => new TextDecoder().decode(fromHex(ask(`qThreadExtraInfo,${id}`) ?? "")));
  assertEquals(names, ["VM vm", "VM vm2", "VM vm3"]);
  for (const [i, thread] of ["2", "3", "1"].entries()) {
    assertEquals([ask(`Hg${thread}`), ask("qC")], ["OK", `QC${thread}`]);
    assertEquals(ask(EBX), wordHex(0x11 * Number(thread)));
    assertEquals([ask(`M${hex(DATA)},1:0${i}`), ask(`m${hex(DATA)},1`)], ["OK", `0${i}`]);
  }
  ask("Hg2");
  assertEquals([ask(`m${hex(DATA)},1`), ask("P3=01000000"), cpus[1].getRegister(x86.EBX)], ["00", "OK", 1]);
  assertEquals([ask("Hg0"), ask("Hg-1"), ask("Hc3"), ask("qC")], ["OK", "OK", "OK", "QC2"]);
  assertEquals([ask("Hg4"), ask("T2"), ask("T4"), ask("qThreadExtraInfo,9")], ["E03", "OK", "E03", "E03"]);
});

const engines: readonly (readonly string[])[] = [[], ["bt"]];
for (const plugins of engines) {
  const over = plugins[0] ?? "the interpreter";
  Deno.test(`over ${over}, a breakpoint stops whichever VM comes there, and gdb is told which`, async () => {
    const { ask, run, labels, cpus, vms } = three(plugins);
    assertEquals(ask("qSupported:swbreak+")?.includes("swbreak+"), true);
    const loop = labels.get("loop");
    assertEquals(ask(`Z0,${hex(loop)},1`), "OK");
    const stops: string[] = [];
    for (let stop = 0; stop < 12; stop++) {
      const said = await run("vCont;c") ?? "";
      const thread = /^T05thread:([123]);swbreak:;$/.exec(said)?.[1];
      assert(thread !== undefined, said);
      assertEquals([ask("qC"), ask(EIP)], [`QC${thread}`, wordHex(loop ?? 0)]);
      assertEquals(cpus[Number(thread) - 1].eip, loop);
      stops.push(thread);
      // The VM that stopped goes alone over the breakpoint, as gdb does where it has taken it out.
      const steps = vms.map((vm) => vm.clock.steps);
      assertEquals(ask(`z0,${hex(loop)},1`), "OK");
      assertEquals(await run(`vCont;s:${thread}`), `T05thread:${thread};`);
      const made = vms.map((vm, i) => vm.clock.steps - steps[i]);
      assertEquals(made, vms.map((_, i) => Number(i === Number(thread) - 1)));
      assertEquals(ask(`Z0,${hex(loop)},1`), "OK");
    }
    assert(new Set(stops).size > 1, stops.join());
  });
}

Deno.test("a step of one VM with the others running ends after one step of that one", async () => {
  const { run, vms } = three();
  for (const thread of [2, 1, 3, 2]) {
    const { steps } = vms[thread - 1].clock;
    assertEquals(await run(`vCont;s:${thread};c`), `T05thread:${thread};`);
    assertEquals(vms[thread - 1].clock.steps, steps + 1);
  }
});

Deno.test("VMs that are held do not run until the next stop, and then do", async () => {
  const { ask, run, vms, labels } = three();
  assertEquals(ask(`Z0,${hex(labels.get("loop"))},1`), "OK");
  for (const _ of [1, 2, 3]) assertEquals(await run("vCont;c:2"), "T05thread:2;");
  assertEquals(vms.map((vm) => vm.clock.steps > 0), [false, true, false]);
  const steps = vms.map((vm) => vm.clock.steps);
  const stopped = new Set<string | undefined>();
  for (let stop = 0; stop < 8; stop++) stopped.add(await run("vCont;c"));
  assertEquals(stopped.size, 3);
  assert(vms.every((vm, i) => vm.clock.steps > steps[i]));
});

Deno.test("a watchpoint names the VM that wrote", async () => {
  const { ask, run } = three();
  assertEquals(ask(`Z2,${hex(DATA)},4`), "OK");
  assertEquals(await run("vCont;c:3"), `T05thread:3;watch:${hex(DATA)};`);
  assertEquals([ask(`m${hex(DATA)},4`), ask(`z2,${hex(DATA)},4`)], [wordHex(0x3000), "OK"]);
});

Deno.test("a VM that ends while others run is no thread any more; the last one's end ends the session", async () => {
  const { ask, run, vms } = three();
  // The third alone, to its end: gdb gets another VM to look at.
  assertEquals(await run("vCont;c:3"), "T02thread:1;");
  assertEquals([vms[2].exit?.reason, ask("qfThreadInfo"), ask("T3"), ask("Hg3")], ["halt", "m1,2", "E03", "E03"]);
  vms[0].end({ reason: "stopped", status: 0 });
  vms[1].end({ reason: "debug-exit", status: 5 });
  assertEquals([ask("vCont;c"), ask("?")], ["W05", "W05"]);
});

Deno.test("a VM that waits for input with the others held is a stop, not their end", async () => {
  const sleeping = program((asm) => {
    asm.sti().hlt().label("after").jmp("after");
  });
  const { ask, run, vms } = dialogueOf([sleeping.guest, counting(1).guest]);
  assertEquals(await run("vCont;c:1"), "T02thread:1;");
  assertEquals(vms.map(({ exit, clock }) => [exit, clock.steps > 0]), [[undefined, true], [undefined, false]]);
  // Asked to go on alone once more, it cannot: the other runs.
  assertEquals(ask(`Z0,${hex(ORIGIN)},1`), "OK");
  assertEquals(await run("vCont;c:1"), "T05thread:2;");
});

Deno.test("killing ends every VM, detaching lets every VM go on without breakpoints", async () => {
  const killed = three();
  assertEquals(killed.ask("vKill;1"), "OK");
  await killed.host.run();
  assertEquals(killed.vms.map(({ exit }) => exit?.reason), ["stopped", "stopped", "stopped"]);
  const guests = [counting(1, 10).guest, counting(2, 20).guest];
  const { ask, host, vms } = dialogueOf(guests);
  ask(`Z0,${hex(ORIGIN)},1`);
  assertEquals(ask("D"), "OK");
  await host.run();
  assertEquals(vms.map(({ exit }) => exit?.reason), ["halt", "halt"]);
});

Deno.test("what gdb does to one VM, and holding it, changes nothing for another guest", async () => {
  const { guest } = counting(7, 3000);
  const alone = machineOf(guest, []);
  await alone.host.run();
  const { ask, run, host, vms, labels } = {
    ...dialogueOf([counting(1).guest, guest], { quantumNs: 3_000 }),
    labels: counting(1).labels,
  };
  ask(`Z0,${hex(labels.get("loop"))},1`);
  for (let stop = 0; stop < 20; stop++) await run(stop % 3 === 0 ? "vCont;c:1" : "vCont;c");
  ask("Hg1");
  ask("P3=00000000");
  ask(`z0,${hex(labels.get("loop"))},1`);
  ask("vCont;c");
  await host.run({ stop: () => vms[1].exit !== undefined });
  assertEquals([vms[1].clock.steps, host.stateHash(vms[1])], [alone.vm.clock.steps, alone.host.stateHash(alone.vm)]);
});

Deno.test("actions and threads are read as gdb writes them", () => {
  assertEquals(["1", "a", "0", "-1", "", "x"].map(readThread), [1, 10, undefined, undefined, undefined, undefined]);
  const cases: readonly [string, ReturnType<typeof readActions>][] = [
    ["c", [{ kind: "continue" }]],
    ["s:1;c", [{ kind: "step", thread: "1" }, { kind: "continue" }]],
    ["C05:A;s:-1", [{ kind: "continue", thread: "a" }, { kind: "step" }]],
    ["r100,200:1", undefined],
    ["", undefined],
  ];
  for (const [text, actions] of cases) assertEquals(readActions(text), actions, text);
});
