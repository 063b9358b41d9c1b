// Standard input on its way to a guest's console. It is read ahead up to a bound and handed over as the guest takes it,
// so that a piped file arrives whole and always at the same instruction.

import type * as console from "../plugins/console/mod.ts";

/** Read ahead until so many bytes wait. */
const READ_AHEAD_BYTES = 1 << 20;
const READ_BYTES = 65536;
/** A pipe that stays silent so long at the start has a slow writer: the run begins without waiting for it. */
const START_GRACE_MS = 100;

export interface InputSource {
  /** As `Deno.stdin.read`: a count of bytes, or null at the end. */
  read(buffer: Uint8Array): Promise<number | null>;
}

export class InputPump {
  #pending: Promise<void> | undefined;
  #ended = false;

  /** `filter` sees what was read and returns what goes to the guest. */
  constructor(
    readonly source: InputSource,
    readonly queue: console.InputQueue,
    readonly filter: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes,
  ) {}

  /** Reads ahead until the end, the bound, or silence. */
  async start(): Promise<void> {
    for (;;) {
      this.refill();
      if (this.#pending === undefined) return;
      const silence = Promise.withResolvers<"silent">();
      const timer = setTimeout(() => silence.resolve("silent"), START_GRACE_MS);
      const first = await Promise.race([this.#pending, silence.promise]);
      clearTimeout(timer);
      if (first === "silent") return;
    }
  }

  /** Begins to read unless that is under way, there is enough, or the input has ended. */
  refill(): void {
    if (this.#ended || this.#pending !== undefined || this.queue.length >= READ_AHEAD_BYTES) return;
    const buffer = new Uint8Array(READ_BYTES);
    // A terminal that is gone gives an error: no more input, as at the end.
    this.#pending = this.source.read(buffer).catch(() => null).then((count) => {
      this.#pending = undefined;
      if (count === null) this.#ended = true;
      else this.queue.push(this.filter(buffer.subarray(0, count)));
    });
  }

  /** Settles when more has been read, or undefined when no more will be. */
  arrival(): Promise<void> | undefined {
    this.refill();
    return this.#pending;
  }

  /** Waits for input; false when there will be none. `stopped` ends the wait. */
  async wait(stopped: Promise<unknown>): Promise<boolean> {
    this.refill();
    if (this.#ended) return this.queue.length > 0;
    await Promise.race([this.#pending, stopped]);
    return true;
  }
}
