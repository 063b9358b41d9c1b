// The hash of pages in WebAssembly against the same written plainly.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Random } from "../../../core/mod.ts";
import { PAGE_SIZE, WORDS_PER_FRAME } from "../../../plugins/memory/mod.ts";
import {
  ACCUMULATORS,
  FOLD_FACTOR,
  FOLD_SHIFT,
  LANE_FACTOR,
  LANE_ROTATE,
  PageHasher,
  SEED_FACTOR,
} from "../../../plugins/page-sharing/page_hasher.ts";

const LANES = 4, WASM_PAGE = 65536;

/** The hash as one reads it: lanes one after another, and the fold over pairs of them. */
function plainHash(words: Int32Array): bigint {
  const lanes = new Int32Array(ACCUMULATORS * LANES).map((_, i) => Math.imul(Math.floor(i / LANES) + 1, SEED_FACTOR));
  for (let i = 0; i < words.length; i++) {
    const product = Math.imul(lanes[i % lanes.length] ^ words[i], LANE_FACTOR);
    lanes[i % lanes.length] = (product << LANE_ROTATE) | (product >>> (32 - LANE_ROTATE));
  }
  let fold = 0n;
  for (const pair of new BigInt64Array(lanes.buffer)) {
    fold = BigInt.asUintN(64, (fold ^ BigInt.asUintN(64, pair)) * FOLD_FACTOR);
    fold ^= fold >> FOLD_SHIFT;
  }
  return fold;
}

/** A memory of 16 frames, and the hash of one. */
function makeHasher() {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  const hasher = new PageHasher(memory), words = new Int32Array(memory.buffer);
  const hashOf = (mpn: number) => {
    hasher.of(mpn);
    return (BigInt(hasher.high >>> 0) << 32n) | BigInt(hasher.low >>> 0);
  };
  const frame = (mpn: number) => words.subarray(mpn * WORDS_PER_FRAME, (mpn + 1) * WORDS_PER_FRAME);
  return { hasher, words, hashOf, frame };
}

Deno.test("pages hash as the plain function says, wherever they lie", () => {
  const { words, hashOf, frame } = makeHasher(), random = new Random("pages");
  for (let i = 0; i < words.length; i++) words[i] = random.next();
  for (let mpn = 0; mpn < WASM_PAGE / PAGE_SIZE; mpn++) {
    assertEquals(hashOf(mpn), plainHash(frame(mpn)), `frame ${mpn}`);
  }
});

Deno.test("only zeros hash as zeros do", () => {
  const { hasher, words } = makeHasher();
  for (let i = 0; i < WORDS_PER_FRAME; i += 37) {
    hasher.of(0);
    assert(hasher.isOfZeros);
    words[i] = 1 << (i & 31);
    hasher.of(0);
    assert(!hasher.isOfZeros, `word ${i}`);
    words[i] = 0;
  }
});

Deno.test("pages that differ in a bit, or have two words changed about, hash differently in both halves", () => {
  const { words, hasher } = makeHasher();
  const place = fc.nat(WORDS_PER_FRAME - 1);
  fc.assert(
    fc.property(fc.integer(), place, place, fc.nat(31), (seed, a, b, bit) => {
      for (let i = 0; i < WORDS_PER_FRAME; i++) words[i] = words[WORDS_PER_FRAME + i] = Math.imul(seed, i + 1) ^ i;
      hasher.of(0);
      const { low, high } = hasher;
      hasher.of(1);
      assertEquals([hasher.low, hasher.high], [low, high]);
      words[WORDS_PER_FRAME + a] ^= 1 << bit;
      hasher.of(1);
      assert(hasher.low !== low && hasher.high !== high);
      words[WORDS_PER_FRAME + a] = words[b];
      words[WORDS_PER_FRAME + b] = words[a];
      if (words[a] === words[b]) return;
      hasher.of(1);
      assert(hasher.low !== low && hasher.high !== high);
    }),
    { numRuns: 300, seed: 20260105 },
  );
});
