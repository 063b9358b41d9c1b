// A National Semiconductor PC16550D serial port (datasheet SNLS378) as COM1 or COM2 of a PC, whose OUT2 gates the
// interrupt (IBM PC/AT Technical Reference, "Serial/Parallel Adapter").
//
// Transmission: by default a byte leaves as soon as it is written, so THRE and TEMT never fall and a guest does not spend
// a boot's worth of steps polling for them; with `pacedTransmit` a byte takes its ten bit times. Reception is always
// paced: at most one byte a character time, pulled from the peer when the character would have arrived.
//
// When the peer's first byte may come. A driver that has not opened the port discards what arrives: Linux's 8250 driver
// reads RBR and clears the FIFOs in its start-up, and probes and prints long before. So a byte is offered only if
//  - the receiver has room, the port is not looped back, and
//  - the driver enabled receive interrupts and raised DTR and RTS, and has then left every register alone for
//    `settleNs`, which spans start-up, line settings and the first prompt (or all registers but THR and IER for fifty
//    times as long, where a guest never stops printing). Once it has settled, none of this delays a byte, until the FIFO
//    is reset or DTR falls (the port is closed); while the receive interrupt is masked (as Linux does for each console
//    message) or RTS is low (hardware flow control), input waits; or
//  - the guest has no receive interrupt but polls: it read LSR several times in a row with nothing to wait for but input.

import type { GuestClock, GuestTimer, Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { SerialPeer, SerialPort } from "../services.ts";
import { type ByteDevice, FLOATING_BYTE, type InterruptLine } from "./isa.ts";

/** Base ports, each of eight registers, and interrupt lines of the two serial ports. */
export const COM1 = { base: 0x3f8, irq: 4 } as const, COM2 = { base: 0x2f8, irq: 3 } as const;
export const UART_PORTS = 8;

/** Registers, as offsets from the base. With LCR.DLAB set, 0 and 1 are the divisor latch. */
export const Reg = {
  RBR: 0,
  THR: 0,
  DLL: 0,
  IER: 1,
  DLM: 1,
  IIR: 2,
  FCR: 2,
  LCR: 3,
  MCR: 4,
  LSR: 5,
  MSR: 6,
  SCR: 7,
} as const;
export const Ier = { RDA: 0x01, THRE: 0x02, RLS: 0x04, MSR: 0x08 } as const;
const IER_WRITABLE = 0x0f;
/** Interrupt identification, in order of priority; NONE if none is pending. */
export const Iir = {
  NONE: 0x01,
  LINE_STATUS: 0x06,
  RECEIVED_DATA: 0x04,
  CHARACTER_TIMEOUT: 0x0c,
  TRANSMITTER_EMPTY: 0x02,
  MODEM_STATUS: 0x00,
  FIFOS_ENABLED: 0xc0,
} as const;
export const Fcr = {
  ENABLE: 0x01,
  CLEAR_RECEIVER: 0x02,
  CLEAR_TRANSMITTER: 0x04,
  DMA_MODE: 0x08,
  TRIGGER: 0xc0,
} as const;
const TRIGGER_SHIFT = 6, TRIGGER_LEVELS = [1, 4, 8, 14];
export const Lcr = {
  WORD_LENGTH: 0x03,
  STOP: 0x04,
  PARITY: 0x08,
  EVEN: 0x10,
  STICK: 0x20,
  BREAK: 0x40,
  DLAB: 0x80,
} as const;
export const Mcr = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOP: 0x10 } as const;
const MCR_WRITABLE = 0x1f;
export const Lsr = {
  DATA_READY: 0x01,
  OVERRUN: 0x02,
  PARITY: 0x04,
  FRAMING: 0x08,
  BREAK: 0x10,
  THRE: 0x20,
  TEMT: 0x40,
  FIFO_ERROR: 0x80,
} as const;
export const Msr = {
  DCTS: 0x01,
  DDSR: 0x02,
  TERI: 0x04,
  DDCD: 0x08,
  CTS: 0x10,
  DSR: 0x20,
  RI: 0x40,
  DCD: 0x80,
} as const;
const MSR_DELTA_SHIFT = 4;

