// Where the translations of one frame are entered: by offset, mode and linear page, since one frame may be mapped at several
// (the code that a kernel gives to every process, at an address of its own in each).

/** A linear address, as a signed word, that something is entered at. */
export interface AtAddress {
  readonly eip: number;
}

/** Linear pages at which the same place in a frame is known at the most. */
export const MOST_ALIASES = 8;

export class PageEntries<T extends AtAddress> {
  /** By offset and mode: those of each linear page, the latest first. */
  readonly #entries = new Map<number, readonly T[]>();

  get(eip: number, mode: number): T | undefined {
    const entries = this.#entries.get(keyOf(eip, mode));
    return entries?.[0].eip === eip ? entries[0] : entries?.find((entry) => entry.eip === eip);
  }

  /** Adds an entry, in place of one at the same address; returns the one that has to give way to it, which is still there. */
  add(entry: T, mode: number): T | undefined {
    const key = keyOf(entry.eip, mode);
    const others = this.#entries.get(key)?.filter(({ eip }) => eip !== entry.eip) ?? [];
    this.#entries.set(key, [entry, ...others]);
    return others.length < MOST_ALIASES ? undefined : others.at(-1);
  }

  delete(entry: T, mode: number): void {
    const key = keyOf(entry.eip, mode);
    const others = this.#entries.get(key)?.filter((other) => other !== entry) ?? [];
    if (others.length === 0) this.#entries.delete(key);
    else this.#entries.set(key, others);
  }
}

function keyOf(eip: number, mode: number): number {
  return (eip & 0xfff) | (mode << 12);
}
