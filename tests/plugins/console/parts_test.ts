// The console's parts by themselves: the input queue, lines, escape keys, the writer, panic lines.

import { assertEquals } from "@std/assert";
import { type Vm } from "../../../core/mod.ts";
import { ConsoleWriter, EscapeKeys, InputQueue, LineBuffer } from "../../../plugins/console/mod.ts";
import { LONGEST_LINE } from "../../../plugins/console/lines.ts";
import { readPanic } from "../../../plugins/console/panic.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Iterable<number>) => new TextDecoder().decode(Uint8Array.from(bytes));

Deno.test("the input queue gives every byte once, in order, across pieces of any size", () => {
  const queue = new InputQueue();
  let arrivals = 0;
  queue.onArrival = () => void arrivals++;
  const taken: number[] = [];
  for (const piece of ["a", "", "bcd", "ef"]) {
    queue.push(bytesOf(piece));
    taken.push(queue.pull() ?? -1);
  }
  for (let byte = queue.pull(); byte !== undefined; byte = queue.pull()) taken.push(byte);
  assertEquals(textOf(taken.filter((byte) => byte >= 0)), "abcdef");
  assertEquals([taken.indexOf(-1), arrivals, queue.length], [1, 3, 0]);
});

Deno.test("the input queue keeps its own copy of what is pushed", () => {
  const queue = new InputQueue();
  const buffer = bytesOf("x");
  queue.push(buffer);
  buffer.fill(0);
  assertEquals(queue.pull(), 0x78);
});

Deno.test("what waits in the input queue can be saved in the middle and put back", () => {
  const queue = new InputQueue(), other = new InputQueue();
  queue.push(bytesOf("abc"));
  queue.push(bytesOf("def"));
  queue.pull();
  other.push(bytesOf("other"));
  other.replace(queue.waiting());
  assertEquals([textOf(other.waiting()), other.length, other.pull()], ["bcdef", 5, 0x62]);
});

Deno.test("lines come without their ends, and an unfinished one can be looked at and taken", () => {
  const lines = new LineBuffer();
  const found = [...bytesOf("one\r\n\ntwo\r\r\nthr€e")].map((byte) => lines.add(byte)).filter((l) => l !== undefined);
  assertEquals(found, ["one", "", "two"]);
  assertEquals([lines.text, lines.take(), lines.text], ["thr€e", "thr€e", ""]);
});

Deno.test("a line without an end is cut, so that it cannot grow for ever", () => {
  const lines = new LineBuffer();
  const found = Array.from({ length: LONGEST_LINE * 2 + 1 }, () => lines.add(0x61)).filter((l) => l !== undefined);
  assertEquals(found.map((text) => text.length), [LONGEST_LINE, LONGEST_LINE]);
  assertEquals(lines.text, "a");
});

const typed: readonly [string, string[], string, boolean][] = [
  ["plain text and Ctrl-C", ["ab\x03"], "ab\x03", false],
  ["Ctrl-A x", ["ab\x01xcd"], "ab", true],
  ["Ctrl-A X in two pieces", ["a\x01", "X"], "a", true],
  ["Ctrl-A twice", ["\x01\x01x"], "\x01x", false],
  ["Ctrl-A and another key", ["\x01bc"], "\x01bc", false],
];
for (const [what, pieces, sent, quit] of typed) {
  Deno.test(`typing ${what} sends ${JSON.stringify(sent)}${quit ? " and quits" : ""}`, () => {
    const keys = new EscapeKeys();
    const results = pieces.map((piece) => keys.type(bytesOf(piece)));
    assertEquals(results.map(({ bytes }) => textOf(bytes)).join(""), sent);
    assertEquals(results.at(-1)?.quit, quit);
  });
}

/** A terminal that takes at most `most` bytes at a time. */
function slowTerminal(most: number) {
  const written: number[] = [];
  const write = (bytes: Uint8Array) => {
    const taken = bytes.subarray(0, most);
    written.push(...taken);
    return taken.length;
  };
  return { write, text: () => textOf(written) };
}

const vmNamed = (name: string) => ({ name }) as Vm;

Deno.test("one VM's output is written byte by byte as it came, however little the terminal takes", () => {
  const terminal = slowTerminal(3), writer = new ConsoleWriter(false, terminal.write), vm = vmNamed("a");
  const text = "line\r\n".repeat(5000) + "prompt$ ";
  for (const byte of bytesOf(text)) writer.add(vm, byte);
  writer.flush();
  assertEquals(terminal.text(), text);
});

Deno.test("several VMs' output is written in whole lines with their names, and the rest when they end", () => {
  const terminal = slowTerminal(1000), writer = new ConsoleWriter(true, terminal.write);
  const a = vmNamed("a"), b = vmNamed("b");
  for (const byte of bytesOf("he")) writer.add(a, byte);
  for (const byte of bytesOf("x\r\n")) writer.add(b, byte);
  for (const byte of bytesOf("llo\nrest")) writer.add(a, byte);
  writer.finish(a);
  writer.finish(b);
  writer.flush();
  assertEquals(terminal.text(), "b: x\na: hello\na: rest\n");
});

Deno.test("a panic line is recognised with the time before it, its end apart from its start", () => {
  assertEquals(readPanic("[    1.5] Kernel panic - not syncing: VFS: no root"), {
    kind: "start",
    text: "Kernel panic - not syncing: VFS: no root",
  });
  assertEquals(readPanic("[    1.6] ---[ end Kernel panic - not syncing: VFS ]---")?.kind, "end");
  assertEquals(readPanic("kernel is fine"), undefined);
});
