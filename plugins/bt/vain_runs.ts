// Runs of accesses (emit/runs.ts) that are looked up in vain, since they reach into another page or have to write where only
// reading is fast: the region is left for each, so that an instruction whose runs are often in vain is to begin none.

/** So many in vain within so many steps make an instruction stand alone: leaving for them costs half a percent of the time. */
export const MOST_VAIN = 64, WINDOW_STEPS = 1 << 22;
/** Instructions that stand alone at the most; then all are tried again. */
const MOST_LONE = 1 << 14;

export class VainRuns {
  /** By linear address, in the present window. */
  readonly #counts = new Map<number, number>();
  #window = 0;
  readonly #lone = new Set<number>();

  /** A run was looked up in vain by the instruction at a linear address, after so many steps: whether it stands alone now. */
  note(eip: number, steps: number): boolean {
    const window = Math.floor(steps / WINDOW_STEPS);
    if (window !== this.#window) this.#counts.clear();
    this.#window = window;
    const count = (this.#counts.get(eip) ?? 0) + 1;
    this.#counts.set(eip, count);
    if (count < MOST_VAIN) return false;
    if (this.#lone.size >= MOST_LONE) this.#lone.clear();
    this.#counts.delete(eip);
    this.#lone.add(eip);
    return true;
  }

  /** Whether the instruction at a linear address is to begin no run. */
  readonly isLone = (eip: number): boolean => this.#lone.has(eip);
}
