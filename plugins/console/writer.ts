// Console output on its way to the user: one VM's bytes as they are, several VMs' as whole lines with their names. Bytes
// are gathered and written in pieces, and a write that takes only a part is continued.

import type { Vm } from "../../core/mod.ts";
import { LineBuffer } from "./lines.ts";

/** Takes some of the bytes at least; returns how many. */
export type WriteSync = (bytes: Uint8Array) => number;

const GATHERED_BYTES = 16384;

export class ConsoleWriter {
  readonly #gathered = new Uint8Array(GATHERED_BYTES);
  #length = 0;
  readonly #lines = new Map<Vm, LineBuffer>();

  /** `prefixed`: lines with VM names; otherwise raw bytes. */
  constructor(readonly prefixed: boolean, readonly write: WriteSync) {}

  /** Adds a byte of a VM's output. */
  add(vm: Vm, byte: number): void {
    if (!this.prefixed) {
      if (this.#length === GATHERED_BYTES) this.flush();
      this.#gathered[this.#length++] = byte;
      return;
    }
    let lines = this.#lines.get(vm);
    if (lines === undefined) this.#lines.set(vm, lines = new LineBuffer());
    const line = lines.add(byte);
    if (line !== undefined) this.addText(`${vm.name}: ${line}\n`);
  }

  /** Writes what a VM left without a line end: it has ended. */
  finish(vm: Vm): void {
    const rest = this.#lines.get(vm)?.take() ?? "";
    if (rest !== "") this.addText(`${vm.name}: ${rest}\n`);
  }

  addText(text: string): void {
    const bytes = new TextEncoder().encode(text);
    if (this.#length + bytes.length > GATHERED_BYTES) this.flush();
    if (bytes.length > GATHERED_BYTES) this.#writeAll(bytes);
    else {
      this.#gathered.set(bytes, this.#length);
      this.#length += bytes.length;
    }
  }

  /** Writes everything gathered so far. */
  flush(): void {
    this.#writeAll(this.#gathered.subarray(0, this.#length));
    this.#length = 0;
  }

  #writeAll(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += this.write(bytes.subarray(at));
  }
}
