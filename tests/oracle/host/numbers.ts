// The random numbers of the host oracle's cases: a generator, and values of every operand type with corners as often as not.

/** xorshift32 (Marsaglia, Xorshift RNGs, 2003), seeded by a text. */
export class Numbers {
  #state: number;

  constructor(seed: string) {
    let state = 0x811c9dc5;
    for (let i = 0; i < seed.length; i++) state = Math.imul(state ^ seed.charCodeAt(i), 0x01000193);
    this.#state = state | 1;
  }

  /** An int32. */
  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state;
  }

  /** An integer from 0 to `bound` - 1. The high bits of a number are the better ones. */
  below(bound: number): number {
    return Math.floor((this.next() >>> 0) / 0x1_0000_0000 * bound);
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(list: ArrayLike<T>): T {
    return list[this.below(list.length)];
  }

  /** An int32 as an operand of an integer instruction. */
  integer(): number {
    const kind = this.below(8);
    if (kind < 4) return this.pick(INTEGER_CORNERS);
    return kind < 6 ? this.next() >>> this.below(32) : this.next();
  }

  /** The bits of a float. */
  single(): number {
    const sign = this.below(2) << 31, kind = this.below(8);
    if (kind < 3) return sign | this.pick(SINGLE_CORNERS);
    const exponent = kind === 3
      ? 125 + this.below(4)
      : kind === 4
      ? (this.once(2) ? 63 : 189) + this.below(3)
      : kind === 5
      ? (this.once(2) ? 0 : 251) + this.below(4)
      : kind === 6
      ? 127 + this.below(34)
      : 100 + this.below(60);
    const mask = this.once(2) ? 0x7fffff << this.below(24) : -1;
    return sign | exponent << 23 | this.next() & mask & 0x7fffff;
  }

  /** Writes the bits of a double to `out[at]`, the high word after it. */
  double(out: Int32Array, at: number): void {
    const sign = this.below(2) << 31, kind = this.below(9);
    if (kind < 3) {
      const [high, low] = this.pick(DOUBLE_CORNERS);
      out[at] = low;
      out[at + 1] = sign | high;
      return;
    }
    const exponent = kind === 3
      ? 1021 + this.below(4)
      : kind === 4
      ? (this.once(2) ? 511 : 1533) + this.below(3)
      : kind === 5
      ? (this.once(2) ? 0 : 2043) + this.below(4)
      : kind === 6
      ? 1023 + this.below(64)
      : kind === 7
      ? (this.once(2) ? 872 + this.below(28) : 1147 + this.below(6))
      : 980 + this.below(90);
    const isShort = this.once(2);
    out[at] = isShort ? 0 : this.next();
    out[at + 1] = sign | exponent << 20 | this.next() & (isShort ? 0xfffff << this.below(20) : -1) & 0xfffff;
  }

  /** Writes an extended real to `out`: the significand's low and high words, then sign and exponent. */
  extended(out: Int32Array, at: number): void {
    const kind = this.below(6);
    if (kind < 2) {
      const [exponent, high, low] = this.pick(EXTENDED_CORNERS);
      out[at] = low;
      out[at + 1] = high;
      out[at + 2] = exponent ^ this.below(2) << 15;
      return;
    }
    const exponent = kind === 2
      ? this.below(0x8000)
      : kind === 3
      ? 0x3fff + this.below(70)
      : kind === 4
      ? this.pick(EXPONENT_RANGES) + this.below(8)
      : 0x3ff7 + this.below(16);
    const isShort = this.once(3);
    out[at] = isShort ? 0 : this.next();
    out[at + 1] = this.next() & (isShort ? 0xffff_f000 : -1) | (this.once(16) ? 0 : 1 << 31);
    out[at + 2] = exponent | this.below(2) << 15;
  }
}

const INTEGER_CORNERS = Int32Array.of(
  ...[0, 1, 2, 9, 0xf, 0x10, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fff_ffff],
  ...[0x8000_0000, 0x8000_0001, 0xffff_fffe, 0xffff_ffff, 0xffff_ff80, 0xffff_8000, 0x5555_5555, 0x8000_7fff],
);

