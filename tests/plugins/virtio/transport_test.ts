// Virtio over PCI as a driver meets it: capabilities, negotiation, status, configuration, interrupts, reset, saved state.

import { assertEquals } from "@std/assert";
import { Hasher } from "../../../core/mod.ts";
import { Common, DeviceStatus, F_VERSION_1, Isr, Structure } from "../../../plugins/virtio/transport.ts";
import { BUFFERS, makeEcho } from "./driver.ts";

const { ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET } = DeviceStatus;

Deno.test("capabilities say where in the BAR every structure is", () => {
  const { driver } = makeEcho();
  const found = (driver.bus.fn?.capabilities ?? []).map((body) => {
    const view = new DataView(body.buffer);
    return [body[0], body[2], body[3], body[4], view.getUint32(8, true), view.getUint32(12, true)];
  });
  assertEquals(found, [
    [9, 16, 1, 0, 0, 0x38],
    [9, 20, 2, 0, 0x800, 0x800],
    [9, 16, 3, 0, 0x100, 1],
    [9, 16, 4, 0, 0x200, 5],
  ]);
  const { vendorId, deviceId, revision, interruptPin } = driver.bus.fn ?? {};
  assertEquals([vendorId, deviceId, revision, interruptPin], [0x1af4, 0x1040 + 30, 1, 1]);
});

Deno.test("the features on offer are the device's and those of rings and version", () => {
  const { driver } = makeEcho();
  const words = [0, 1, 2].map((word) => {
    driver.write(Common.DEVICE_FEATURE_SELECT, 4, word);
    return driver.read(Common.DEVICE_FEATURE, 4);
  });
  assertEquals(words, [0x3000_0021, 1, 0]);
});

const negotiations: [name: string, features: number[], accepted: boolean][] = [
  ["version 1 alone", [F_VERSION_1], true],
  ["what is on offer", [0, 5, 28, 29, F_VERSION_1], true],
  ["a feature that is not on offer", [1, F_VERSION_1], false],
  ["an unknown feature of the second word", [F_VERSION_1, 33], false],
  ["a legacy driver's, without version 1", [0], false],
];
for (const [name, features, accepted] of negotiations) {
  Deno.test(`negotiating ${name} is ${accepted ? "accepted" : "refused"}`, () => {
    const { driver, device } = makeEcho();
    driver.status = ACKNOWLEDGE | DRIVER;
    driver.writeFeatures(features);
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    assertEquals((driver.status & FEATURES_OK) !== 0, accepted);
    driver.status = driver.status | DRIVER_OK;
    assertEquals([(driver.status & DRIVER_OK) !== 0, device.activations], [accepted, Number(accepted)]);
    assertEquals(device.port.hasFeature(0), features.includes(0));
  });
}

Deno.test("features cannot change once they are agreed on", () => {
  const { driver, device } = makeEcho();
  driver.start([0]);
  driver.writeFeatures([5, F_VERSION_1]);
  assertEquals([device.port.hasFeature(0), device.port.hasFeature(5)], [true, false]);
});

Deno.test("nothing moves before DRIVER_OK, and nothing while the function may not be bus master", () => {
  const { driver } = makeEcho();
  driver.start();
  driver.bus.busMaster = false;
  driver.add(0, [{ address: BUFFERS, length: 4 }]);
  driver.kick(0);
  assertEquals(driver.used(0), []);
  driver.bus.busMaster = true;
  driver.kick(0);
  assertEquals(driver.used(0), [[0, 0]]);
  driver.status = 0;
  driver.status = ACKNOWLEDGE | DRIVER;
  driver.kick(0);
  assertEquals(driver.failures, []);
});

Deno.test("reading the ISR status clears it and lowers the pin", () => {
  const { driver, device } = makeEcho();
  driver.start();
  driver.add(0, [{ address: BUFFERS, length: 4 }]);
  driver.kick(0);
  assertEquals(driver.bus.interrupt, true);
  device.port.configChanged();
  assertEquals([driver.readIsr(), driver.bus.interrupt, driver.readIsr()], [Isr.QUEUE | Isr.CONFIG, false, 0]);
});

