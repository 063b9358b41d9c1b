// The numbers of rare exits (exits.ts), by which emitted code says at which of them it left. They are used again once their
// region is gone, so that a guest which keeps writing new code does not make the list grow without bound.

import type { ExitSite } from "./exits.ts";

export class ExitSites {
  /** By number less one. */
  readonly #sites: ExitSite[] = [];
  readonly #free: number[] = [];
  #added: number[] = [];

  /** Keeps a site and returns its number, from 1. */
  add(site: ExitSite): number {
    const number = this.#free.pop() ?? this.#sites.length + 1;
    this.#sites[number - 1] = site;
    this.#added.push(number);
    return number;
  }

  /** The site with a number that `add` has returned. */
  at(number: number): ExitSite {
    return this.#sites[number - 1];
  }

  /** The numbers of the sites added since this was last called: those of one region. */
  takeAdded(): readonly number[] {
    const added = this.#added;
    this.#added = [];
    return added;
  }

  /**
   * Lets numbers be used again, by the next `add`. Until then their sites stay: a region may be discarded while it runs, and
   * still leaves at one of them.
   */
  release(numbers: readonly number[]): void {
    for (const number of numbers) this.#free.push(number);
  }

  /** How many numbers there are, free ones included. */
  get count(): number {
    return this.#sites.length;
  }

  /** Numbers whose region is still there. */
  get inUse(): number {
    return this.#sites.length - this.#free.length;
  }
}
