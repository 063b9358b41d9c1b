// Seeded random numbers, one independent stream per plugin and VM: xoshiro128** (Blackman and Vigna, 2018), seeded
// through SplitMix32-style mixing of a text, so that adding a stream never changes another.

export class Random {
  readonly #s: Int32Array = new Int32Array(4);

  /** `key` names the stream: the host's seed, the plugin and the VM. */
  constructor(key: string) {
    let h = 0x811c9dc5 | 0;
    for (let i = 0; i < key.length; i++) h = Math.imul(h ^ key.charCodeAt(i), 0x01000193);
    for (let i = 0; i < 4; i++) {
      h = (h + 0x9e3779b9) | 0;
      let z = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      this.#s[i] = z ^ (z >>> 16);
    }
  }

  /** 32 random bits, unsigned. */
  next(): number {
    const s = this.#s;
    const rotated = Math.imul(s[1], 5);
    const result = Math.imul((rotated << 7) | (rotated >>> 25), 9);
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result >>> 0;
  }

  /** An integer in [0, bound), without bias. `bound` is an integer from 1 to 2^32. */
  below(bound: number): number {
    if (!(bound >= 1 && bound <= 0x1_0000_0000)) throw new RangeError(`bound ${bound}; expected 1 to 2^32`);
    const limit = 0x1_0000_0000 - (0x1_0000_0000 % bound);
    for (;;) {
      const value = this.next();
      if (value < limit) return value % bound;
    }
  }

  save(): number[] {
    return [...this.#s];
  }

  restore(saved: readonly number[]): void {
    this.#s.set(saved);
  }
}