Deno.test("the device's configuration is read at any width, and its generation counts changes", () => {
  const { driver, device } = makeEcho();
  driver.start();
  const at = Structure.DEVICE.at;
  assertEquals([driver.read(at, 1), driver.read(at + 1, 2), driver.read(at, 4)], [1, 0x0302, 0x04030201]);
  assertEquals([driver.read(at + 4, 4), driver.read(at + 8, 4)], [5, 0]);
  driver.write(at + 1, 2, 0x1234);
  driver.write(at + 4, 4, 7);
  assertEquals(device.writes, [[1, 2, 0x1234]], "a write beyond the end does not arrive");
  const before = driver.read(Common.CONFIG_GENERATION, 1);
  device.port.configChanged();
  assertEquals(driver.read(Common.CONFIG_GENERATION, 1), before + 1);
});

const layouts: [name: string, size: number, descriptors: number, available: number, used: number][] = [
  ["a size of 0", 0, 0x1000, 0x2000, 0x3000],
  ["a size that is no power of two", 6, 0x1000, 0x2000, 0x3000],
  ["a size above the device's", 16, 0x1000, 0x2000, 0x3000],
  ["an unaligned descriptor table", 8, 0x1008, 0x2000, 0x3000],
  ["an unaligned available ring", 8, 0x1000, 0x2001, 0x3000],
  ["an unaligned used ring", 8, 0x1000, 0x2000, 0x3002],
  ["a table that ends beyond memory", 8, 64 * 4096 - 16, 0x2000, 0x3000],
  ["a ring above 4 GiB", 8, 0x1000, 2 ** 32 + 0x2000, 0x3000],
  ["a ring at the end of 64 bits", 8, 0x1000, 0x2000, 2 ** 64 - 2 ** 13],
];
for (const [name, ...layout] of layouts) {
  Deno.test(`a queue with ${name} is not enabled, and the device needs a reset`, () => {
    const { driver } = makeEcho();
    driver.status = ACKNOWLEDGE | DRIVER;
    driver.writeFeatures([F_VERSION_1]);
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    driver.layOut(0, ...layout);
    assertEquals([driver.read(Common.QUEUE_ENABLE, 2), driver.needsReset], [0, true]);
  });
}

Deno.test("a queue that is not there has size 0", () => {
  const { driver } = makeEcho();
  for (const [queue, size] of [[0, 8], [1, 8], [2, 0], [0xffff, 0]]) {
    driver.write(Common.QUEUE_SELECT, 2, queue);
    assertEquals(driver.read(Common.QUEUE_SIZE, 2), size);
  }
});

Deno.test("writing status 0 resets everything, and the device works again after it", () => {
  const { driver, device } = makeEcho();
  driver.start([0]);
  driver.add(0, [{ address: BUFFERS, length: 4 }]);
  driver.kick(0);
  device.port.fail("for the test");
  assertEquals([driver.status & NEEDS_RESET, driver.failures], [NEEDS_RESET, ["for the test"]]);
  driver.status = 0;
  assertEquals([driver.status, driver.bus.interrupt, driver.readIsr()], [0, false, 0]);
  driver.write(Common.QUEUE_SELECT, 2, 0);
  assertEquals([driver.read(Common.QUEUE_ENABLE, 2), driver.read(Common.QUEUE_DESC, 4)], [0, 0]);
  driver.start();
  driver.add(0, [{ address: BUFFERS, length: 4 }]);
  driver.kick(0);
  assertEquals([driver.used(0), driver.needsReset], [[[0, 0]], false]);
});

Deno.test("NEEDS_RESET stays until the reset, whatever else the driver writes", () => {
  const { driver, device } = makeEcho();
  driver.start();
  device.port.fail("for the test");
  assertEquals(driver.readIsr(), Isr.CONFIG);
  driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
  assertEquals(driver.needsReset, true);
  driver.add(0, [{ address: BUFFERS, length: 4 }]);
  driver.kick(0);
  assertEquals(driver.used(0), []);
});

Deno.test("a saved transport goes on in another one from where it was", () => {
  const { driver, memory } = makeEcho();
  driver.start([5]);
  driver.add(0, [{ address: BUFFERS, length: 4 }]);
  driver.kick(0);
  driver.used(0);
  const other = makeEcho();
  other.memory.bytes.set(memory.bytes);
  other.driver.registers.restore(driver.registers.save());
  const digest = (owner: { hash(hasher: Hasher): void }) => {
    const hasher = new Hasher();
    owner.hash(hasher);
    return hasher.digest();
  };
  assertEquals(digest(other.driver.registers), digest(driver.registers));
  other.driver.publish(0, 0);
  other.driver.kick(0);
  assertEquals(other.driver.used(0), [[0, 0], [0, 0]]);
  assertEquals(other.device.port.hasFeature(5), true);
});