const FIFO_DEPTH = 16;
/** Input clock over 16: bit times a second at divisor 1, as a reduced fraction of nanoseconds a half bit. */
const HALF_BIT_NS = 78125, HALF_BIT_PER = 18;
/** A divisor of 0 counts as the whole range of the latch. */
const DIVISOR_RANGE = 0x10000;
/** Character times without a read or a new byte after which a FIFO below its trigger level interrupts. */
const TIMEOUT_CHARACTERS = 4;
/** Reads of LSR in a row after which a guest is taken to poll for input. */
const POLLS_FOR_INPUT = 16;
/** Settling times after which a driver that keeps transmitting has settled too. */
const BUSY_SETTLES = 50;
/** Where a byte in the receiver FIFO keeps its LSR error bits. */
const ERRORS_SHIFT = 8;
const NONE = -1;

/** How a serial port is wired and paced. */
export interface UartOptions {
  /** Transmit at the programmed rate. */
  readonly pacedTransmit: boolean;
  /** Guest time for which a driver must leave the port alone before its first byte comes. */
  readonly settleNs: number;
}

type UartState = {
  ier: number;
  fcr: number;
  lcr: number;
  mcr: number;
  scratch: number;
  divisor: number;
  /** Receiver: bytes with their errors above them, the byte RBR shows when empty, and LSR's sticky errors. */
  received: number[];
  lastRead: number;
  errors: number;
  timedOut: boolean;
  /** Transmitter: FIFO (or holding register), and the byte in the shift register. */
  toTransmit: number[];
  shifting: number;
  transmitterEmpty: boolean;
  modemLines: number;
  modemDeltas: number;
  /** Whether the driver has settled since the port was last opened. */
  open: boolean;
  /** Guest time of the driver's last write to any register, and to one but THR and IER, before it settled. */
  quietSinceNs: number;
  configuredNs: number;
  idlePolls: number;
  /** The peer has answered that it has nothing. */
  peerIsDry: boolean;
};

/** As firmware leaves the port: 8 data bits, no parity, one stop bit, 115200 baud. */
const FIRMWARE_LCR = 0x03, FIRMWARE_DIVISOR = 1;

