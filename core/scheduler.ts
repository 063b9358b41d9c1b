// Proportional-share CPU scheduling: stride scheduling (Waldspurger and Weihl, MIT/LCS/TM-528, 1995). Each client
// advances a virtual time ("pass") by what it used over its shares; the lowest pass runs next.

/** A client's place in virtual time. */
interface Client {
  readonly id: number;
  readonly shares: number;
  pass: number;
}

export class StrideScheduler {
  readonly #clients = new Map<number, Client>();
  /** Virtual time of the most recent pick: a client that comes or comes back starts here, without credit for absence. */
  #globalPass = 0;

  add(id: number, shares: number): void {
    if (!(shares > 0)) throw new Error(`shares of client ${id} are ${shares}; expected more than 0`);
    this.#clients.set(id, { id, shares, pass: this.#globalPass });
  }

  remove(id: number): void {
    this.#clients.delete(id);
  }

  /** A client that was idle is ready again: it keeps a debt, but gets no credit. */
  resume(id: number): void {
    const client = this.#clients.get(id);
    if (client !== undefined) client.pass = Math.max(client.pass, this.#globalPass);
  }

  /** The ready client with the lowest pass, ties by lowest id; undefined when none is ready. */
  pick(isReady: (id: number) => boolean): number | undefined {
    let best: Client | undefined;
    for (const client of this.#clients.values()) {
      if (isReady(client.id) && (best === undefined || client.pass < best.pass)) best = client;
    }
    if (best !== undefined) this.#globalPass = best.pass;
    return best?.id;
  }

  /** Accounts `usedNs` of host time to a client. */
  charge(id: number, usedNs: number): void {
    const client = this.#clients.get(id);
    if (client !== undefined) client.pass += usedNs / client.shares;
  }
}
