// The interpreter's block cache: pre-decoded basic blocks by machine frame, offset and mode, so that every VM that shares a
// frame shares them. It knows which 64-byte lines of a frame hold code, so that a store among code and data discards only
// the blocks it hits (self-modifying code, DMA).

import { decode } from "../decoder.ts";
import type { Instruction } from "../instruction.ts";
import { Mode } from "../processor.ts";
import type { CodeFrames } from "../mmu.ts";
import { bind, bindFailure } from "./bind.ts";
import { Operation } from "./operation.ts";

/** Most instructions in a block: long enough that entry costs little, short enough that a turn's end rarely splits one. */
const MAX_INSTRUCTIONS = 32;
/** Entries of the direct-mapped front of the cache. */
const RECENT_ENTRIES = 1 << 15;
/** Blocks kept in all before everything is discarded. */
const MAX_BLOCKS = 400_000;
const LINE_SHIFT = 6;

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

interface CodePage {
  readonly blocks: Map<number, Block>;
  /** Bit per 64-byte line that holds code: two words. */
  lines: [number, number];
}

export class BlockCache implements CodeFrames {
  readonly hasCode: Uint8Array;
  readonly #recent: (Block | undefined)[] = Array.from({ length: RECENT_ENTRIES }, () => undefined);
  readonly #pages = new Map<number, CodePage>();
  #blockCount = 0;
  /** Blocks discarded by stores, and decoded, since the start. */
  invalidations = 0;
  decoded = 0;

  /** `becameCode` is called when the first block of a frame is made: write fast paths to it must go. */
  constructor(
    readonly bytes: Uint8Array,
    totalFrames: number,
    readonly becameCode: (mpn: number) => void,
    /** Called when blocks have been discarded: the one that runs may be among them. */
    readonly discarded: () => void,
  ) {
    this.hasCode = new Uint8Array(totalFrames);
  }

  /** The block at a machine address in a mode, decoded now if need be; undefined where its first instruction crosses the page. */
  find(address: number, mode: number): Block | undefined {
    const at = (address ^ (address >>> 13) ^ (mode << 12)) & (RECENT_ENTRIES - 1);
    const recent = this.#recent[at];
    if (recent !== undefined && recent.address === address && recent.mode === mode && recent.isValid) return recent;
    const block = this.#pages.get(address >>> 12)?.blocks.get(keyOf(address, mode)) ?? this.#decode(address, mode);
    this.#recent[at] = block;
    return block;
  }

  stored(mpn: number, offset: number, size: number): void {
    const page = this.#pages.get(mpn);
    if (page === undefined) return;
    const firstLine = offset >>> LINE_SHIFT, lastLine = (offset + size - 1) >>> LINE_SHIFT;
    let hit = false;
    for (let line = firstLine; line <= lastLine; line++) hit ||= (page.lines[line >>> 5] & (1 << (line & 31))) !== 0;
    if (!hit) return;
    const discarded = [...page.blocks].filter(([, block]) => {
      const start = block.address & 0xfff;
      return (start >>> LINE_SHIFT) <= lastLine && ((start + block.length - 1) >>> LINE_SHIFT) >= firstLine;
    });
    this.#discard(mpn, page, discarded);
  }

  /** A frame's contents changed as a whole. */
  invalidateFrame(mpn: number): void {
    const page = this.#pages.get(mpn);
    if (page !== undefined) this.#discard(mpn, page, [...page.blocks]);
  }

  #discard(mpn: number, page: CodePage, blocks: readonly [number, Block][]): void {
    for (const [key, block] of blocks) {
      block.isValid = false;
      page.blocks.delete(key);
    }
    this.#blockCount -= blocks.length;
    this.invalidations += blocks.length;
    page.lines = [0, 0];
    for (const block of page.blocks.values()) markLines(page, block);
    if (page.blocks.size === 0) {
      this.#pages.delete(mpn);
      this.hasCode[mpn] = 0;
    }
    if (blocks.length > 0) this.discarded();
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
    if (page === undefined) {
      this.#pages.set(mpn, page = { blocks: new Map(), lines: [0, 0] });
      this.hasCode[mpn] = 1;
      this.becameCode(mpn);
    }
    page.blocks.set(keyOf(block.address, block.mode), block);
    markLines(page, block);
    this.#blockCount++;
    this.decoded++;
    return block;
  }

  #clear(): void {
    this.#pages.clear();
    this.#recent.fill(undefined);
    this.hasCode.fill(0);
    this.#blockCount = 0;
  }
}

function keyOf(address: number, mode: number): number {
  return (address & 0xfff) | (mode << 12);
}

function markLines(page: CodePage, block: Block): void {
  const start = block.address & 0xfff;
  const lastLine = (start + block.length - 1) >>> LINE_SHIFT;
  for (let line = start >>> LINE_SHIFT; line <= lastLine; line++) page.lines[line >>> 5] |= 1 << (line & 31);
}

/** Whether an instruction must be the last of its block: as the table says, and whatever counts several steps. */
export function endsBlock(instruction: Instruction): boolean {
  return instruction.row.endsBlock || instruction.repeat !== 0;
}
