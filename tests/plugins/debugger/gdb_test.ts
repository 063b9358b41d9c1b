// gdb's remote protocol: packets to the byte, and a session as gdb holds it, with registers, memory, breakpoints, steps.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { eax, ebx, ecx, mem } from "../../../guests/assembler/mod.ts";
import { type Arrival, encodePacket, fromHex, PacketReader, toHex } from "../../../plugins/debugger/gdb/packets.ts";
import { gdbRegisters } from "../../../plugins/debugger/gdb/registers.ts";
import * as x86 from "../../../plugins/x86/mod.ts";
import { dialogueOf, hex } from "./dialogue.ts";
import { ORIGIN, program, runToStop } from "./machine.ts";

const bytesOf = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const textOf = (bytes: Uint8Array) => String.fromCharCode(...bytes);

Deno.test("packets are framed, escaped and summed as the manual says", () => {
  assertEquals(textOf(encodePacket("OK")), "$OK#9a");
  assertEquals(textOf(encodePacket("")), "$#00");
  assertEquals(textOf(encodePacket("a}#$*")), "$a}]}\x03}\x04}\x0a#c3");
});

Deno.test("a stream is cut into packets, acknowledgements and interrupts, however it arrives", () => {
  const stream = "+$m0,4#fd\x03$bad#00-$X0,2:}]}\x03#7a";
  const expected: Arrival[] = [
    { kind: "ack" },
    { kind: "packet", data: "m0,4" },
    { kind: "interrupt" },
    { kind: "damaged" },
    { kind: "nak" },
    { kind: "packet", data: "X0,2:}#" },
  ];
  assertEquals([...new PacketReader().feed(bytesOf(stream))], expected);
  const reader = new PacketReader();
  assertEquals([...stream].flatMap((char) => [...reader.feed(bytesOf(char))]), expected);
});

Deno.test("hexadecimal digits are bytes and back", () => {
  assertEquals(toHex(Uint8Array.of(0, 0x7f, 0xff)), "007fff");
  assertEquals([...fromHex("007FFF") ?? []], [0, 0x7f, 0xff]);
  assertEquals([fromHex("1"), fromHex("xy")], [undefined, undefined]);
});

const DATA = 0x20_0000;

function dialogue() {
  const { guest, labels } = program((asm) => {
    asm.mov(ecx, 3).label("loop").mov(mem(DATA), ecx).mov(eax, mem(DATA)).add(ebx, eax).dec(ecx).jnz("loop");
    asm.label("done").cli().hlt();
  });
  const { host, vms: [vm], cpus: [cpu], ask, run } = dialogueOf([guest]);
  return { host, vm, cpu, ask, run, labels };
}

Deno.test("what gdb asks first is answered", () => {
  const { ask } = dialogue();
  assertStringIncludes(ask("qSupported:swbreak+;hwbreak+;xmlRegisters=i386") ?? "", "qXfer:features:read+");
  assertEquals(ask("vMustReplyEmpty"), "");
  assertEquals([ask("?"), ask("qC"), ask("qfThreadInfo"), ask("qsThreadInfo"), ask("Hg0"), ask("qAttached")], [
    "T02thread:1;",
    "QC1",
    "m1",
    "l",
    "OK",
    "1",
  ]);
  let xml = "", part = "m";
  while (part[0] === "m") {
    part = ask(`qXfer:features:read:target.xml:${hex(xml.length)},200`) ?? "l";
    xml += part.slice(1);
  }
  for (const { name, bits } of gdbRegisters) assertStringIncludes(xml, `<reg name="${name}" bitsize="${bits}"`);
  assertMatch(xml, /^<\?xml.*<architecture>i386<.*<\/target>$/);
});

Deno.test("registers are read and written, and what cannot be set is refused", () => {
  const { ask, cpu } = dialogue();
  cpu.setRegister(x86.EBX, 0x12345678);
  cpu.fpu.se[0] = 0x3fff;
  cpu.fpu.significands[1] = 0x80000000;
  const all = ask("g") ?? "";
  assertEquals(all.length, gdbRegisters.reduce((sum, { bits }) => sum + bits / 4, 0));
  assertEquals([all.slice(24, 32), ask("p3"), ask("p10")], ["78563412", "78563412", "0000000000000080ff3f"]);
  assertEquals([ask("P0=efbeadde"), cpu.getRegister(x86.EAX)], ["OK", 0xdeadbeef]);
  assertEquals([ask("P8=04001000"), cpu.eip], ["OK", ORIGIN + 4]);
  assertEquals([ask("P9=d7080000"), cpu.eflags()], ["OK", 0x8d7]);
  assertEquals([ask("Pa=08000000"), ask("Pa=10000000"), ask("pff"), ask("P0=12")], ["OK", "E16", "E16", "E16"]);
  const changed = all.slice(0, 24) + "01000000" + all.slice(32);
  assertEquals([ask(`G${changed}`), cpu.getRegister(x86.EBX)], ["OK", 1]);
});

