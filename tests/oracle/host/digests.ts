// The fixture of the host oracle, tests/fixtures/host/digests.txt.gz: a line `KEY DIGESTS` for every form, with three bytes a
// case in base64. 24 bits tell a wrong outcome from the right one but for one in 16 million.

/** Bits of a digest that are kept: the high ones. */
export const DROPPED_BITS = 8;
const DIGEST_BYTES = 3;

const fixture = new URL("../../fixtures/host/digests.txt.gz", import.meta.url);

/** Reads the kept digests of every form, by its key. */
export async function readDigests(): Promise<Map<string, number[]>> {
  const file = await Deno.open(fixture);
  const text = await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
  return new Map(
    text.trimEnd().split("\n").map((line) => {
      const [key, encoded] = line.split(" "), bytes = atob(encoded);
      const digests = Array.from(
        { length: bytes.length / DIGEST_BYTES },
        (_, i) => bytes.charCodeAt(3 * i) << 16 | bytes.charCodeAt(3 * i + 1) << 8 | bytes.charCodeAt(3 * i + 2),
      );
      return [key, digests];
    }),
  );
}

/** Writes digests of 32 bits, cut to what is kept. */
export async function writeDigests(digests: ReadonlyMap<string, Uint32Array>): Promise<void> {
  let text = "";
  for (const [key, values] of digests) {
    let bytes = "";
    for (const value of values) bytes += String.fromCharCode(value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff);
    text += `${key} ${btoa(bytes)}\n`;
  }
  const file = await Deno.open(fixture, { write: true, create: true, truncate: true });
  await new Blob([text]).stream().pipeThrough(new CompressionStream("gzip")).pipeTo(file.writable);
}

/** The running digest of run.c: words, then `value`. */
export class Digest {
  #state = 0x811c9dc5;

  add(word: number): void {
    const state = Math.imul(this.#state ^ word, 0x9e3779b1);
    this.#state = state ^ state >>> 15;
  }

  /** What the fixture keeps. */
  get value(): number {
    const state = Math.imul(this.#state ^ this.#state >>> 13, 0x85ebca6b);
    return (state ^ state >>> 16) >>> DROPPED_BITS;
  }
}
