// The power-on self-test code at port 80h, the manufacturing port that Linux writes for an I/O delay (IBM PC/AT Technical
// Reference, "POST"). On a PC the port is also the spare DMA page register, so it reads back what was written.

import type { Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { ByteDevice } from "./isa.ts";

export const POST_CODE = 0x80;

export class PostCode implements StateOwner, ByteDevice {
  #code = 0;

  readByte(_port: number): number {
    return this.#code;
  }
  writeByte(_port: number, value: number): void {
    this.#code = value;
  }
  steadyUntilNs(): number {
    return Infinity;
  }

  save(): Saved {
    return { code: this.#code };
  }
  restore(saved: Saved): void {
    this.#code = (saved as { code: number }).code;
  }
  hash(hasher: Hasher): void {
    hasher.word(this.#code);
  }
}
