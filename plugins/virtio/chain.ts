// A buffer that a driver made available: a descriptor chain whose segments were all found to lie in the VM's memory
// (Virtio 1.2, section 2.7.4). How the driver cut it into segments means nothing, so devices see two byte ranges.

import type { Saved } from "../../core/mod.ts";
import type { GuestMemory } from "../memory/mod.ts";

/** A piece of guest-physical memory: address and length in bytes. */
export type Segment = readonly [address: number, length: number];

export class Chain {
  /** Bytes that the device may read, and that it may write. */
  readonly readableBytes: number;
  readonly writableBytes: number;

  /** `head` is the index of the chain's first descriptor, by which the driver knows it. */
  constructor(
    readonly memory: GuestMemory,
    readonly head: number,
    readonly readable: readonly Segment[],
    readonly writable: readonly Segment[],
  ) {
    this.readableBytes = lengthOf(readable);
    this.writableBytes = lengthOf(writable);
  }

  /** Fills `target` from the readable bytes that start at `offset`; returns how many there were. */
  read(offset: number, target: Uint8Array): number {
    return eachPiece(this.readable, offset, target, (address, piece) => this.memory.read(address, piece));
  }

  /** Puts `source` into the writable bytes that start at `offset`; returns how many there was room for. */
  write(offset: number, source: Uint8Array): number {
    return eachPiece(this.writable, offset, source, (address, piece) => this.memory.write(address, piece));
  }

  save(): Saved {
    return { head: this.head, readable: this.readable, writable: this.writable };
  }

  static restore(memory: GuestMemory, saved: Saved): Chain {
    const state = saved as { head: number; readable: Segment[]; writable: Segment[] };
    return new Chain(memory, state.head, state.readable, state.writable);
  }
}

function lengthOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, [, length]) => sum + length, 0);
}

/** Walks the segments from `offset` for as long as there are `bytes`, piece by piece; returns the bytes walked. */
function eachPiece(
  segments: readonly Segment[],
  offset: number,
  bytes: Uint8Array,
  transfer: (address: number, piece: Uint8Array) => void,
): number {
  let done = 0, skip = offset;
  for (const [address, length] of segments) {
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const count = Math.min(length - skip, bytes.length - done);
    if (count === 0) break;
    transfer(address + skip, bytes.subarray(done, done + count));
    done += count;
    skip = 0;
  }
  return done;
}