/** Zero, denormals, powers of two and their neighbours, the ends of every format, infinity, NaNs. */
const SINGLE_CORNERS = Int32Array.of(
  ...[0, 1, 2, 0x400000, 0x7fffff, 0x800000, 0x800001, 0x7f7fffff, 0x7f7ffffe, 0x7f800000, 0x7f800001, 0x7fbfffff],
  ...[0x7fc00000, 0x7fc12345, 0x7fffffff, 0x7f812345, 0x3f800000, 0x3f800001, 0x3f7fffff, 0x3f000000, 0x3f000001],
  ...[0x3effffff, 0x3fc00000, 0x40200000, 0x40400000, 0x4b000000, 0x4b000001, 0x4affffff, 0x4effffff, 0x4f000000],
  ...[0x4f000001, 0x4f800000, 0x1f800000, 0x1f7fffff, 0x20000000, 0x5f000000, 0x5f7fffff, 0x33800000, 0x33ffffff],
  ...[0x34000000, 0x40000000, 0x40800000, 0x5effffff],
);

const DOUBLE_CORNERS: readonly (readonly [high: number, low: number])[] = [
  "0000000000000000 0000000000000001 0000000000000002 0008000000000000 000fffffffffffff 0010000000000000 0010000000000001",
  "7fefffffffffffff 7feffffffffffffe 7ff0000000000000 7ff0000000000001 7ff7ffffffffffff 7ff8000000000000 7ff8123456789abc",
  "7fffffffffffffff 7ff0123456789abc 3ff0000000000000 3ff0000000000001 3fefffffffffffff 3fe0000000000000 3fe0000000000001",
  "3fdfffffffffffff 3ff8000000000000 4004000000000000 4008000000000000 41dfffffffc00000 41dfffffffdfffff 41dfffffffe00000",
  "41e0000000000000 41e0000000000001 41e00000001fffff 41e0000000200000 41f0000000000000 4330000000000000 4330000000000001",
  "432fffffffffffff 43dfffffffffffff 43e0000000000000 47efffffe0000000 47efffffefffffff 47effffff0000000 47f0000000000000",
  "3810000000000000 380fffffffffffff 380fffffe0000000 380fffffc0000000 380ffffff0000000 36a0000000000000 3690000000000000",
  "3690000000000001 368fffffffffffff 3ff0000010000000 3ff0000030000000 3ff0000010000001 3ca0000000000000 3cb0000000000000",
].flatMap((line) =>
  line.split(" ").map((text) => [parseInt(text.slice(0, 8), 16), parseInt(text.slice(8), 16)] as const)
);

/** Sign and exponent (positive), then the significand: also pseudo-denormals, pseudo-NaNs and unnormals. */
const EXTENDED_CORNERS: readonly (readonly [exponent: number, high: number, low: number])[] = [
  "0000:0000000000000000 0000:0000000000000001 0000:4000000000000000 0000:7fffffffffffffff 0000:8000000000000000",
  "0001:8000000000000000 0001:ffffffffffffffff 7ffe:ffffffffffffffff 7fff:8000000000000000 7fff:c000000000000000",
  "7fff:c000000000000001 7fff:e000000000000000 7fff:8000000000000001 7fff:bfffffffffffffff 7fff:0000000000000000",
  "7fff:4000000000000000 3fff:4000000000000000 0001:7fffffffffffffff 3fff:8000000000000000 3fff:8000000000000001",
  "3ffe:ffffffffffffffff 4000:8000000000000000 3fff:c000000000000000 3ffe:c000000000000000 3ffe:8000000000000000",
  "3ffd:ffffffffffffffff 4001:a000000000000000 4000:c90fdaa22168c235 403e:8000000000000000 403d:ffffffffffffffff",
  "403c:fffffffffffffffe 401e:8000000000000000 401d:ffffffff00000000 401d:ffffffff80000000 400e:8000000000000000",
  "400d:fffe000000000000 400d:ffff000000000000 403a:de0b6b3a763fffff 403a:de0b6b3a76400000 407e:ffffffffffffffff",
  "407f:8000000000000000 3f81:8000000000000000 3f6a:8000000000000000 3f69:8000000000000001 43fe:fffffffffffff800",
  "43fe:fffffffffffffbff 43fe:fffffffffffffc00 3c01:8000000000000000 3bcd:8000000000000001 3bcc:ffffffffffffffff",
].flatMap((line) =>
  line.split(" ").map((text) =>
    [parseInt(text.slice(0, 4), 16), parseInt(text.slice(5, 13), 16), parseInt(text.slice(13), 16)] as const
  )
);

/** Exponents near which results leave the range of a single, a double or an extended real. */
const EXPONENT_RANGES = [0, 1, 0x7ff8, 0x3f64, 0x3f7c, 0x407a, 0x3bc8, 0x3bfe, 0x43f8, 0x1ffc, 0x5ffb];
