// Bytes of firmware's tables: fields at offsets, texts of fixed width, and the checksum that makes all bytes add up to 0.

/** A table of `size` bytes to be filled in by offset, little endian. */
export class Table {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(offset: number, ...values: readonly number[]): this {
    this.bytes.set(values, offset);
    return this;
  }
  u16(offset: number, value: number): this {
    this.#view.setUint16(offset, value, true);
    return this;
  }
  u32(offset: number, value: number): this {
    this.#view.setUint32(offset, value, true);
    return this;
  }
  /** Characters of ASCII, padded with spaces to `width`. */
  text(offset: number, value: string, width = value.length): this {
    this.bytes.set(new TextEncoder().encode(value.padEnd(width)), offset);
    return this;
  }
  put(offset: number, bytes: Uint8Array): this {
    this.bytes.set(bytes, offset);
    return this;
  }

  /** Sets the checksum byte so that the bytes before `end` add up to 0, and returns the bytes. */
  seal(checksumOffset: number, end = this.bytes.length): Uint8Array {
    this.bytes[checksumOffset] = 0;
    const sum = this.bytes.subarray(0, end).reduce((total, byte) => (total + byte) & 0xff, 0);
    this.bytes[checksumOffset] = -sum & 0xff;
    return this.bytes;
  }
}

/** Who made the tables. */
export const OEM_ID = "BLLAST", OEM_TABLE_ID = "BALLAST", CREATOR_ID = "BLST";
