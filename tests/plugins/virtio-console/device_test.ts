// The virtio console from both ends: no byte is lost or repeated either way, and a state saved between goes on.

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { addVm, createHost } from "../../../cli/machine.ts";
import { InputError } from "../../../core/mod.ts";
import { ConsoleDevice, EMERGENCY_WRITE, Feature, Queue } from "../../../plugins/virtio-console/device.ts";
import consolePlugin, { consolePort } from "../../../plugins/virtio-console/mod.ts";
import virtioPlugin from "../../../plugins/virtio/mod.ts";
import { Structure } from "../../../plugins/virtio/transport.ts";
import { hashOf, makeVm, pass } from "../pc/harness.ts";
import { BUFFERS, Driver, FakeMemory } from "../virtio/driver.ts";

function makeConsole(settleNs = 0) {
  const vm = makeVm(), memory = new FakeMemory(512), driver = new Driver(memory);
  const device = new ConsoleDevice(vm.clock, memory, settleNs, driver.attach);
  const typed: number[] = [], sent: number[] = [];
  device.attach({ transmit: (byte) => void sent.push(byte), nextByte: () => typed.shift() });
  const type = (text: string) => {
    typed.push(...new TextEncoder().encode(text));
    device.inputArrived();
  };
  return { vm, memory, driver, device, typed, sent, type };
}

const SLOT = 256;
/** Gives the device a buffer for input of `length` bytes at the place of its number. */
function offer(driver: Driver, index: number, length: number): void {
  driver.add(Queue.RECEIVE, [{ address: BUFFERS + index * SLOT, length, writable: true }]);
  driver.kick(Queue.RECEIVE);
}

Deno.test("input waits until the driver has given a buffer, and arrives whole", () => {
  const { driver, type, vm, typed, memory, device } = makeConsole();
  type("early");
  pass(vm, 1e9);
  assertEquals([typed.length, device.readyToReceive], [5, false]);
  driver.start();
  pass(vm, 1e9);
  assertEquals(typed.length, 5);
  offer(driver, 0, 100);
  assertEquals(device.readyToReceive, true);
  pass(vm, 1e9);
  assertEquals(driver.used(Queue.RECEIVE), [[0, 5]]);
  assertEquals(new TextDecoder().decode(memory.bytes.slice(BUFFERS, BUFFERS + 5)), "early");
  type("late");
  pass(vm, 1e9);
  assertEquals([driver.used(Queue.RECEIVE), typed.length], [[], 4], "there is no second buffer");
});

Deno.test("the first input comes once the driver has settled, the rest without delay, and a reset starts anew", () => {
  const { driver, type, vm } = makeConsole(5e6);
  type("early");
  for (let round = 0; round < 2; round++) {
    driver.start();
    pass(vm, 1e9);
    offer(driver, 0, 10);
    pass(vm, 5e6 - 1);
    assertEquals(driver.used(Queue.RECEIVE), []);
    pass(vm, 1);
    assertEquals(driver.used(Queue.RECEIVE).length, 1);
    offer(driver, 1, 10);
    type("at once");
    pass(vm, 20_000);
    assertEquals(driver.used(Queue.RECEIVE).length, 1);
    type("again");
  }
});

Deno.test("a buffer that waits for input stays with the device until some comes", () => {
  const { driver, type, vm } = makeConsole();
  driver.start();
  offer(driver, 0, 10);
  pass(vm, 1e9);
  assertEquals(driver.used(Queue.RECEIVE), []);
  type("x");
  pass(vm, 1e6);
  assertEquals(driver.used(Queue.RECEIVE), [[0, 1]]);
});

