// The interpreter's block cache: pre-decoded basic blocks by machine frame, offset and mode, so that every VM that shares a
// frame shares them. Stores to code discard the blocks they hit (code_frames.ts).

import { decode } from "../decoder.ts";
import type { Instruction } from "../instruction.ts";
import { Mode } from "../processor.ts";
import { type CodeFrames, type CodeUser, type Lines, markLines, touchesLines } from "../code_frames.ts";
import { bind, bindFailure } from "./bind.ts";
import { Operation } from "./operation.ts";

/** Most instructions in a block: long enough that entry costs little, short enough that a turn's end rarely splits one. */
const MAX_INSTRUCTIONS = 32;
/** Entries of the direct-mapped front of the cache. */
const RECENT_ENTRIES = 1 << 15;
/** Blocks kept in all before everything is discarded. */
const MAX_BLOCKS = 400_000;

export class Block {
  /** False once a store has hit it. */
  isValid = true;
  /** How often it was entered: what a translator goes by. */
  entries = 0;
  /** Whether a translator has seen fit to look for a translation before it interprets this. */
  isTranslated = false;
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
  #blockCount = 0;
  /** Blocks discarded by stores, and decoded, since the start. */
  invalidations = 0;
  decoded = 0;

  constructor(readonly bytes: Uint8Array, readonly code: CodeFrames) {
    code.addUser(this);
  }

  /** The block at a machine address in a mode, decoded now if need be; undefined where its first instruction crosses the page. */
  find(address: number, mode: number): Block | undefined {
    const at = (address ^ (address >>> 13) ^ (mode << 12)) & (RECENT_ENTRIES - 1);
    const recent = this.#recent[at];
    if (recent !== undefined && recent.address === address && recent.mode === mode && recent.isValid) return recent;
    const block = this.#pages.get(address >>> 12)?.get(keyOf(address, mode)) ?? this.#decode(address, mode);
    this.#recent[at] = block;
    return block;
  }

  discard(mpn: number, first: number, last: number): void {
    const page = this.#pages.get(mpn);
    if (page === undefined) return;
    for (const [key, block] of page) {
      if (!touchesLines(block.address & 0xfff, block.length, first, last)) continue;
      block.isValid = false;
      page.delete(key);
      this.#blockCount--;
      this.invalidations++;
    }
    if (page.size === 0) this.#pages.delete(mpn);
  }

  addLines(mpn: number, lines: Lines): void {
    const page = this.#pages.get(mpn);
    if (page !== undefined) {
      for (const block of page.values()) {
        markLines(lines, block.address & 0xfff, block.length);
      }
    }
  }

  #decode(address: number, mode: number): Block | undefined {
    const mpn = address >>> 12;
    const pageStart = mpn * 4096, pageEnd = pageStart + 4096;
    const start = address >>> 0;
    const codeSize = mode & Mode.code32 ? 32 : 16;
    const operations: Operation[] = [];
    let at = start;
    while (at < pageEnd && operations.length < MAX_INSTRUCTIONS) {
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
    return this.#insert(mpn, new Block(address, mode, operations, Math.max(1, at - start)));
  }

  #insert(mpn: number, block: Block): Block {
    if (this.#blockCount >= MAX_BLOCKS) this.#clear();
    let page = this.#pages.get(mpn);
    if (page === undefined) this.#pages.set(mpn, page = new Map());
    page.set(keyOf(block.address, block.mode), block);
    this.code.mark(mpn, block.address & 0xfff, block.length);
    this.#blockCount++;
    this.decoded++;
    return block;
  }

  /** Forgets every block. Frames stay marked as code, which costs time and nothing else, until a store finds them empty. */
  #clear(): void {
    this.#pages.clear();
    this.#recent.fill(undefined);
    this.#blockCount = 0;
  }
}

function keyOf(address: number, mode: number): number {
  return (address & 0xfff) | (mode << 12);
}

/** Whether an instruction must be the last of its block: as the table says, and whatever counts several steps. */
export function endsBlock(instruction: Instruction): boolean {
  return instruction.row.endsBlock || instruction.repeat !== 0;
}
