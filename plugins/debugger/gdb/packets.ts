// Packets of gdb's remote serial protocol: `$data#checksum`, acknowledged by `+`, binary data escaped (GDB manual, appendix
// E, "Overview"). Data is handled as strings of one character a byte.

/** What arrives: a packet's data, one whose checksum is wrong, gdb's acknowledgement or refusal, or its interrupt. */
export type Arrival =
  | { readonly kind: "packet"; readonly data: string }
  | { readonly kind: "damaged" | "ack" | "nak" | "interrupt" };

const DOLLAR = 0x24, HASH = 0x23, PLUS = 0x2b, MINUS = 0x2d, ESCAPE = 0x7d, STAR = 0x2a, INTERRUPT = 0x03;
/** An escaped byte is sent xor this. */
const ESCAPE_XOR = 0x20;
/** A packet that is longer than this, on its way in, is none. */
const MAX_PACKET_BYTES = 1 << 20;

/** Cuts a stream of bytes into what it says. */
export class PacketReader {
  #data: number[] | undefined;
  /** Digits of the checksum so far; undefined before the `#`. */
  #checksum: string | undefined;

  *feed(bytes: Uint8Array): Generator<Arrival> {
    for (const byte of bytes) {
      const arrival = this.#data === undefined ? this.#between(byte) : this.#within(this.#data, byte);
      if (arrival !== undefined) yield arrival;
    }
  }

  #between(byte: number): Arrival | undefined {
    if (byte === DOLLAR) this.#data = [];
    else if (byte === PLUS) return { kind: "ack" };
    else if (byte === MINUS) return { kind: "nak" };
    else if (byte === INTERRUPT) return { kind: "interrupt" };
  }

  #within(data: number[], byte: number): Arrival | undefined {
    if (this.#checksum === undefined) {
      if (byte === HASH) this.#checksum = "";
      else if (byte === DOLLAR || data.length >= MAX_PACKET_BYTES) this.#data = [];
      else data.push(byte);
      return undefined;
    }
    this.#checksum += String.fromCharCode(byte);
    if (this.#checksum.length < 2) return undefined;
    const isRight = parseInt(this.#checksum, 16) === checksumOf(data);
    this.#data = this.#checksum = undefined;
    return isRight ? { kind: "packet", data: unescaped(data) } : { kind: "damaged" };
  }
}

/** A packet as it is sent. */
export function encodePacket(data: string): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < data.length; i++) {
    const byte = data.charCodeAt(i);
    if (byte === DOLLAR || byte === HASH || byte === ESCAPE || byte === STAR) bytes.push(ESCAPE, byte ^ ESCAPE_XOR);
    else bytes.push(byte);
  }
  const tail = `#${checksumOf(bytes).toString(16).padStart(2, "0")}`;
  return Uint8Array.from([DOLLAR, ...bytes, ...[...tail].map((digit) => digit.charCodeAt(0))]);
}

function checksumOf(bytes: readonly number[]): number {
  return bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0);
}

function unescaped(bytes: readonly number[]): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) {
    text += String.fromCharCode(bytes[i] === ESCAPE ? (bytes[++i] ?? 0) ^ ESCAPE_XOR : bytes[i]);
  }
  return text;
}

/** Bytes as pairs of hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Pairs of hexadecimal digits as bytes; undefined where the text is something else. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(i * 2, i * 2 + 2), 16));
}
