// The tree of contents against a sorted list, while frames come, go and change.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Contents, ContentTree, type TreeNode } from "../../../plugins/ksm-scan/content_tree.ts";
import { type MachineMemory, PAGE_SIZE } from "../../../plugins/memory/mod.ts";

const FRAMES = 24;

function makeContents() {
  const memory = new WebAssembly.Memory({ initial: Math.ceil((FRAMES * PAGE_SIZE) / 65536) });
  const words = new Int32Array(memory.buffer);
  const contents = new Contents({ memory, totalFrames: FRAMES } as unknown as MachineMemory);
  const fill = (mpn: number, value: number) => {
    // Frames differ in their last word alone: all of it is compared.
    words[(mpn + 1) * (PAGE_SIZE / 4) - 1] = value;
  };
  return { contents, fill };
}

Deno.test("frames compare by their first word that differs, and equal ones as equal", () => {
  const { contents, fill } = makeContents();
  fill(1, 5);
  fill(2, -5);
  fill(3, 5);
  assertEquals([contents.compare(1, 2) > 0, contents.compare(2, 1) < 0, contents.compare(1, 3)], [true, true, 0]);
  assert(contents.checksum(1) === contents.checksum(3) && contents.checksum(1) !== contents.checksum(2));
});

Deno.test("frames inserted and removed at random stand in the order of their contents", () => {
  const operation = fc.record({ mpn: fc.nat(FRAMES - 1), value: fc.nat(15), inserts: fc.boolean() });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120, size: "max" }), (operations) => {
      const { contents, fill } = makeContents();
      const tree = new ContentTree<number>(contents), model = new Map<number, TreeNode<number>>();
      for (const { mpn, value, inserts } of operations) {
        const old = [...model.values()].find((node) => node.mpn === mpn);
        if (old !== undefined) {
          model.delete(old.value);
          tree.remove(old);
        }
        fill(mpn, value);
        const expected = model.get(value);
        const { node, isNew } = tree.findOrInsert(mpn, inserts ? () => value : undefined);
        assertEquals(node, expected ?? (inserts ? node : undefined));
        assertEquals(isNew, inserts && expected === undefined);
        if (isNew && node !== undefined) model.set(value, node);
        assertEquals([...tree].map((at) => at.value), [...model.keys()].toSorted((a, b) => a - b));
        assertEquals(tree.size, model.size);
      }
    }),
    { numRuns: 200, seed: 1 },
  );
});

Deno.test("a tree whose frames changed under it still loses and takes nodes", () => {
  const { contents, fill } = makeContents(), tree = new ContentTree<number>(contents);
  const nodes = Array.from({ length: FRAMES }, (_, mpn) => {
    fill(mpn, mpn);
    return tree.findOrInsert(mpn, () => mpn).node;
  });
  for (let mpn = 0; mpn < FRAMES; mpn++) fill(mpn, (mpn * 7) % FRAMES);
  for (const node of nodes) if (node !== undefined) tree.remove(node);
  assertEquals([tree.size, [...tree].length], [0, 0]);
});
