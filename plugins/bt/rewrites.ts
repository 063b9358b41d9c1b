// Pages whose code keeps changing: a translation of them pays only where it runs often before the next change, so that the
// threshold is higher there (BT paper 3.2 has translations made on demand). Kernels patch most of their pages while they
// boot, and hardly ever again: changes count less and less.

/** More entries for each change; changes that count at the most. */
const PENALTY = 16, MOST_CHANGES = 64;
/** Changes count half after so many steps without another. */
export const HALF_LIFE_STEPS = 1 << 20;

interface Changes {
  readonly count: number;
  readonly atSteps: number;
}

export class Rewrites {
  /** By frame. */
  readonly #changes = new Map<number, Changes>();

  /** Translations from a frame were discarded because it was written to, when so many steps had been taken. */
  note(mpn: number, steps: number): void {
    this.#changes.set(mpn, { count: this.#count(mpn, steps) + 1, atSteps: steps });
  }

  /** By how much the threshold for code of a frame is to be multiplied. */
  factor(mpn: number, steps: number): number {
    return this.#changes.size === 0 ? 1 : 1 + Math.min(this.#count(mpn, steps), MOST_CHANGES) * PENALTY;
  }

  #count(mpn: number, steps: number): number {
    const changes = this.#changes.get(mpn);
    if (changes === undefined) return 0;
    const count = Math.floor(changes.count / 2 ** Math.floor((steps - changes.atSteps) / HALF_LIFE_STEPS));
    if (count === 0) this.#changes.delete(mpn);
    return count;
  }
}
