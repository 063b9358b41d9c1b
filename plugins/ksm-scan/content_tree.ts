// A tree of frames in the order of their contents, as KSM's stable and unstable trees are (Linux, mm/ksm.c): a treap in
// place of the kernel's red-black tree. Contents of the unstable tree change while it stands, so its order is only likely.

import { type MachineMemory, type Mpn, PAGE_SIZE } from "../memory/mod.ts";

const WORDS = PAGE_SIZE / 4;
/** A generator of priorities (Numerical Recipes' constants): the shape of the tree needs no better. */
const FACTOR = 1664525, INCREMENT = 1013904223;

export interface TreeNode<T> {
  readonly value: T;
  /** The frame whose contents say where the node stands. */
  mpn: Mpn;
  readonly priority: number;
  left: TreeNode<T> | undefined;
  right: TreeNode<T> | undefined;
  parent: TreeNode<T> | undefined;
}

/** Compares frames word by word. */
export class Contents {
  readonly #words: Int32Array;
  compared = 0;

  constructor(machine: MachineMemory) {
    this.#words = new Int32Array(machine.memory.buffer, 0, machine.totalFrames * WORDS);
  }

  /** Less than 0, 0, or more, as the contents of frame `a` come before, are, or come after those of `b`. */
  compare(a: Mpn, b: Mpn): number {
    this.compared++;
    const words = this.#words, to = (a + 1) * WORDS, distance = (b - a) * WORDS;
    for (let i = a * WORDS; i < to; i++) {
      const x = words[i], y = words[i + distance];
      if (x !== y) return x < y ? -1 : 1;
    }
    return 0;
  }

  /** A checksum of 32 bits, by which KSM tells pages that change. */
  checksum(mpn: Mpn): number {
    const words = this.#words, from = mpn * WORDS;
    let sum = 0;
    for (let i = from; i < from + WORDS; i++) sum = Math.imul(sum ^ words[i], 0x01000193) + (sum >>> 15) | 0;
    return sum;
  }
}

export class ContentTree<T> {
  size = 0;
  #root: TreeNode<T> | undefined;
  #random = 1;

  constructor(readonly contents: Contents) {}

  /** The node with the contents of `mpn`, or a new one there, with the value that is made for it. */
  findOrInsert(mpn: Mpn, make?: () => T): { readonly node: TreeNode<T> | undefined; readonly isNew: boolean } {
    let parent: TreeNode<T> | undefined, at = this.#root, order = 0;
    while (at !== undefined) {
      order = this.contents.compare(mpn, at.mpn);
      if (order === 0) return { node: at, isNew: false };
      parent = at;
      at = order < 0 ? at.left : at.right;
    }
    if (make === undefined) return { node: undefined, isNew: false };
    this.#random = (Math.imul(this.#random, FACTOR) + INCREMENT) >>> 0;
    const node: TreeNode<T> = {
      value: make(),
      mpn,
      priority: this.#random,
      left: undefined,
      right: undefined,
      parent,
    };
    if (parent === undefined) this.#root = node;
    else if (order < 0) parent.left = node;
    else parent.right = node;
    while (node.parent !== undefined && node.parent.priority < node.priority) this.#rotateUp(node);
    this.size++;
    return { node, isNew: true };
  }

  /** Takes a node out; no contents are compared. */
  remove(node: TreeNode<T>): void {
    for (let child = heavier(node); child !== undefined; child = heavier(node)) this.#rotateUp(child);
    this.#replace(node.parent, node, undefined);
    node.parent = undefined;
    this.size--;
  }

  clear(): void {
    this.#root = undefined;
    this.size = 0;
  }

  *[Symbol.iterator](): Generator<TreeNode<T>> {
    const path: TreeNode<T>[] = [];
    for (let at = this.#root; at !== undefined || path.length > 0;) {
      for (; at !== undefined; at = at.left) path.push(at);
      const node = path.pop();
      if (node === undefined) return;
      yield node;
      at = node.right;
    }
  }

  /** Puts a node in the place of its parent, which becomes its child. */
  #rotateUp(node: TreeNode<T>): void {
    const { parent } = node;
    if (parent === undefined) return;
    this.#replace(parent.parent, parent, node);
    const inner = parent.left === node ? node.right : node.left;
    if (parent.left === node) [parent.left, node.right] = [inner, parent];
    else [parent.right, node.left] = [inner, parent];
    if (inner !== undefined) inner.parent = parent;
    parent.parent = node;
  }

  #replace(parent: TreeNode<T> | undefined, old: TreeNode<T>, node: TreeNode<T> | undefined): void {
    if (parent === undefined) this.#root = node;
    else if (parent.left === old) parent.left = node;
    else parent.right = node;
    if (node !== undefined) node.parent = parent;
  }
}

function heavier<T>({ left, right }: TreeNode<T>): TreeNode<T> | undefined {
  if (left === undefined || right === undefined) return left ?? right;
  return left.priority > right.priority ? left : right;
}
