// Cuts a stream of bytes into lines of text. A line without an end is cut at a fixed length, so that no guest makes the
// host's memory grow.

/** Longest line in bytes. */
export const LONGEST_LINE = 4096;

const LF = 0x0a, CR = 0x0d;

export class LineBuffer {
  #bytes = new Uint8Array(LONGEST_LINE);
  #length = 0;

  /** Adds a byte; returns the line that it completes, without line end, or undefined. */
  add(byte: number): string | undefined {
    if (byte === LF) return this.take();
    this.#bytes[this.#length++] = byte;
    return this.#length === LONGEST_LINE ? this.take() : undefined;
  }

  /** What has no line end yet. */
  get text(): string {
    let end = this.#length;
    while (end > 0 && this.#bytes[end - 1] === CR) end--;
    return new TextDecoder().decode(this.#bytes.subarray(0, end));
  }

  /** Takes what is there as a line. */
  take(): string {
    const { text } = this;
    this.#length = 0;
    return text;
  }

  save(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  restore(saved: Uint8Array): void {
    this.#bytes.set(saved);
    this.#length = saved.length;
  }
}
