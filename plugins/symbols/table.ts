// Names of addresses: a sorted table that answers both ways, `name -> address` and `address -> name+offset`.

/** Names further below an address than this do not name it. */
const MAX_OFFSET = 0x10_0000;

export interface Symbol {
  readonly name: string;
  /** Linear address. */
  readonly address: number;
}

export class SymbolTable {
  #sorted: Symbol[] = [];
  #isSorted = true;
  readonly #byName = new Map<string, number>();

  get size(): number {
    return this.#sorted.length;
  }

  /** Adds symbols. Of two with one name the first stays. */
  add(symbols: Iterable<Symbol>): void {
    for (const symbol of symbols) {
      this.#sorted.push(symbol);
      if (!this.#byName.has(symbol.name)) this.#byName.set(symbol.name, symbol.address);
    }
    this.#isSorted = false;
  }

  addressOf(name: string): number | undefined {
    return this.#byName.get(name);
  }

  names(): Iterable<string> {
    return this.#byName.keys();
  }

  /** The last symbol at or before an address, as `name` or `name+0xOFFSET`; undefined where none is near. */
  nameOf(address: number): string | undefined {
    const symbol = this.#before(address);
    if (symbol === undefined) return undefined;
    const offset = address - symbol.address;
    return offset === 0 ? symbol.name : `${symbol.name}+0x${offset.toString(16)}`;
  }

  #before(address: number): Symbol | undefined {
    if (!this.#isSorted) {
      this.#sorted.sort((a, b) => a.address - b.address);
      this.#isSorted = true;
    }
    let low = 0, high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    // Of several symbols at one address the first that was added is the name.
    let at = low - 1;
    while (at > 0 && this.#sorted[at - 1].address === this.#sorted[at].address) at--;
    const found = this.#sorted[at];
    return found === undefined || address - found.address > MAX_OFFSET ? undefined : found;
  }
}
