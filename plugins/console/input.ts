// Console input on its way to a guest. Bytes are pulled, one at a time, when the guest's driver is ready: none is lost,
// however early it came.

/** A queue of bytes between the world and a guest. */
export class InputQueue {
  readonly #chunks: Uint8Array[] = [];
  /** First byte of the first chunk that is not taken yet. */
  #at = 0;
  #length = 0;
  /** Called after bytes arrived. */
  onArrival: () => void = () => {};

  /** Bytes that wait. */
  get length(): number {
    return this.#length;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes.slice());
    this.#length += bytes.length;
    this.onArrival();
  }

  /** The next byte, or undefined while there is none. */
  pull(): number | undefined {
    const chunk = this.#chunks[0];
    if (chunk === undefined) return undefined;
    const byte = chunk[this.#at++];
    this.#length--;
    if (this.#at === chunk.length) {
      this.#chunks.shift();
      this.#at = 0;
    }
    return byte;
  }

  /** The bytes that wait, in one piece. */
  waiting(): Uint8Array {
    const all = new Uint8Array(this.#length);
    let at = 0;
    for (const [index, chunk] of this.#chunks.entries()) {
      const rest = index === 0 ? chunk.subarray(this.#at) : chunk;
      all.set(rest, at);
      at += rest.length;
    }
    return all;
  }

  /** Puts `bytes` in the place of what waits. */
  replace(bytes: Uint8Array): void {
    this.#chunks.length = 0;
    this.#at = this.#length = 0;
    if (bytes.length > 0) {
      this.#chunks.push(bytes.slice());
      this.#length = bytes.length;
    }
  }
}
