// Per-VM state: who owns it can save, restore and, if the guest can see it, hash it. Snapshots, lockstep comparison and
// reverse stepping stand on this, so every owner has it from the start.

/** What a state is saved as: plain data with named fields, and byte arrays for bulk. */
export type Saved =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | Int32Array
  | readonly Saved[]
  | { readonly [field: string]: Saved };

/** An owner of per-VM state. `restore` is given what `save` returned; `hash` feeds the guest-visible part. */
export interface StateOwner {
  save(): Saved;
  restore(saved: Saved): void;
  hash?(hasher: Hasher): void;
}

/** Whether a value has the functions of a StateOwner. */
export function isStateOwner(value: unknown): value is StateOwner {
  return typeof value === "object" && value !== null && "save" in value && "restore" in value;
}

/**
 * A 64-bit hash of named values, as two 32-bit halves: MurmurHash3's 32-bit block mix and finaliser (Appleby, 2011),
 * run with two seeds. It detects difference; it is no defence against an adversary.
 */
export class Hasher {
  #low = 0x9747b28c | 0;
  #high = 0x3c6ef372 | 0;
  #words = 0;

  /** Mixes one 32-bit word. */
  word(value: number): void {
    this.#low = mix(this.#low, value, 0xcc9e2d51, 0x1b873593);
    this.#high = mix(this.#high, value, 0x239b961b, 0xab0e9789);
    this.#words++;
  }

  /** Mixes a number: an integer of up to 53 bits as such, any other by its bits. */
  number(value: number): void {
    if (!Number.isSafeInteger(value)) return this.words(new Int32Array(Float64Array.of(value).buffer));
    this.word(value | 0);
    this.word(Math.floor(value / 0x1_0000_0000) | 0);
  }

  words(values: Int32Array): void {
    for (let i = 0; i < values.length; i++) this.word(values[i]);
  }

  /** Mixes bytes and their count. */
  bytes(values: Uint8Array): void {
    const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
    const whole = values.byteLength & ~3;
    for (let i = 0; i < whole; i += 4) this.word(view.getInt32(i, true));
    for (let i = whole; i < values.byteLength; i++) this.word(values[i]);
    this.word(values.byteLength);
  }

  /** Mixes a string's UTF-16 units and their count. */
  text(value: string): void {
    for (let i = 0; i < value.length; i++) this.word(value.charCodeAt(i));
    this.word(value.length);
  }

  /** Mixes any saved value, fields in their order; a word before each says what it is. */
  saved(value: Saved): void {
    if (value === null || typeof value === "boolean") this.word(value === null ? -1 : Number(value));
    else if (typeof value === "number") this.word(2), this.number(value);
    else if (typeof value === "string") this.word(3), this.text(value);
    else if (value instanceof Uint8Array) this.word(4), this.bytes(value);
    else if (value instanceof Int32Array) this.word(5), this.words(value), this.word(value.length);
    else if (Array.isArray(value)) {
      this.word(6), this.word(value.length);
      for (const item of value) this.saved(item);
    } else {
      this.word(7);
      // `for in` allocates nothing: devices are hashed this way every few thousand steps.
      for (const field in value) this.text(field), this.saved((value as { readonly [field: string]: Saved })[field]);
      this.word(8);
    }
  }

  /** The hash so far, as 16 hexadecimal digits. */
  digest(): string {
    const half = (h: number) => (finish(h ^ this.#words) >>> 0).toString(16).padStart(8, "0");
    return half(this.#high) + half(this.#low);
  }
}

function mix(hash: number, word: number, c1: number, c2: number): number {
  let k = Math.imul(word, c1);
  k = Math.imul((k << 15) | (k >>> 17), c2);
  hash ^= k;
  return (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
