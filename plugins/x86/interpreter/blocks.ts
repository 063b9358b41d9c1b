// The interpreter's block cache: pre-decoded basic blocks by machine frame, offset and mode, so that every VM that shares a
// frame shares them. Stores to code discard the blocks they hit (code_frames.ts).

import { decode, MAX_INSTRUCTION_LENGTH } from "../decoder.ts";
import type { Instruction } from "../instruction.ts";
import { Mode } from "../processor.ts";
import { type CodeFrames, type CodeUser, type Lines, markLines, touchesLines } from "../code_frames.ts";
import { bind, bindFailure } from "./bind.ts";
import { Operation } from "./operation.ts";

/** Most instructions in a block: long enough that entry costs little, short enough that a turn's end rarely splits one. */
const MAX_INSTRUCTIONS = 32;
/** Entries of the direct-mapped front of the cache. */
const RECENT_ENTRIES = 1 << 15;
/**
 * Instructions kept in all before everything is discarded, about 380 bytes each: a guest that jumps to every byte of its
 * memory has the host keep that much and no more.
 */
const MAX_OPERATIONS = 1_000_000;
/**
 * Stores to a page's code after which its blocks are short: a guest that writes to what it runs has most of what was decoded
 * discarded before it is reached.
 */
const OFTEN_DISCARDED = 64, FEW_INSTRUCTIONS = 4;
/** Instructions run one at a time that are kept decoded, directly mapped. */
const SINGLES = 1024;

export class Block {
  /** False once a store has hit it. */
  isValid = true;
  constructor(
    /** Machine address of the first byte, as a signed word. */
    readonly address: number,
    readonly mode: number,
    readonly operations: readonly Operation[],
    /** Bytes. */
    readonly length: number,
  ) {}
}

export class BlockCache implements CodeUser {
  readonly #recent: (Block | undefined)[] = Array.from({ length: RECENT_ENTRIES }, () => undefined);
  /** Per frame, blocks by offset and mode. */
  readonly #pages = new Map<number, Map<number, Block>>();
  readonly #singles: (Single | undefined)[] = Array.from({ length: SINGLES }, () => undefined);
  /** Per frame, how often stores have discarded blocks of it. */
  readonly #discards = new Map<number, number>();
  #operationCount = 0;
  /** Blocks discarded by stores, and blocks and instructions decoded, since the start. */
  invalidations = 0;
  decoded = 0;
  decodedOperations = 0;

  constructor(readonly bytes: Uint8Array, readonly code: CodeFrames, readonly mostOperations = MAX_OPERATIONS) {
    code.addUser(this);
  }

  /** Instructions in the blocks that are kept. */
  get operationCount(): number {
    return this.#operationCount;
  }

