// The keyboard controller of a PC/AT with a PS/2 auxiliary port: an Intel 8042 with IBM's firmware (IBM PS/2 Hardware
// Interface Technical Reference, "Keyboard/auxiliary device controller"). Ports 60h and 64h, IRQ1 and IRQ12. Answers are
// there as soon as they are asked for.

import type { Hasher, Saved, StateOwner } from "../../../core/mod.ts";
import type { Keyboard } from "../services.ts";
import type { ByteDevice, InterruptLine } from "./isa.ts";
import { Ps2Keyboard, Ps2Mouse, type Ps2State } from "./ps2.ts";

/** I/O ports: data, and status (read) or command (write). */
export const KBC_DATA = 0x60, KBC_STATUS = 0x64, KBC_COMMAND = 0x64;

export const KbcStatus = {
  OUTPUT_FULL: 0x01,
  INPUT_FULL: 0x02,
  SYSTEM_FLAG: 0x04,
  /** The last write was a command. */
  COMMAND: 0x08,
  UNLOCKED: 0x10,
  AUX_OUTPUT_FULL: 0x20,
} as const;

/** Bits of the controller command byte, which is byte 0 of the controller's RAM. */
export const CommandByte = {
  KEYBOARD_INTERRUPT: 0x01,
  AUX_INTERRUPT: 0x02,
  SYSTEM_FLAG: 0x04,
  KEYBOARD_DISABLED: 0x10,
  AUX_DISABLED: 0x20,
  TRANSLATE: 0x40,
} as const;

/** Commands of the controller. RAM is read by 20h-3Fh, written by 60h-7Fh; F0h-FFh pulse output lines low. */
export const KbcCommand = {
  READ_RAM: 0x20,
  WRITE_RAM: 0x60,
  DISABLE_AUX: 0xa7,
  ENABLE_AUX: 0xa8,
  TEST_AUX: 0xa9,
  SELF_TEST: 0xaa,
  TEST_KEYBOARD: 0xab,
  DISABLE_KEYBOARD: 0xad,
  ENABLE_KEYBOARD: 0xae,
  READ_INPUT_PORT: 0xc0,
  READ_OUTPUT_PORT: 0xd0,
  WRITE_OUTPUT_PORT: 0xd1,
  WRITE_KEYBOARD_OUTPUT: 0xd2,
  WRITE_AUX_OUTPUT: 0xd3,
  WRITE_AUX: 0xd4,
  READ_TEST_INPUTS: 0xe0,
  PULSE: 0xf0,
} as const;
const RAM_SIZE = 32, RAM_INDEX = RAM_SIZE - 1;

export const SELF_TEST_PASSED = 0x55, INTERFACE_TEST_PASSED = 0x00;
/** Output port: the processor's reset line (active low), the A20 gate, and the two interrupt requests. */
const OutputPort = { NOT_RESET: 0x01, A20: 0x02, KEYBOARD_REQUEST: 0x10, AUX_REQUEST: 0x20 } as const;
/** Input port: the keyboard is not locked. */
const INPUT_PORT_UNLOCKED = 0x80;

/** Who a byte in the output buffer is from. */
const From = { controller: 0, keyboard: 1, aux: 2 } as const;
/** Answers that wait for the output buffer; more are lost. */
const RESPONSE_LIMIT = 16;
/** Scan codes of set 2: the next one is released; and what the translation to set 1 makes of a release. */
const RELEASE_PREFIX = 0xf0, RELEASED = 0x80;

type KbcState = {
  ram: Uint8Array;
  outputFull: boolean;
  output: number;
  outputFrom: number;
  /** The controller's own answers: byte and where it is to seem to come from. */
  responses: [number, number][];
  lastWasCommand: boolean;
  /** Command whose parameter the next data byte is, or 0. */
  expects: number;
  releases: boolean;
};

export class KeyboardController implements StateOwner, ByteDevice, Keyboard {
  readonly #keyboard = new Ps2Keyboard();
  readonly #mouse = new Ps2Mouse();
  #state: KbcState;