export class Uart implements StateOwner, ByteDevice, SerialPort {
  #state: UartState = {
    ier: 0,
    fcr: 0,
    lcr: FIRMWARE_LCR,
    mcr: 0,
    scratch: 0,
    divisor: FIRMWARE_DIVISOR,
    received: [],
    lastRead: 0,
    errors: 0,
    timedOut: false,
    toTransmit: [],
    shifting: NONE,
    transmitterEmpty: false,
    modemLines: Msr.CTS | Msr.DSR | Msr.DCD,
    modemDeltas: 0,
    open: false,
    quietSinceNs: 0,
    configuredNs: 0,
    idlePolls: 0,
    peerIsDry: false,
  };
  #peer: SerialPeer | undefined;
  readonly #transmitTimer: GuestTimer;
  readonly #receiveTimer: GuestTimer;
  readonly #timeoutTimer: GuestTimer;

  /** `name` is that of its timers. */
  constructor(
    name: string,
    readonly clock: GuestClock,
    readonly base: number,
    readonly irq: InterruptLine,
    readonly options: UartOptions,
  ) {
    this.#transmitTimer = clock.timer(`${name}.transmit`, () => this.#finishTransmission());
    this.#receiveTimer = clock.timer(`${name}.receive`, (nowNs) => this.#pull(nowNs));
    this.#timeoutTimer = clock.timer(`${name}.timeout`, () => this.#timeOut());
  }

  attach(peer: SerialPeer): void {
    this.#peer = peer;
    this.inputArrived();
  }

  inputArrived(): void {
    this.#state.peerIsDry = false;
    this.#expectInput();
  }

  get readyToReceive(): boolean {
    const s = this.#state;
    if ((s.mcr & Mcr.LOOP) !== 0 || s.received.length >= this.#depth()) return false;
    if ((s.ier & Ier.RDA) === 0) return s.idlePolls >= POLLS_FOR_INPUT;
    const lines = Mcr.DTR | Mcr.RTS;
    return (s.mcr & lines) === lines;
  }

  readByte(port: number): number {
    const s = this.#state;
    switch (port - this.base) {
      case Reg.RBR:
        return (s.lcr & Lcr.DLAB) !== 0 ? s.divisor & 0xff : this.#readData();
      case Reg.IER:
        return (s.lcr & Lcr.DLAB) !== 0 ? s.divisor >> 8 : s.ier;
      case Reg.IIR:
        return this.#readIdentification();
      case Reg.LCR:
        return s.lcr;
      case Reg.MCR:
        return s.mcr;
      case Reg.LSR:
        return this.#readLineStatus();
      case Reg.MSR:
        return this.#readModemStatus();
      case Reg.SCR:
        return s.scratch;
      default:
        return FLOATING_BYTE;
    }
  }

  steadyUntilNs(port: number): number {
    return port - this.base === Reg.SCR ? Infinity : 0;
  }

  writeByte(port: number, value: number): void {
    const s = this.#state, offset = port - this.base;
    if (!s.open) this.#unsettle(offset > Reg.IER);
    if ((s.lcr & Lcr.DLAB) !== 0 && offset <= Reg.DLM) {
      s.divisor = offset === Reg.DLL ? (s.divisor & 0xff00) | value : (s.divisor & 0xff) | (value << 8);
      return;
    }
    switch (offset) {
      case Reg.THR:
        s.idlePolls = 0;
        this.#transmit(value);
        break;
      case Reg.IER:
        this.#writeInterruptEnable(value & IER_WRITABLE);
        break;
      case Reg.FCR:
        this.#writeFifoControl(value);
        break;
      case Reg.LCR:
        this.#writeLineControl(value);
        break;
      case Reg.MCR:
        this.#writeModemControl(value & MCR_WRITABLE);
        break;
      case Reg.SCR:
        s.scratch = value;
    }
    this.#updateInterrupt();
    this.#expectInput();
  }

  // Receiver.

  #hasFifos(): boolean {
    return (this.#state.fcr & Fcr.ENABLE) !== 0;
  }

  #depth(): number {
    return this.#hasFifos() ? FIFO_DEPTH : 1;
  }

  /** The 5 to 8 data bits of a character. */
  #wordMask(): number {
    return 0xff >> (3 - (this.#state.lcr & Lcr.WORD_LENGTH));
  }

  /** One character: start bit, 5-8 data bits, parity, 1, 1.5 or 2 stop bits. */
  #characterNs(): number {
    const { lcr, divisor } = this.#state;
    const dataBits = 5 + (lcr & Lcr.WORD_LENGTH);
    const stopHalfBits = (lcr & Lcr.STOP) === 0 ? 2 : dataBits === 5 ? 3 : 4;
    const halfBits = 2 + 2 * dataBits + ((lcr & Lcr.PARITY) !== 0 ? 2 : 0) + stopHalfBits;
    return Math.ceil((halfBits * (divisor || DIVISOR_RANGE) * HALF_BIT_NS) / HALF_BIT_PER);
  }

  /** Arms the receive timer if a byte could come and none is under way. */
  #expectInput(): void {
    const s = this.#state;
    if (this.#receiveTimer.deadlineNs !== Infinity || this.#peer === undefined || s.peerIsDry) return;
    if (this.readyToReceive) this.#receiveTimer.arm(this.#nextArrivalNs());
  }

  #nextArrivalNs(): number {
    const arrivalNs = this.clock.nowNs() + this.#characterNs();
    return Math.max(arrivalNs, this.#settledNs());
  }

  /** Guest time at which an interrupt-driven driver counts as settled. */
  #settledNs(): number {
    const { open, ier, quietSinceNs, configuredNs } = this.#state, { settleNs } = this.options;
    if (open || (ier & Ier.RDA) === 0) return 0;
    return Math.min(quietSinceNs + settleNs, configuredNs + BUSY_SETTLES * settleNs);
  }

  /** The driver writes to a register before input began: it has not settled yet, unless its quiet lasted long enough. */
  #unsettle(configures: boolean): void {
    const s = this.#state, nowNs = this.clock.nowNs();
    if ((s.ier & Ier.RDA) !== 0 && this.readyToReceive && nowNs >= this.#settledNs()) {
      s.open = true;
      return;
    }
    s.quietSinceNs = nowNs;
    if (configures) s.configuredNs = nowNs;
  }

  /** A character time has passed: takes the peer's next byte, unless the driver is no longer ready. */
  #pull(nowNs: number): void {
    const s = this.#state;
    if (!this.readyToReceive) return;
    if (nowNs < this.#settledNs()) return this.#expectInput();
    const byte = this.#peer?.nextByte();
    if (byte === undefined) {
      s.peerIsDry = true;
      return;
    }
    s.open = true;
    this.#receive(byte, 0);
    this.#updateInterrupt();
    this.#expectInput();
  }

  /** A character has arrived, from the peer or around the loop. */
  #receive(byte: number, errors: number): void {
    const s = this.#state;
    const entry = (byte & this.#wordMask()) | (errors << ERRORS_SHIFT);
    if (s.received.length >= this.#depth()) {
      s.errors |= Lsr.OVERRUN;
      // A full FIFO keeps what it has; a full buffer register is overwritten.
      if (!this.#hasFifos()) s.received = [entry];
    } else s.received.push(entry);
    if (s.received.length === 1) this.#exposeErrors();
    s.timedOut = false;
    this.#restartTimeout();
  }

  /** The errors of the byte now at the top show in LSR. */
  #exposeErrors(): void {
    const s = this.#state;
    if (s.received.length > 0) s.errors |= s.received[0] >> ERRORS_SHIFT;
  }

  #restartTimeout(): void {
    const waits = this.#hasFifos() && this.#state.received.length > 0;
    this.#timeoutTimer.arm(waits ? this.clock.nowNs() + TIMEOUT_CHARACTERS * this.#characterNs() : Infinity);
  }

  #timeOut(): void {
    this.#state.timedOut = true;
    this.#updateInterrupt();
  }

  #readData(): number {
    const s = this.#state, entry = s.received.shift();
    if (entry !== undefined) {
      s.lastRead = entry & 0xff;
      s.timedOut = false;
      this.#exposeErrors();
      this.#restartTimeout();
      this.#updateInterrupt();
      this.#expectInput();
    }
    return s.lastRead;
  }

  #clearReceiver(): void {
    const s = this.#state;
    s.received = [];
    s.errors = 0;
    s.timedOut = false;
    this.#close();
    this.#restartTimeout();
  }

  /** The port is being opened or closed: input waits for the driver to settle. */
  #close(): void {
    const s = this.#state;
    s.open = false;
    s.idlePolls = 0;
    s.quietSinceNs = s.configuredNs = this.clock.nowNs();
  }

  // Transmitter.

  #transmit(byte: number): void {
    const s = this.#state;
    s.transmitterEmpty = false;
    if (!this.options.pacedTransmit) {
      this.#send(byte);
      s.transmitterEmpty = true;
    } else {
      if (s.toTransmit.length < this.#depth()) s.toTransmit.push(byte);
      else if (!this.#hasFifos()) s.toTransmit = [byte];
      if (s.shifting === NONE) this.#shiftNext();
    }
  }

  #shiftNext(): void {
    const s = this.#state;
    s.shifting = s.toTransmit.shift() ?? NONE;
    if (s.shifting === NONE) return;
    if (s.toTransmit.length === 0) s.transmitterEmpty = true;
    this.#transmitTimer.arm(this.clock.nowNs() + this.#characterNs());
  }

  #finishTransmission(): void {
    this.#send(this.#state.shifting);
    this.#shiftNext();
    this.#updateInterrupt();
  }

  /** A character leaves the shift register: to the peer, around the loop, or nowhere while a break holds the line. */
  #send(byte: number): void {
    const s = this.#state;
    if ((s.mcr & Mcr.LOOP) !== 0) this.#receive(byte, 0);
    else if ((s.lcr & Lcr.BREAK) === 0) this.#peer?.transmit(byte & this.#wordMask());
  }

  // Registers.

  #writeInterruptEnable(value: number): void {
    const s = this.#state, rises = value & ~s.ier;
    s.ier = value;
    s.idlePolls = 0;
    // Enabling the interrupt while the holding register is empty raises it at once.
    if ((rises & Ier.THRE) !== 0 && s.toTransmit.length === 0) s.transmitterEmpty = true;
  }

  #writeFifoControl(value: number): void {
    const s = this.#state, changes = ((value ^ s.fcr) & Fcr.ENABLE) !== 0, enabled = (value & Fcr.ENABLE) !== 0;
    if (changes || (enabled && (value & Fcr.CLEAR_RECEIVER) !== 0)) this.#clearReceiver();
    if (changes || (enabled && (value & Fcr.CLEAR_TRANSMITTER) !== 0)) {
      if (s.toTransmit.length > 0) s.transmitterEmpty = true;
      s.toTransmit = [];
    }
    // The other bits are programmed only together with the enable bit; the clear bits clear themselves.
    s.fcr = enabled ? value & (Fcr.ENABLE | Fcr.DMA_MODE | Fcr.TRIGGER) : 0;
  }

  #writeLineControl(value: number): void {
    const s = this.#state, startsBreak = (value & ~s.lcr & Lcr.BREAK) !== 0;
    s.lcr = value;
    // A break around the loop arrives as one zero character.
    if (startsBreak && (s.mcr & Mcr.LOOP) !== 0) this.#receive(0, Lsr.BREAK | Lsr.FRAMING);
  }

  #writeModemControl(value: number): void {
    const s = this.#state, falls = s.mcr & ~value;
    s.mcr = value;
    if ((falls & Mcr.DTR) !== 0) this.#close();
    // Looped back, the four outputs drive the four inputs; else the peer holds CTS, DSR and DCD.
    const loops = (value & Mcr.LOOP) !== 0;
    const lines = !loops
      ? Msr.CTS | Msr.DSR | Msr.DCD
      : ((value & Mcr.RTS) !== 0 ? Msr.CTS : 0) | ((value & Mcr.DTR) !== 0 ? Msr.DSR : 0) |
        ((value & Mcr.OUT1) !== 0 ? Msr.RI : 0) | ((value & Mcr.OUT2) !== 0 ? Msr.DCD : 0);
    const changed = lines ^ s.modemLines;
    // RI counts only when it ends.
    s.modemDeltas |= ((changed & ~Msr.RI) | (changed & s.modemLines & Msr.RI)) >> MSR_DELTA_SHIFT;
    s.modemLines = lines;
  }

  #readLineStatus(): number {
    const s = this.#state, thre = s.toTransmit.length === 0;
    let status = s.errors;
    if (s.received.length > 0) status |= Lsr.DATA_READY;
    if (thre) status |= Lsr.THRE;
    if (thre && s.shifting === NONE) status |= Lsr.TEMT;
    if (this.#hasFifos() && s.received.some((entry) => entry >> ERRORS_SHIFT !== 0)) status |= Lsr.FIFO_ERROR;
    if (s.errors !== 0) {
      s.errors = 0;
      // What was reported of the byte at the top is reported once.
      if (s.received.length > 0) s.received[0] &= 0xff;
      this.#updateInterrupt();
    }
    if ((status & (Lsr.DATA_READY | Lsr.THRE)) === Lsr.THRE && s.idlePolls < POLLS_FOR_INPUT) {
      s.idlePolls++;
      this.#expectInput();
    }
    return status;
  }

  #readModemStatus(): number {
    const s = this.#state, status = s.modemLines | s.modemDeltas;
    s.modemDeltas = 0;
    this.#updateInterrupt();
    return status;
  }

  #readIdentification(): number {
    const s = this.#state, identification = this.#pending();
    if (identification === Iir.TRANSMITTER_EMPTY) {
      s.transmitterEmpty = false;
      this.#updateInterrupt();
    }
    return identification | (this.#hasFifos() ? Iir.FIFOS_ENABLED : 0);
  }

  /** The interrupt of highest priority that is pending and enabled. */
  #pending(): number {
    const s = this.#state;
    if ((s.ier & Ier.RLS) !== 0 && s.errors !== 0) return Iir.LINE_STATUS;
    if ((s.ier & Ier.RDA) !== 0) {
      const trigger = this.#hasFifos() ? TRIGGER_LEVELS[s.fcr >> TRIGGER_SHIFT] : 1;
      if (s.received.length >= trigger) return Iir.RECEIVED_DATA;
      if (s.timedOut) return Iir.CHARACTER_TIMEOUT;
    }
    if ((s.ier & Ier.THRE) !== 0 && s.transmitterEmpty) return Iir.TRANSMITTER_EMPTY;
    if ((s.ier & Ier.MSR) !== 0 && s.modemDeltas !== 0) return Iir.MODEM_STATUS;
    return Iir.NONE;
  }

  /** OUT2 gates the interrupt; looped back, the OUT2 pin is inactive. */
  #updateInterrupt(): void {
    const isGated = (this.#state.mcr & (Mcr.OUT2 | Mcr.LOOP)) !== Mcr.OUT2;
    this.irq(!isGated && this.#pending() !== Iir.NONE);
  }

  save(): Saved {
    return structuredClone(this.#state);
  }
  restore(saved: Saved): void {
    this.#state = structuredClone(saved as UartState);
  }
  hash(hasher: Hasher): void {
    const { peerIsDry: _, ...visible } = this.#state;
    hasher.saved(visible);
  }
}