  /** The block at a machine address in a mode, decoded now if need be; undefined where its first instruction crosses the page. */
  find(address: number, mode: number): Block | undefined {
    const at = recentIndex(address, mode);
    const recent = this.#recent[at];
    if (recent !== undefined && recent.address === address && recent.mode === mode && recent.isValid) return recent;
    let block = this.#pages.get(address >>> 12)?.get(keyOf(address, mode));
    if (block === undefined) {
      const isChanging = (this.#discards.get(address >>> 12) ?? 0) >= OFTEN_DISCARDED;
      block = this.#decode(address, mode, isChanging ? FEW_INSTRUCTIONS : MAX_INSTRUCTIONS);
      if (block !== undefined) this.#insert(address >>> 12, block);
    }
    this.#recent[at] = block;
    return block;
  }

  /**
   * A block of one instruction, for engines that run just that: the block that is there, or else that instruction alone,
   * whose bytes are compared each time. To decode what follows it as well would cost a stepped guest dozens of decodings an
   * instruction, and as much memory.
   */
  findSingle(address: number, mode: number): Block | undefined {
    const block = this.#pages.get(address >>> 12)?.get(keyOf(address, mode));
    if (block !== undefined) return block;
    const { bytes } = this, start = address >>> 0, at = start & (SINGLES - 1);
    const last = this.#singles[at];
    if (last?.block.address === address && last.block.mode === mode) {
      if (last.bytes.every((byte, i) => bytes[start + i] === byte)) return last.block;
    }
    const single = this.#decode(address, mode, 1);
    if (single === undefined) return undefined;
    // What is no instruction is told by all bytes that there may be.
    const length = single.operations[0].instruction.length > 1 ? single.length : MAX_INSTRUCTION_LENGTH;
    this.#singles[at] = { block: single, bytes: bytes.slice(start, Math.min(start + length, (start | 0xfff) + 1)) };
    return single;
  }

  discard(mpn: number, first: number, last: number): void {
    const page = this.#pages.get(mpn);
    if (page === undefined) return;
    const before = this.invalidations;
    for (const [key, block] of page) {
      if (!touchesLines(block.address & 0xfff, block.length, first, last)) continue;
      block.isValid = false;
      page.delete(key);
      const at = recentIndex(block.address, block.mode);
      if (this.#recent[at] === block) this.#recent[at] = undefined;
      this.#operationCount -= block.operations.length;
      this.invalidations++;
    }
    if (page.size === 0) this.#pages.delete(mpn);
    if (this.invalidations > before) this.#discards.set(mpn, (this.#discards.get(mpn) ?? 0) + 1);
  }

  addLines(mpn: number, lines: Lines): void {
    const page = this.#pages.get(mpn);
    if (page !== undefined) {
      for (const block of page.values()) {
        markLines(lines, block.address & 0xfff, block.length);
      }
    }
  }

  #decode(address: number, mode: number, most: number): Block | undefined {
    const mpn = address >>> 12;
    const pageStart = mpn * 4096, pageEnd = pageStart + 4096;
    const start = address >>> 0;
    const codeSize = mode & Mode.code32 ? 32 : 16;
    const operations: Operation[] = [];
    let at = start;
    while (at < pageEnd && operations.length < most) {
      const instruction = decode(this.bytes, at, pageEnd, codeSize);
      if (instruction === "truncated") break;
      if (typeof instruction === "string") {
        if (operations.length === 0) operations.push(bindFailure(instruction, mode));
        break;
      }
      operations.push(bind(instruction, mode, at - start));
      at += instruction.length;
      if (endsBlock(instruction)) break;
    }
    if (operations.length === 0) return undefined;
    this.decoded++;
    this.decodedOperations += operations.length;
    return new Block(address, mode, operations, Math.max(1, at - start));
  }

  #insert(mpn: number, block: Block): void {
    if (this.#operationCount >= this.mostOperations) this.#clear();
    let page = this.#pages.get(mpn);
    if (page === undefined) this.#pages.set(mpn, page = new Map());
    page.set(keyOf(block.address, block.mode), block);
    this.code.mark(mpn, block.address & 0xfff, block.length);
    this.#operationCount += block.operations.length;
  }

  /** Forgets every block. Frames stay marked as code, which costs time and nothing else, until a store finds them empty. */
  #clear(): void {
    this.#pages.clear();
    this.#recent.fill(undefined);
    this.#discards.clear();
    this.#operationCount = 0;
  }
}

/** An instruction decoded by itself, and the bytes that it was decoded from. */
interface Single {
  readonly block: Block;
  readonly bytes: Uint8Array;
}

function recentIndex(address: number, mode: number): number {
  return (address ^ (address >>> 13) ^ (mode << 12)) & (RECENT_ENTRIES - 1);
}

function keyOf(address: number, mode: number): number {
  return (address & 0xfff) | (mode << 12);
}

/** Whether an instruction must be the last of its block: as the table says, and whatever counts several steps. */
export function endsBlock(instruction: Instruction): boolean {
  return instruction.row.endsBlock || instruction.repeat !== 0;
}