  constructor(readonly irq1: InterruptLine, readonly irq12: InterruptLine, readonly reset: () => void) {
    const ram = new Uint8Array(RAM_SIZE);
    // As firmware leaves it.
    ram[0] = CommandByte.KEYBOARD_INTERRUPT | CommandByte.SYSTEM_FLAG | CommandByte.AUX_DISABLED |
      CommandByte.TRANSLATE;
    this.#state = {
      ram,
      outputFull: false,
      output: 0,
      outputFrom: From.controller,
      responses: [],
      lastWasCommand: false,
      expects: 0,
      releases: false,
    };
  }

  typeScancodes(codes: readonly number[]): boolean {
    const typed = this.#keyboard.type(codes);
    this.#fill();
    return typed;
  }

  readByte(port: number): number {
    return port === KBC_DATA ? this.#readData() : this.#status();
  }

  writeByte(port: number, value: number): void {
    const s = this.#state, parameterOf = s.expects;
    s.lastWasCommand = port !== KBC_DATA;
    s.expects = 0;
    if (port !== KBC_DATA) this.#command(value);
    else if (parameterOf !== 0) this.#parameter(parameterOf, value);
    else this.#keyboard.receive(value);
    this.#fill();
  }

  #status(): number {
    const s = this.#state;
    return (s.outputFull ? KbcStatus.OUTPUT_FULL : 0) | (s.lastWasCommand ? KbcStatus.COMMAND : 0) |
      (s.outputFull && s.outputFrom === From.aux ? KbcStatus.AUX_OUTPUT_FULL : 0) | KbcStatus.UNLOCKED |
      (s.ram[0] & CommandByte.SYSTEM_FLAG);
  }

  /** The output buffer keeps its byte when it is read empty. */
  #readData(): number {
    const { output } = this.#state;
    this.#state.outputFull = false;
    this.#updateInterrupts();
    this.#fill();
    return output;
  }

  #command(command: number): void {
    const { ram } = this.#state;
    if (command >= KbcCommand.PULSE) return this.#driveReset((command & OutputPort.NOT_RESET) !== 0);
    if (command >= KbcCommand.WRITE_RAM && command < KbcCommand.WRITE_RAM + RAM_SIZE) return this.#expect(command);
    if (command >= KbcCommand.READ_RAM && command < KbcCommand.READ_RAM + RAM_SIZE) {
      return this.#respond(ram[command & RAM_INDEX]);
    }
    switch (command) {
      case KbcCommand.DISABLE_AUX:
        ram[0] |= CommandByte.AUX_DISABLED;
        break;
      case KbcCommand.ENABLE_AUX:
        ram[0] &= ~CommandByte.AUX_DISABLED;
        break;
      case KbcCommand.DISABLE_KEYBOARD:
        ram[0] |= CommandByte.KEYBOARD_DISABLED;
        break;
      case KbcCommand.ENABLE_KEYBOARD:
        ram[0] &= ~CommandByte.KEYBOARD_DISABLED;
        break;
      case KbcCommand.SELF_TEST:
        ram[0] |= CommandByte.SYSTEM_FLAG;
        this.#respond(SELF_TEST_PASSED);
        break;
      case KbcCommand.TEST_AUX:
      case KbcCommand.TEST_KEYBOARD:
        this.#respond(INTERFACE_TEST_PASSED);
        break;
      case KbcCommand.READ_INPUT_PORT:
        this.#respond(INPUT_PORT_UNLOCKED);
        break;
      case KbcCommand.READ_OUTPUT_PORT:
        this.#respond(this.#outputPort());
        break;
      case KbcCommand.READ_TEST_INPUTS:
        this.#respond(0);
        break;
      case KbcCommand.WRITE_OUTPUT_PORT:
      case KbcCommand.WRITE_KEYBOARD_OUTPUT:
      case KbcCommand.WRITE_AUX_OUTPUT:
      case KbcCommand.WRITE_AUX:
        this.#expect(command);
    }
  }

  #expect(command: number): void {
    this.#state.expects = command;
  }

  #parameter(command: number, value: number): void {
    switch (command) {
      case KbcCommand.WRITE_OUTPUT_PORT:
        // A20 stays on.
        this.#driveReset((value & OutputPort.NOT_RESET) !== 0);
        break;
      case KbcCommand.WRITE_KEYBOARD_OUTPUT:
        this.#respond(value, From.keyboard);
        break;
      case KbcCommand.WRITE_AUX_OUTPUT:
        this.#respond(value, From.aux);
        break;
      case KbcCommand.WRITE_AUX:
        this.#mouse.receive(value);
        break;
      default:
        this.#state.ram[command & RAM_INDEX] = value;
        this.#updateInterrupts();
    }
  }

  #driveReset(inactive: boolean): void {
    if (!inactive) this.reset();
  }

  #outputPort(): number {
    const s = this.#state;
    const request = !s.outputFull
      ? 0
      : s.outputFrom === From.aux
      ? OutputPort.AUX_REQUEST
      : OutputPort.KEYBOARD_REQUEST;
    return OutputPort.NOT_RESET | OutputPort.A20 | request;
  }

  #respond(byte: number, from: number = From.controller): void {
    const { responses } = this.#state;
    if (responses.length < RESPONSE_LIMIT) responses.push([byte, from]);
  }

  /** Moves the next byte into the output buffer: the controller's own first, then the keyboard's, then the mouse's. */
  #fill(): void {
    const s = this.#state;
    const next = s.outputFull ? undefined : this.#next();
    if (next !== undefined) {
      [s.output, s.outputFrom] = next;
      s.outputFull = true;
    }
    this.#updateInterrupts();
  }

  #next(): [number, number] | undefined {
    const s = this.#state;
    const response = s.responses.shift();
    if (response !== undefined) return response;
    while ((s.ram[0] & CommandByte.KEYBOARD_DISABLED) === 0) {
      const byte = this.#keyboard.take();
      if (byte === undefined) break;
      if ((s.ram[0] & CommandByte.TRANSLATE) === 0) return [byte, From.keyboard];
      // Translated, a release is one byte: its prefix goes, and the code that follows has its high bit set.
      if (byte === RELEASE_PREFIX) s.releases = true;
      else {
        const code = SET_2_TO_SET_1[byte] | (s.releases ? RELEASED : 0);
        s.releases = false;
        return [code, From.keyboard];
      }
    }
    const byte = (s.ram[0] & CommandByte.AUX_DISABLED) === 0 ? this.#mouse.take() : undefined;
    return byte === undefined ? undefined : [byte, From.aux];
  }

  #updateInterrupts(): void {
    const s = this.#state, isAux = s.outputFrom === From.aux;
    this.irq1(s.outputFull && !isAux && (s.ram[0] & CommandByte.KEYBOARD_INTERRUPT) !== 0);
    this.irq12(s.outputFull && isAux && (s.ram[0] & CommandByte.AUX_INTERRUPT) !== 0);
  }

  save(): Saved {
    return {
      controller: { ...structuredClone(this.#state) },
      keyboard: structuredClone(this.#keyboard.state),
      mouse: structuredClone(this.#mouse.state),
    };
  }
  restore(saved: Saved): void {
    const { controller, keyboard, mouse } = saved as { controller: KbcState; keyboard: Ps2State; mouse: Ps2State };
    this.#state = structuredClone(controller);
    this.#keyboard.state = structuredClone(keyboard);
    this.#mouse.state = structuredClone(mouse);
  }
  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}

/** What the controller makes of scan codes of set 2: set 1. Codes from 80h on stay, but for 83h (F7) and 84h (SysRq). */
const SET_2_TO_SET_1 = Uint8Array.from(
  { length: 256 },
  (_, code) => code === 0x83 ? 0x41 : code === 0x84 ? 0x54 : code,
);
SET_2_TO_SET_1.set(
  // deno-fmt-ignore
  [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
  ],
);