Deno.test("input of any pieces through buffers of any size is the same bytes in the same order", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string({ maxLength: 40 }), fc.integer({ min: 1, max: 30 })), { maxLength: 60 }),
      (steps) => {
        const { driver, type, vm, memory } = makeConsole();
        driver.start();
        let expected = "", received = "", given = 0;
        const collect = () => {
          for (const [head, length] of driver.used(Queue.RECEIVE)) {
            const at = memory.view.getUint32(driver.tableOf(Queue.RECEIVE) + head * 16, true);
            received += new TextDecoder("latin1").decode(memory.bytes.slice(at, at + length));
            given--;
          }
        };
        let offered = 0;
        const give = (length: number) => {
          if (given === driver.size) return;
          offer(driver, offered++ % 64, length);
          given++;
        };
        for (const step of steps) {
          if (typeof step === "string") {
            type(step);
            expected += new TextDecoder("latin1").decode(new TextEncoder().encode(step));
          } else give(step);
          pass(vm, 20_000);
          collect();
        }
        for (let i = 0; received.length < expected.length && i < 3000; i++) {
          give(30);
          pass(vm, 20_000);
          collect();
        }
        assertEquals(received, expected);
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("output leaves at once and in order", () => {
  const { driver, memory, sent } = makeConsole();
  driver.start();
  memory.bytes.set(new TextEncoder().encode("Hello, world"), BUFFERS);
  driver.add(Queue.TRANSMIT, [{ address: BUFFERS, length: 5 }, { address: BUFFERS + 5, length: 2 }]);
  driver.add(Queue.TRANSMIT, [{ address: BUFFERS + 7, length: 5 }]);
  driver.kick(Queue.TRANSMIT);
  assertEquals(new TextDecoder().decode(Uint8Array.from(sent)), "Hello, world");
  assertEquals(driver.used(Queue.TRANSMIT), [[0, 0], [2, 0]]);
});

Deno.test("more output than fits one go continues in guest time, complete", () => {
  const { driver, sent, vm } = makeConsole();
  driver.start();
  for (let i = 0; i < 8; i++) driver.add(Queue.TRANSMIT, [{ address: BUFFERS, length: 40_000 }]);
  driver.kick(Queue.TRANSMIT);
  assertEquals(sent.length, 80_000);
  pass(vm, 1e9);
  assertEquals([sent.length, driver.used(Queue.TRANSMIT).length], [320_000, 8]);
});

Deno.test("a buffer that is no console's stops the device", () => {
  const over = makeConsole();
  over.driver.start();
  over.driver.add(Queue.TRANSMIT, [{ address: BUFFERS, length: (1 << 20) + 1 }]);
  over.driver.kick(Queue.TRANSMIT);
  assertEquals([over.driver.needsReset, over.sent.length], [true, 0]);

  const readable = makeConsole();
  readable.driver.start();
  readable.type("kept");
  readable.driver.add(Queue.RECEIVE, [{ address: BUFFERS, length: 10 }]);
  readable.driver.kick(Queue.RECEIVE);
  pass(readable.vm, 1e6);
  assertEquals([readable.driver.needsReset, readable.typed.length], [true, 4]);
  readable.driver.start();
  offer(readable.driver, 0, 10);
  pass(readable.vm, 1e6);
  assertEquals(readable.driver.used(Queue.RECEIVE), [[0, 4]], "no input was lost to the broken driver");
});

Deno.test("an emergency write needs no driver that is ready", () => {
  const { driver, sent } = makeConsole();
  assert(Feature.EMERG_WRITE === 2);
  driver.write(Structure.DEVICE.at + EMERGENCY_WRITE, 4, "!".charCodeAt(0));
  assertEquals(sent, [0x21]);
});

Deno.test("a saved console goes on with its buffer and its input", () => {
  const made = makeConsole();
  made.driver.start();
  offer(made.driver, 0, 10);
  made.type("a");
  made.driver.used(Queue.RECEIVE);
  const other = makeConsole();
  other.typed.push(...made.typed);
  other.vm.clock.restore(made.vm.clock.save() as Parameters<typeof other.vm.clock.restore>[0]);
  other.memory.bytes.set(made.memory.bytes);
  other.device.restore(made.device.save());
  for (const { vm } of [made, other]) pass(vm, 1e6);
  assertEquals(other.memory.bytes, made.memory.bytes);
  assertEquals(other.driver.used(Queue.RECEIVE), [[0, 1]]);
  assertEquals(hashOf(other.device), hashOf(made.device));
});

Deno.test("a VM has a virtio console only if its options say so", () => {
  const image = { loads: [{ address: 0x7c00, bytes: Uint8Array.of(0xf4) }], entry: 0x7c00, mode: "real" as const };
  const host = createHost({ memoryMib: 16, plugins: [virtioPlugin, consolePlugin] });
  const without = addVm(host, { name: "without", guest: { image }, memoryMib: 1 });
  assertThrows(() => host.service(consolePort)(without), InputError, "virtio-console.enabled");
  const options = { "virtio-console": { enabled: true } };
  const withOne = addVm(host, { name: "with", guest: { image }, memoryMib: 1, options });
  assertEquals(host.service(consolePort)(withOne).readyToReceive, false);
});
