// The swap file by itself: whatever is written comes back as it was or not at all, whatever the disk does.

import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Vm } from "../../../core/mod.ts";
import { PAGE_SIZE } from "../../../plugins/memory/mod.ts";
import { SwapReadError } from "../../../plugins/swap/mod.ts";
import { SlotTable } from "../../../plugins/swap/slots.ts";
import { faultKinds, FaultyStore, FileStore, type Store } from "../../../plugins/swap/store.ts";
import { vmConfig } from "../../core/fake_executor.ts";
import { pageOf } from "../memory/fixture.ts";

const vms = ["a", "b"].map((name, id) => new Vm(id, vmConfig(name)));
const PAGES = 8;
const quiet = { pageRead() {}, pageWritten() {} };
const tableOn = (store: Store, totalSlots: number) => new SlotTable(store, totalSlots, () => PAGES, quiet);

/** A page that differs in every word from another's. */
function contentsOf(value: number): Uint8Array {
  const words = new Int32Array(PAGE_SIZE / 4);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(value, 0x9e3779b1) + i;
  return new Uint8Array(words.buffer);
}

Deno.test("pages come back from a real file, in any order, and slots are used again", () => {
  const table = tableOn(new FileStore(), 4);
  const read = (vm: Vm, ppn: number) => {
    const target = new Uint8Array(PAGE_SIZE);
    table.read(vm, ppn, target);
    return target;
  };
  for (let round = 0; round < 3; round++) {
    for (const ppn of [3, 1]) for (const vm of vms) table.write(vm, ppn, contentsOf(round * 100 + vm.id * 10 + ppn));
    assertThrows(() => table.write(vms[0], 5, pageOf(1)), Error, "all 4 pages of it are used");
    for (const ppn of [1, 3]) {
      for (const vm of vms) assertEquals(read(vm, ppn), contentsOf(round * 100 + vm.id * 10 + ppn));
    }
    for (const ppn of [1, 3]) for (const vm of vms) table.forget(vm, ppn, "read");
    assertEquals(table.usedSlots, 0);
    assertThrows(() => read(vms[0], 1), Error, "is not in the swap file");
  }
});

Deno.test("a file by name is made when it is needed, holds what it should, and is emptied when it is not", () => {
  const folder = Deno.makeTempDirSync();
  try {
    const path = `${folder}/swap`;
    const table = tableOn(new FileStore(path), 4);
    assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);
    table.write(vms[0], 1, contentsOf(1));
    table.write(vms[0], 2, contentsOf(2));
    const bytes = Deno.readFileSync(path);
    assertEquals([bytes.subarray(0, PAGE_SIZE), bytes.subarray(PAGE_SIZE)], [contentsOf(1), contentsOf(2)]);
    table.forget(vms[0], 1, "dropped");
    table.forget(vms[0], 2, "read");
    assertEquals(Deno.statSync(path).size, 0);
    assertThrows(
      () => tableOn(new FileStore(`${folder}/no/swap`), 4).write(vms[0], 1, pageOf(1)),
      Error,
      "cannot be opened",
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("a page that somebody changed on the disk is not given back", () => {
  const path = Deno.makeTempFileSync();
  const table = tableOn(new FileStore(path), 4);
  table.write(vms[0], 1, contentsOf(1));
  table.write(vms[0], 2, pageOf(0));
  for (const at of [100, PAGE_SIZE + 4095]) {
    const file = Deno.openSync(path, { read: true, write: true });
    file.seekSync(at, Deno.SeekMode.Start);
    file.writeSync(Uint8Array.of(0xa5));
    file.close();
  }
  const target = pageOf(7);
  for (const ppn of [1, 2]) {
    assertThrows(() => table.read(vms[0], ppn, target), SwapReadError, "does not hold what was");
  }
  assertEquals(target, pageOf(7));
  Deno.truncateSync(path, PAGE_SIZE / 2);
  assertThrows(() => table.read(vms[0], 1, target), SwapReadError, "it ends within slot 0");
  for (const ppn of [1, 2]) table.forget(vms[0], ppn, "dropped");
  Deno.removeSync(path);
});

Deno.test("with a disk that fails in any way, no page is lost, torn or mixed up", () => {
  const operation = fc.record({ write: fc.boolean(), vm: fc.nat(1), ppn: fc.nat(PAGES - 1), value: fc.nat(1000) });
  const fault = fc.record({
    kind: fc.constantFrom(...faultKinds),
    afterPages: fc.nat(6),
    attempts: fc.integer({ min: 1, max: 5 }),
  });
  let refused = 0, unreadable = 0, readBack = 0;
  fc.assert(
    fc.property(fault, fc.array(operation, { minLength: 40, maxLength: 80 }), (fault, operations) => {
      const table = tableOn(new FaultyStore(new FileStore(), fault), 10);
      const model = new Map<string, number>();
      for (const { write, vm: id, ppn, value } of operations) {
        const vm = vms[id], key = `${id}/${ppn}`, expected = model.get(key);
        assertEquals(table.holds(vm, ppn), expected !== undefined);
        if (write && expected === undefined) {
          try {
            table.write(vm, ppn, contentsOf(value));
            model.set(key, value);
          } catch {
            // Refused as a whole: the page stays where it was.
            refused++;
            assert(!table.holds(vm, ppn));
          }
        } else if (expected !== undefined) {
          const target = new Uint8Array(PAGE_SIZE);
          try {
            table.read(vm, ppn, target);
            readBack++;
            assertEquals(target, contentsOf(expected));
            table.forget(vm, ppn, "read");
            model.delete(key);
          } catch (error) {
            if (!(error instanceof SwapReadError)) throw error;
            unreadable++;
          }
        }
        assertEquals(table.usedSlots, model.size);
      }
      for (const key of model.keys()) table.forget(vms[Number(key[0])], Number(key.slice(2)), "dropped");
    }),
    { numRuns: 150, seed: 1 },
  );
  for (const count of [refused, unreadable, readBack]) assertGreater(count, 50);
});
