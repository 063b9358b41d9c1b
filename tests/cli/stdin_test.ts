// Standard input on its way to a guest: read ahead, in order, nothing lost, no wait for what will not come.

import { assertEquals } from "@std/assert";
import { InputPump, type InputSource } from "../../cli/stdin.ts";
import { InputQueue } from "../../plugins/console/mod.ts";

const never = new Promise<never>(() => {});
const textOf = (queue: InputQueue) => new TextDecoder().decode(queue.waiting());

/** A source that gives pieces, one a read, and then ends or stays silent. */
function source(pieces: readonly string[], end: "ends" | "stays silent"): InputSource & { reads: number } {
  const left = pieces.map((piece) => new TextEncoder().encode(piece));
  return {
    reads: 0,
    read(buffer) {
      this.reads++;
      const piece = left.shift();
      if (piece === undefined) return end === "ends" ? Promise.resolve(null) : never;
      buffer.set(piece);
      return Promise.resolve(piece.length);
    },
  };
}

Deno.test("all that a pipe holds is there before the run begins", async () => {
  const queue = new InputQueue();
  await new InputPump(source(["ab", "c", "def"], "ends"), queue).start();
  assertEquals(textOf(queue), "abcdef");
});

Deno.test("a pipe that stays open and silent does not keep the run from beginning", async () => {
  const queue = new InputQueue();
  await new InputPump(source(["ab"], "stays silent"), queue).start();
  assertEquals(textOf(queue), "ab");
});

Deno.test("a guest that waits for input gets what comes, and learns when no more will", async () => {
  const queue = new InputQueue();
  const pump = new InputPump(source(["x", "y"], "ends"), queue);
  assertEquals([await pump.wait(never), textOf(queue)], [true, "x"]);
  assertEquals([await pump.wait(never), textOf(queue)], [true, "xy"]);
  await pump.wait(never);
  while (queue.pull() !== undefined);
  assertEquals(await pump.wait(never), false);
});

Deno.test("stopping the run ends the wait for input", async () => {
  const pump = new InputPump(source([], "stays silent"), new InputQueue());
  assertEquals(await pump.wait(Promise.resolve()), true);
});

Deno.test("reading stops while enough is waiting, and goes on when the guest has taken it", async () => {
  const endless = source(Array.from({ length: 100 }, () => "z".repeat(65536)), "ends");
  const queue = new InputQueue();
  const pump = new InputPump(endless, queue);
  await pump.start();
  assertEquals(queue.length, 1 << 20);
  assertEquals(pump.arrival(), undefined);
  const before = endless.reads;
  while (queue.length > 0) queue.pull();
  await pump.arrival();
  assertEquals(endless.reads, before + 1);
});

Deno.test("a filter sees every piece and decides what the guest gets", async () => {
  const queue = new InputQueue();
  await new InputPump(source(["ab", "ba"], "ends"), queue, (bytes) => bytes.filter((byte) => byte !== 0x61)).start();
  assertEquals(textOf(queue), "bb");
});

Deno.test("a terminal that goes away is the end of input, not a crash", async () => {
  const queue = new InputQueue();
  const pump = new InputPump({ read: () => Promise.reject(new Error("gone")) }, queue);
  await pump.start();
  assertEquals(await pump.wait(never), false);
});
