// Reader of the tar stream inside a Debian package: yields only the regular files asked for, the rest is skipped unread.
// Where it stands: below package.ts, which feeds it `dpkg-deb --fsys-tarfile`.
// Follows deb(5) and GNU tar's manual, "Basic Tar Format": ustar and GNU headers, the only ones dpkg writes.

/** A regular file found in a tar stream. `path` has no leading "./" or "/". */
export interface TarFile {
  readonly path: string;
  readonly mode: number;
  readonly data: Uint8Array;
}

const BLOCK_BYTES = 512;

/** Header fields as [offset, length] (ustar). */
const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  size: [124, 12],
  checksum: [148, 8],
  type: [156, 1],
  magic: [257, 5],
  prefix: [345, 155],
} as const;

/** Values of the type field. */
const TYPE = { file: "0", fileV7: "\0", longName: "L", longLink: "K", paxNext: "x", paxGlobal: "g" } as const;

/**
 * Yields, in the stream's order, each regular file whose path `wanted` accepts.
 * Throws an Error on a bad checksum, a truncated stream or an extended (pax) header, which dpkg does not write.
 */
export async function* readTar(
  stream: AsyncIterable<Uint8Array>,
  wanted: (path: string) => boolean,
): AsyncGenerator<TarFile> {
  const input = new ByteQueue(stream);
  let longName: string | undefined;
  while (true) {
    const header = await input.take(BLOCK_BYTES, "a tar header");
    if (header.every((byte) => byte === 0)) break;
    verifyChecksum(header);
    const type = text(header, FIELD.type) || TYPE.fileV7;
    const sizeBytes = octal(header, FIELD.size);
    const paddingBytes = (BLOCK_BYTES - sizeBytes % BLOCK_BYTES) % BLOCK_BYTES;
    if (type === TYPE.paxNext || type === TYPE.paxGlobal) throw new Error("tar: pax headers are not supported");
    if (type === TYPE.longName) {
      const name = await input.take(sizeBytes, "a long name");
      longName = cString(name);
      await input.skip(paddingBytes);
      continue;
    }
    if (type === TYPE.longLink) {
      await input.skip(sizeBytes + paddingBytes);
      continue;
    }
    const path = (longName ?? headerPath(header)).replace(/^\.?\/+/, "");
    longName = undefined;
    if ((type === TYPE.file || type === TYPE.fileV7) && wanted(path)) {
      const data = await input.take(sizeBytes, path);
      await input.skip(paddingBytes);
      yield { path, mode: octal(header, FIELD.mode), data };
    } else {
      await input.skip(sizeBytes + paddingBytes);
    }
  }
  await input.drain();
}

function headerPath(header: Uint8Array): string {
  const name = text(header, FIELD.name);
  // GNU headers ("ustar  ") use the prefix field for other things; only POSIX ones ("ustar\0") extend the name.
  const posix = text(header, FIELD.magic) === "ustar" && header[FIELD.magic[0] + FIELD.magic[1]] === 0;
  const prefix = posix ? text(header, FIELD.prefix) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function text(header: Uint8Array, [offset, length]: readonly [number, number]): string {
  return cString(header.subarray(offset, offset + length));
}

function octal(header: Uint8Array, field: readonly [number, number]): number {
  const digits = text(header, field).trim();
  if (!/^[0-7]*$/.test(digits)) throw new Error(`tar: field at ${field[0]} is not octal: ${JSON.stringify(digits)}`);
  return digits === "" ? 0 : parseInt(digits, 8);
}

function verifyChecksum(header: Uint8Array): void {
  const [start, length] = FIELD.checksum;
  let sum = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    // The checksum field itself counts as spaces.
    sum += i >= start && i < start + length ? 0x20 : header[i];
  }
  const stored = octal(header, FIELD.checksum);
  if (sum !== stored) throw new Error(`tar: header checksum is ${stored}, its bytes add up to ${sum}`);
}

/** Reads exact byte counts from a stream of chunks of any size. */
class ByteQueue {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);
  #position = 0;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async take(count: number, what: string): Promise<Uint8Array> {
    const bytes = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      if (!await this.#fill()) throw new Error(`tar: the stream ends ${count - filled} bytes short of ${what}`);
      const part = this.#chunk.subarray(this.#position, this.#position + count - filled);
      bytes.set(part, filled);
      filled += part.length;
      this.#position += part.length;
    }
    return bytes;
  }

  async skip(count: number): Promise<void> {
    let left = count;
    while (left > 0) {
      if (!await this.#fill()) throw new Error(`tar: the stream ends ${left} bytes short of a member's end`);
      const step = Math.min(left, this.#chunk.length - this.#position);
      this.#position += step;
      left -= step;
    }
  }

  /** Reads to the end, so that the writing process is not stopped by a closed pipe. */
  async drain(): Promise<void> {
    while (await this.#fill()) this.#position = this.#chunk.length;
  }

  async #fill(): Promise<boolean> {
    while (this.#position === this.#chunk.length) {
      const next = await this.#chunks.next();
      if (next.done) return false;
      this.#chunk = next.value;
      this.#position = 0;
    }
    return true;
  }
}
