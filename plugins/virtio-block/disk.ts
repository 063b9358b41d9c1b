// What is behind a block device: a file, read and written in place, or blocks in memory over a file or over nothing.

import { InputError, type Saved } from "../../core/mod.ts";

export const SECTOR_BYTES = 512;

/** A disk. Ranges are whole sectors within it. Every function but `close` throws what the host's file system throws. */
export interface Disk {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  read(offset: number, target: Uint8Array): void;
  write(offset: number, source: Uint8Array): void;
  /** Returns once everything written is on stable storage. */
  flush(): void;
  /** Lets go of the host's resources; the next access takes them again. */
  close(): void;
  /** Contents that belong to the VM's state; null where they are in a file. */
  save(): Saved;
  restore(saved: Saved): void;
}

/**
 * A disk image as a file. It is locked while open, shared by readers or held by one writer, so that no two guests write to
 * one image. Throws InputError for a file that is none, has no sector, or is in use.
 */
export class FileDisk implements Disk {
  readonly sizeBytes: number;
  #file: Deno.FsFile | undefined;
  #hasUnflushed = false;

  constructor(readonly path: string, readonly isReadOnly: boolean) {
    const file = this.#open();
    const { size, isDirectory } = file.statSync();
    this.sizeBytes = Math.floor(size / SECTOR_BYTES) * SECTOR_BYTES;
    if (isDirectory || this.sizeBytes === 0) {
      this.close();
      throw new InputError(
        `disk ${path} ${
          isDirectory ? "is a folder" : `has ${size} bytes`
        }; expected an image of at least one sector, ` +
          `${SECTOR_BYTES} bytes`,
      );
    }
  }

  read(offset: number, target: Uint8Array): void {
    const file = this.#open();
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let done = 0; done < target.length;) {
      const count = file.readSync(target.subarray(done));
      if (count === null) throw new Error(`disk ${this.path} became shorter than ${this.sizeBytes} bytes`);
      done += count;
    }
  }

  write(offset: number, source: Uint8Array): void {
    const file = this.#open();
    this.#hasUnflushed = true;
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let done = 0; done < source.length;) done += file.writeSync(source.subarray(done));
  }

  flush(): void {
    if (!this.#hasUnflushed) return;
    this.#open().syncDataSync();
    this.#hasUnflushed = false;
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** The file is the state: it goes on from what it holds, whatever the VM goes back to. */
  save(): Saved {
    return null;
  }
  restore(): void {}

  #open(): Deno.FsFile {
    if (this.#file !== undefined) return this.#file;
    const { path, isReadOnly } = this;
    let file: Deno.FsFile;
    try {
      file = Deno.openSync(path, { read: true, write: !isReadOnly });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new InputError(`disk ${path} cannot be opened: ${reason}`, { cause });
    }
    if (!file.tryLockSync(!isReadOnly)) {
      file.close();
      throw new InputError(
        `disk ${path} is in use by another VM; give each its own image, or let all but none of them write: mode ` +
          `"overlay" or "read-only"`,
      );
    }
    return this.#file = file;
  }
}

/** Blocks in memory, kept once written; until then those of `base`, which is only read, or zeros. */
export class MemoryDisk implements Disk {
  readonly isReadOnly: boolean = false;
  readonly #blocks = new Map<number, Uint8Array>();

  constructor(readonly sizeBytes: number, readonly base?: Disk) {}

  read(offset: number, target: Uint8Array): void {
    // Fresh blocks come from the base in one piece, written ones over it.
    if (this.base === undefined) target.fill(0);
    else this.base.read(offset, target);
    for (const { index, at, from, count } of blocksOf(offset, target.length)) {
      const block = this.#blocks.get(index);
      if (block !== undefined) target.set(block.subarray(from, from + count), at);
    }
  }

  write(offset: number, source: Uint8Array): void {
    for (const { index, at, from, count } of blocksOf(offset, source.length)) {
      this.#block(index, count === BLOCK_BYTES).set(source.subarray(at, at + count), from);
    }
  }

  flush(): void {}

  close(): void {
    this.base?.close();
  }

  /** Bytes of memory that hold written blocks. */
  get usedBytes(): number {
    return this.#blocks.size * BLOCK_BYTES;
  }

  save(): Saved {
    const indices = [...this.#blocks.keys()].sort((a, b) => a - b);
    const contents = new Uint8Array(indices.length * BLOCK_BYTES);
    for (const [at, index] of indices.entries()) contents.set(this.#blocks.get(index) ?? [], at * BLOCK_BYTES);
    return { indices, contents };
  }

  restore(saved: Saved): void {
    const { indices, contents } = saved as { indices: number[]; contents: Uint8Array };
    this.#blocks.clear();
    for (const [at, index] of indices.entries()) {
      this.#blocks.set(index, contents.slice(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES));
    }
  }

  /** The block to write to; its old contents are fetched unless all of it will be written. */
  #block(index: number, isWhole: boolean): Uint8Array {
    let block = this.#blocks.get(index);
    if (block !== undefined) return block;
    block = new Uint8Array(BLOCK_BYTES);
    const start = index * BLOCK_BYTES;
    if (!isWhole) this.base?.read(start, block.subarray(0, Math.min(BLOCK_BYTES, this.sizeBytes - start)));
    this.#blocks.set(index, block);
    return block;
  }
}

/** Size of the blocks that a MemoryDisk keeps. */
const BLOCK_BYTES = 4096;

/** The blocks that a range of bytes touches: `count` bytes at `from` in the block are those at `at` in the range. */
function* blocksOf(
  offset: number,
  length: number,
): Generator<{ index: number; at: number; from: number; count: number }> {
  for (let at = 0; at < length;) {
    const index = Math.floor((offset + at) / BLOCK_BYTES), from = (offset + at) % BLOCK_BYTES;
    const count = Math.min(BLOCK_BYTES - from, length - at);
    yield { index, at, from, count };
    at += count;
  }
}
