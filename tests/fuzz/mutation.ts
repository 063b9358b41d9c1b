// Damage: bytes flipped, cut and repeated, and trees of plain data with a leaf, a field or a length changed.

import type { Dice } from "./target.ts";

/** Bytes with a few of them wrong, most often among the first `header`. */
export function damagedBytes(dice: Dice, bytes: Uint8Array, header: number): Uint8Array {
  const damaged = bytes.slice();
  for (let count = 1 + dice.below(6); count > 0; count--) {
    const at = dice.below(dice.oneIn(4) ? bytes.length : Math.min(header, bytes.length));
    if (dice.oneIn(2)) damaged[at] = dice.byte();
    else new DataView(damaged.buffer).setUint32(Math.min(at & ~3, Math.max(0, bytes.length - 4)), dice.value(), true);
  }
  if (dice.oneIn(8)) return damaged.slice(0, dice.below(damaged.length));
  return dice.oneIn(20) ? Uint8Array.of(...damaged, ...damaged) : damaged;
}

/** A copy of plain data in which one thing is wrong. */
export function damagedTree(dice: Dice, tree: unknown): unknown {
  if (ArrayBuffer.isView(tree)) return damagedArray(dice, tree as Uint8Array | Int32Array);
  if (typeof tree !== "object" || tree === null || dice.oneIn(60)) return damagedLeaf(dice, tree);
  const keys = Object.keys(tree);
  if (keys.length === 0 || dice.oneIn(60)) return dice.pick([null, [], {}, 0, "x"]);
  const key = dice.pick(keys);
  if (Array.isArray(tree)) {
    const copy = [...tree];
    if (dice.oneIn(30)) copy.splice(Number(key), dice.below(3), ...(dice.oneIn(2) ? [tree[Number(key)]] : []));
    else copy[Number(key)] = damagedTree(dice, tree[Number(key)]);
    return copy;
  }
  const copy: Record<string, unknown> = { ...tree };
  const kind = dice.below(40);
  if (kind === 0) delete copy[key];
  else if (kind === 1) copy[`${key}x`] = copy[key];
  else copy[key] = damagedTree(dice, copy[key]);
  return copy;
}

function damagedArray(dice: Dice, array: Uint8Array | Int32Array): unknown {
  if (dice.oneIn(8)) return array.slice(0, dice.below(array.length + 1));
  if (dice.oneIn(20)) return dice.oneIn(2) ? [...array.slice(0, 8)] : null;
  const copy = array.slice();
  for (let count = 1 + dice.below(8); count > 0 && copy.length > 0; count--) {
    copy[dice.below(copy.length)] = dice.value();
  }
  return copy;
}

function damagedLeaf(dice: Dice, leaf: unknown): unknown {
  if (typeof leaf === "boolean" && dice.oneIn(2)) return !leaf;
  if (typeof leaf === "number" && !dice.oneIn(4)) {
    return dice.pick([dice.value(), -dice.value(), leaf + 1, leaf - 1, leaf ^ (1 << dice.below(31)), leaf * 2 ** 20]);
  }
  return dice.pick<unknown>([0, -1, 1.5, 2 ** 31, 2 ** 53, 1e300, "", "hello", "../x", true, null, [], {}, [[]]]);
}
