// Keys of an interactive console that are the terminal's and not the guest's: Ctrl-A x quits, Ctrl-A Ctrl-A sends one
// Ctrl-A, as in QEMU and screen. Everything else, Ctrl-C too, goes to the guest.

const CTRL_A = 0x01;
const LOWER_X = 0x78, UPPER_X = 0x58;

export class EscapeKeys {
  #escaped = false;

  /** Takes what was typed; returns what goes to the guest, and whether the user quits. Bytes after a quit are dropped. */
  type(typed: Uint8Array): { readonly bytes: Uint8Array; readonly quit: boolean } {
    const bytes: number[] = [];
    for (const byte of typed) {
      if (!this.#escaped && byte === CTRL_A) {
        this.#escaped = true;
        continue;
      }
      if (this.#escaped && (byte === LOWER_X || byte === UPPER_X)) return { bytes: Uint8Array.from(bytes), quit: true };
      if (this.#escaped && byte !== CTRL_A) bytes.push(CTRL_A);
      bytes.push(byte);
      this.#escaped = false;
    }
    return { bytes: Uint8Array.from(bytes), quit: false };
  }
}
