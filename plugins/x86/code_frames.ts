// Which machine frames, and which 64-byte lines of them, hold code that an engine has decoded or translated. A store among
// code and data discards only what it hits; a store elsewhere in the frame costs one bit test.

/** Lines are 64 bytes: a frame has 64 of them, kept as two words. */
const LINE_SHIFT = 6;

/** Bit per line of a frame. */
export type Lines = [low: number, high: number];

/** Keeps code made from frames: the interpreter's blocks, a translator's fragments. */
export interface CodeUser {
  /** Discards what lies, even in part, in lines `first` to `last` of a frame. */
  discard(mpn: number, first: number, last: number): void;
  /** Adds the lines that this user still has code from. */
  addLines(mpn: number, lines: Lines): void;
}

export class CodeFrames {
  /** 1 for a frame that holds code: stores to it take the slow path. */
  readonly hasCode: Uint8Array;
  readonly #lines = new Map<number, Lines>();
  readonly #users: CodeUser[] = [];

  /**
   * `becameCode` is called when the first code is made from a frame: write fast paths to it must go. `discarded` is called
   * when code has been discarded: what runs may be among it.
   */
  constructor(totalFrames: number, readonly becameCode: (mpn: number) => void, readonly discarded: () => void) {
    this.hasCode = new Uint8Array(totalFrames);
  }

  addUser(user: CodeUser): void {
    this.#users.push(user);
  }

  /** Code has been made from `length` bytes at a frame's `offset`. */
  mark(mpn: number, offset: number, length: number): void {
    let lines = this.#lines.get(mpn);
    if (lines === undefined) {
      this.#lines.set(mpn, lines = [0, 0]);
      this.hasCode[mpn] = 1;
      this.becameCode(mpn);
    }
    markLines(lines, offset, length);
  }

  /** `size` bytes at `offset` of a frame with code have been written. */
  stored(mpn: number, offset: number, size: number): void {
    if (this.isData(mpn, offset, size)) return;
    this.#discard(mpn, offset >>> LINE_SHIFT, (offset + size - 1) >>> LINE_SHIFT);
  }

  /** Whether `size` bytes at `offset` of a frame lie in lines that hold no code, though others of the frame do. */
  isData(mpn: number, offset: number, size: number): boolean {
    const lines = this.#lines.get(mpn);
    if (lines === undefined) return !this.hasCode[mpn];
    const last = (offset + size - 1) >>> LINE_SHIFT;
    for (let line = offset >>> LINE_SHIFT; line <= last; line++) {
      if (lines[line >>> 5] & (1 << (line & 31))) return false;
    }
    return true;
  }

  /** A frame's contents changed as a whole. */
  frameChanged(mpn: number): void {
    if (this.#lines.has(mpn)) this.#discard(mpn, 0, 63);
  }

  /** Every user has dropped all it had. */
  clear(): void {
    this.#lines.clear();
    this.hasCode.fill(0);
  }

  #discard(mpn: number, first: number, last: number): void {
    const left: Lines = [0, 0];
    for (const user of this.#users) {
      user.discard(mpn, first, last);
      user.addLines(mpn, left);
    }
    if (left[0] === 0 && left[1] === 0) {
      this.#lines.delete(mpn);
      this.hasCode[mpn] = 0;
    } else this.#lines.set(mpn, left);
    this.discarded();
  }
}

/** Sets the bits of the lines that `length` bytes at `offset` lie in. */
export function markLines(lines: Lines, offset: number, length: number): void {
  const last = (offset + length - 1) >>> LINE_SHIFT;
  for (let line = offset >>> LINE_SHIFT; line <= last; line++) lines[line >>> 5] |= 1 << (line & 31);
}

/** Whether `length` bytes at `offset` lie, even in part, in lines `first` to `last`. */
export function touchesLines(offset: number, length: number, first: number, last: number): boolean {
  return (offset >>> LINE_SHIFT) <= last && ((offset + length - 1) >>> LINE_SHIFT) >= first;
}
