// A virtio console with one port, and emergency output (Virtio 1.2, section 5.3). Output leaves as soon as it is announced.
// Input is taken from the peer only when the driver has given a buffer for it, and has had time since the first one: Linux's
// driver gives buffers before it has a terminal, and until it has one discards what comes. So no byte is lost.

import type { GuestClock, GuestTimer, Hasher, Saved, StateOwner } from "../../core/mod.ts";
import type { GuestMemory } from "../memory/mod.ts";
import type { SerialPeer, SerialPort } from "../pc/mod.ts";
import { Chain, type VirtioDevice, type VirtioPort } from "../virtio/mod.ts";

export const CONSOLE_DEVICE_TYPE = 3;
const CLASS_COMMUNICATION = 0x078000;
export const Feature = { EMERG_WRITE: 2 } as const;
/** Configuration space: le16 columns, le16 rows, le32 ports, le32 emergency write. */
export const EMERGENCY_WRITE = 8;
const CONFIG_BYTES = 12;
export const Queue = { RECEIVE: 0, TRANSMIT: 1 } as const;
const QUEUE_SIZE = 64;
/** Most bytes moved at one go; the rest follows after a while. */
const MOST_BYTES = 64 * 1024;
/** Guest time until input arrives, and until output that was too much for one go goes on. */
const INPUT_NS = 10_000, OUTPUT_PAUSE_NS = 100_000;
/** A buffer longer than this is no console's. */
const LONGEST_OUTPUT = 1 << 20;

export class ConsoleDevice implements VirtioDevice, SerialPort, StateOwner {
  readonly name = "virtio-console";
  readonly type = CONSOLE_DEVICE_TYPE;
  readonly classCode = CLASS_COMMUNICATION;
  readonly features = [Feature.EMERG_WRITE];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #port: VirtioPort;
  readonly #inputTimer: GuestTimer;
  readonly #outputTimer: GuestTimer;
  #peer: SerialPeer | undefined;
  /** The peer has answered that it has nothing. */
  #peerIsDry = false;
  /** A buffer for input that waits for some. */
  #buffer: Chain | undefined;
  /** Guest time from which the driver takes input; Infinity until it has given a buffer. */
  #settledNs = Infinity;

  /** `settleNs` is the guest time that a driver is given after its first buffer for input. */
  constructor(
    readonly clock: GuestClock,
    readonly memory: GuestMemory,
    readonly settleNs: number,
    attach: (device: VirtioDevice) => VirtioPort,
  ) {
    this.#inputTimer = clock.timer("virtio-console.input", () => this.#receive());
    this.#outputTimer = clock.timer("virtio-console.output", () => this.#transmit());
    this.#port = attach(this);
  }

  // For the peer.

  attach(peer: SerialPeer): void {
    this.#peer = peer;
    this.inputArrived();
  }

  inputArrived(): void {
    this.#peerIsDry = false;
    this.#expectInput();
  }

  get readyToReceive(): boolean {
    return this.#port.isActive && (this.#buffer !== undefined || this.#port.queues[Queue.RECEIVE].waiting > 0);
  }

  // For the driver.

  activated(): void {
    this.#expectInput();
    this.#transmit();
  }

  notified(queue: number): void {
    if (queue === Queue.TRANSMIT) this.#transmit();
    else this.#expectInput();
  }

  reset(): void {
    this.#buffer = undefined;
    this.#settledNs = Infinity;
    this.#inputTimer.disarm();
    this.#outputTimer.disarm();
  }

  writeConfig(offset: number, _size: number, value: number): void {
    if (offset === EMERGENCY_WRITE) this.#peer?.transmit(value & 0xff);
  }

  #expectInput(): void {
    if (!this.readyToReceive) return;
    const nowNs = this.clock.nowNs();
    if (this.#settledNs === Infinity) this.#settledNs = nowNs + this.settleNs;
    if (this.#inputTimer.deadlineNs !== Infinity || this.#peer === undefined || this.#peerIsDry) return;
    this.#inputTimer.arm(Math.max(nowNs + INPUT_NS, this.#settledNs));
  }

  /** Fills one buffer with what the peer has. A buffer is taken before the first byte, and kept until there is one. */
  #receive(): void {
    const receive = this.#port.queues[Queue.RECEIVE];
    const chain = this.#buffer ??= receive.take();
    if (chain === undefined || !this.#port.isActive) return;
    if (chain.writableBytes === 0) return this.#port.fail("a buffer for input without room");
    const bytes = new Uint8Array(Math.min(chain.writableBytes, MOST_BYTES));
    let count = 0;
    while (count < bytes.length) {
      const byte = this.#peer?.nextByte();
      if (byte === undefined) break;
      bytes[count++] = byte;
    }
    this.#peerIsDry = count < bytes.length;
    if (count === 0) return;
    chain.write(0, bytes.subarray(0, count));
    this.#buffer = undefined;
    receive.complete(chain, count);
    this.#expectInput();
  }

  /** Sends what the driver has announced by now, up to a bound. */
  #transmit(): void {
    const transmit = this.#port.queues[Queue.TRANSMIT];
    let sent = 0;
    for (let left = transmit.waiting; left > 0; left--) {
      if (sent >= MOST_BYTES) return this.#outputTimer.arm(this.clock.nowNs() + OUTPUT_PAUSE_NS);
      const chain = transmit.take();
      if (chain === undefined) return;
      if (chain.readableBytes > LONGEST_OUTPUT) {
        return this.#port.fail(`output of ${chain.readableBytes} bytes at once`);
      }
      const bytes = new Uint8Array(chain.readableBytes);
      chain.read(0, bytes);
      for (const byte of bytes) this.#peer?.transmit(byte);
      sent += bytes.length;
      transmit.complete(chain, 0);
    }
  }

  save(): Saved {
    return {
      transport: this.#port.save(),
      buffer: this.#buffer?.save() ?? null,
      peerIsDry: this.#peerIsDry,
      // Infinity is no number that is kept everywhere.
      settledNs: this.#settledNs === Infinity ? null : this.#settledNs,
    };
  }

  restore(saved: Saved): void {
    const { transport, buffer, peerIsDry, settledNs } = saved as {
      transport: Saved;
      buffer: Saved;
      peerIsDry: boolean;
      settledNs: number | null;
    };
    this.#port.restore(transport);
    this.#buffer = buffer === null ? undefined : Chain.restore(this.memory, buffer);
    this.#peerIsDry = peerIsDry;
    this.#settledNs = settledNs ?? Infinity;
  }

  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}