Deno.test("memory is read and written through the guest's tables, and not where nothing is mapped", () => {
  const { ask, cpu } = dialogue();
  assertEquals(ask(`m${hex(ORIGIN)},5`), "b903000000");
  assertEquals([ask("M300ffe,4:01020304"), ask("m300ffe,4")], ["OK", "01020304"]);
  assertEquals([ask("X301000,3:}]*\x00"), ask("m301000,3")], ["E16", "030400"]);
  assertEquals([ask("X301000,4:a}]*\x00"), ask("m301000,3")], ["E16", "030400"]);
  assertEquals([ask("X301000,3:a}*"), ask("m301000,3")], ["OK", "617d2a"]);
  // The VM has 4 MiB.
  assertEquals([ask("m3ffffe,10"), ask("m400000,4"), ask("M3ffffe,4:01020304")], ["0000", "E0e", "E0e"]);
  assertEquals(cpu.mmu.probe(0x400000), 0x400000);
});

Deno.test("breakpoints, steps and watchpoints stop with the reason that gdb understands", async () => {
  const { ask, run, labels, cpu } = dialogue();
  ask("qSupported:swbreak+;hwbreak+");
  const loop = labels.get("loop");
  assertEquals(ask(`Z0,${hex(loop)},1`), "OK");
  assertEquals(await run("c"), "T05thread:1;swbreak:;");
  assertEquals(cpu.eip, loop);
  assertEquals(await run("vCont;s:1;c"), "T05thread:1;");
  assertEquals(await run("s"), "T05thread:1;");
  assertEquals([ask(`z0,${hex(loop)},1`), ask(`z0,${hex(loop)},1`), ask(`Z1,${hex(loop)},1`)], ["OK", "E16", "OK"]);
  assertEquals(await run("vCont;c"), "T05thread:1;hwbreak:;");
  ask(`z1,${hex(loop)},1`);
  for (const [type, word] of [["2", "watch"], ["3", "rwatch"], ["4", "awatch"]]) {
    assertEquals(ask(`Z${type},${hex(DATA)},4`), "OK");
    assertEquals(await run("c"), `T05thread:1;${word}:${hex(DATA)};`);
    assertEquals(ask(`z${type},${hex(DATA)},4`), "OK");
  }
  assertEquals([await run("c"), ask("c"), ask("?")], ["W00", "W00", "W00"]);
});

Deno.test("a guest's own code can be changed under it", async () => {
  const { ask, run, labels, cpu } = dialogue();
  const done = labels.get("done");
  ask(`Z0,${hex(done)},1`);
  await run("c");
  // HLT twice, where CLI was: with interrupts off the first ends the VM.
  assertEquals(ask(`M${hex(done)},2:f4f4`), "OK");
  assertEquals(await run("c"), "W00");
  assertEquals(cpu.eip, (done ?? 0) + 1);
});

Deno.test("killing ends the VM, detaching lets it go", async () => {
  const killed = dialogue();
  assertEquals(killed.ask("vKill;1"), "OK");
  await runToStop(killed);
  assertEquals([killed.vm.exit?.reason, killed.vm.clock.steps], ["stopped", 0]);
  const detached = dialogue();
  detached.ask(`Z0,${hex(ORIGIN)},1`);
  assertEquals(detached.ask("D"), "OK");
  assertEquals(await runToStop(detached), undefined);
  assertEquals(detached.vm.exit?.reason, "halt");
});

const monitorCases: readonly [string, RegExp][] = [
  ["help", /^help +this list\nstate /],
  ["time", /^0 steps, 0 ns\n$/],
  ["translate 0x100000", /^0x100000\n$/],
  ["translate x", /^expected an address/],
  ["name 0x1", /^here\n$/],
  ["address any", /^0x10\n$/],
  ["state", /^EAX=[\s\S]*\ncode\n {2}00100000 <here>/],
  ["code", /mov ecx, 0x3\n/],
  ["nonsense", /^unknown command "nonsense"; monitor help/],
];
Deno.test("monitor commands answer", () => {
  const { ask } = dialogue();
  for (const [command, expected] of monitorCases) {
    const answer = fromHex(ask(`qRcmd,${toHex(new TextEncoder().encode(command))}`) ?? "");
    assert(answer !== undefined);
    assertMatch(new TextDecoder().decode(answer), expected);
  }
});
