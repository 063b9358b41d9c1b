// The two PS/2 devices behind the keyboard controller: a keyboard and a mouse, as far as they answer commands (IBM PS/2
// Hardware Interface Technical Reference, "Keyboard" and "Mouse"). A device takes bytes from the host and queues bytes
// for it; the controller takes them out one by one.

/** Commands that both understand, and their answers. */
export const Ps2 = {
  ACK: 0xfa,
  SELF_TEST_PASSED: 0xaa,
  RESEND: 0xfe,
  IDENTIFY: 0xf2,
  SET_RATE: 0xf3,
  ENABLE: 0xf4,
  DISABLE: 0xf5,
  SET_DEFAULTS: 0xf6,
  RESET: 0xff,
} as const;

/** The keyboard's own commands. F7h-FAh set the kind of all keys, FBh-FDh of one. */
export const KeyboardCommand = {
  SET_LEDS: 0xed,
  ECHO: 0xee,
  SCAN_CODE_SET: 0xf0,
  FIRST_KEY_TYPE: 0xf7,
  FIRST_ONE_KEY_TYPE: 0xfb,
  LAST_KEY_TYPE: 0xfd,
} as const;
const KEYBOARD_ID = [0xab, 0x83], LOWEST_KEYBOARD_COMMAND = KeyboardCommand.SET_LEDS, DEFAULT_SCAN_CODE_SET = 2;

/** The mouse's own commands. */
export const MouseCommand = {
  SCALING_1_1: 0xe6,
  SCALING_2_1: 0xe7,
  SET_RESOLUTION: 0xe8,
  STATUS: 0xe9,
  STREAM_MODE: 0xea,
  READ_DATA: 0xeb,
  END_WRAP: 0xec,
  WRAP: 0xee,
  REMOTE_MODE: 0xf0,
} as const;
const MOUSE_ID = 0x00, PACKET_ALWAYS_SET = 0x08, DEFAULT_RATE = 100, DEFAULT_RESOLUTION = 2;
/** Status byte: mode, reporting, scaling. */
const STATUS_REMOTE = 0x40, STATUS_ENABLED = 0x20, STATUS_SCALING_2_1 = 0x10;

/** Bytes that a device keeps for a host that does not read; more are lost. */
const QUEUE_LIMIT = 16;

export type Ps2State = {
  queue: number[];
  /** Command whose parameter is next, or 0. */
  expects: number;
  lastSent: number;
  /** Keyboard: scans keys. Mouse: reports movement. */
  enabled: boolean;
  /** Keyboard: scan code set and LEDs. Mouse: sample rate and resolution. */
  parameters: [number, number];
  wraps: boolean;
  remote: boolean;
  scaling: boolean;
};

/** What both devices share: the queue, resend, and the state. */
abstract class Ps2Device {
  state: Ps2State;

  constructor(enabled: boolean, parameters: [number, number]) {
    this.state = {
      queue: [],
      expects: 0,
      lastSent: 0,
      enabled,
      parameters,
      wraps: false,
      remote: false,
      scaling: false,
    };
  }

  /** A byte from the host. */
  abstract receive(byte: number): void;

  /** The next byte for the host, or undefined. */
  take(): number | undefined {
    const byte = this.state.queue.shift();
    if (byte !== undefined) this.state.lastSent = byte;
    return byte;
  }

  protected send(...bytes: number[]): void {
    const { queue } = this.state;
    queue.push(...bytes.slice(0, QUEUE_LIMIT - queue.length));
  }

  /** Acknowledges a command whose parameter comes next. */
  protected expect(command: number): void {
    this.state.expects = command;
    this.send(Ps2.ACK);
  }
}

export class Ps2Keyboard extends Ps2Device {
  constructor() {
    super(true, [DEFAULT_SCAN_CODE_SET, 0]);
  }

  /** Queues scan codes, all or none. */
  type(codes: readonly number[]): boolean {
    const { enabled, queue } = this.state;
    if (!enabled || queue.length + codes.length > QUEUE_LIMIT) return false;
    this.send(...codes);
    return true;
  }

  receive(byte: number): void {
    const s = this.state, parameterOf = s.expects;
    s.expects = 0;
    if (parameterOf !== 0 && byte < LOWEST_KEYBOARD_COMMAND) this.#receiveParameter(parameterOf, byte);
    else this.#receiveCommand(byte);
  }

  #receiveParameter(command: number, value: number): void {
    const { parameters } = this.state;
    this.send(Ps2.ACK);
    if (command === KeyboardCommand.SET_LEDS) parameters[1] = value;
    else if (command === KeyboardCommand.SCAN_CODE_SET) {
      if (value === 0) this.send(parameters[0]);
      else if (value <= 3) parameters[0] = value;
    }
  }

  #receiveCommand(command: number): void {
    const s = this.state;
    switch (command) {
      case KeyboardCommand.SET_LEDS:
      case KeyboardCommand.SCAN_CODE_SET:
      case Ps2.SET_RATE:
        this.expect(command);
        break;
      case KeyboardCommand.ECHO:
        this.send(KeyboardCommand.ECHO);
        break;
      case Ps2.IDENTIFY:
        this.send(Ps2.ACK, ...KEYBOARD_ID);
        break;
      case Ps2.ENABLE:
      case Ps2.DISABLE:
      case Ps2.SET_DEFAULTS:
        s.queue = [];
        s.enabled = command !== Ps2.DISABLE;
        if (command !== Ps2.ENABLE) s.parameters = [DEFAULT_SCAN_CODE_SET, 0];
        this.send(Ps2.ACK);
        break;
      case Ps2.RESEND:
        this.send(s.lastSent);
        break;
      case Ps2.RESET:
        this.state = { ...s, queue: [], enabled: true, parameters: [DEFAULT_SCAN_CODE_SET, 0] };
        this.send(Ps2.ACK, Ps2.SELF_TEST_PASSED);
        break;
      default:
        if (command < KeyboardCommand.FIRST_KEY_TYPE || command > KeyboardCommand.LAST_KEY_TYPE) this.send(Ps2.RESEND);
        else if (command < KeyboardCommand.FIRST_ONE_KEY_TYPE) this.send(Ps2.ACK);
        else this.expect(command);
    }
  }
}

export class Ps2Mouse extends Ps2Device {
  constructor() {
    super(false, [DEFAULT_RATE, DEFAULT_RESOLUTION]);
  }

  receive(byte: number): void {
    const s = this.state, parameterOf = s.expects;
    s.expects = 0;
    if (s.wraps && byte !== Ps2.RESET && byte !== MouseCommand.END_WRAP) this.send(byte);
    else if (parameterOf !== 0) {
      s.parameters[parameterOf === Ps2.SET_RATE ? 0 : 1] = byte;
      this.send(Ps2.ACK);
    } else this.#receiveCommand(byte);
  }

  #receiveCommand(command: number): void {
    const s = this.state;
    switch (command) {
      case Ps2.SET_RATE:
      case MouseCommand.SET_RESOLUTION:
        this.expect(command);
        return;
      case Ps2.IDENTIFY:
        this.send(Ps2.ACK, MOUSE_ID);
        return;
      case MouseCommand.STATUS:
        this.send(Ps2.ACK, this.#status(), s.parameters[1], s.parameters[0]);
        return;
      case MouseCommand.READ_DATA:
        this.send(Ps2.ACK, PACKET_ALWAYS_SET, 0, 0);
        return;
      case Ps2.RESEND:
        this.send(s.lastSent);
        return;
      case Ps2.RESET:
        this.#setDefaults();
        this.send(Ps2.ACK, Ps2.SELF_TEST_PASSED, MOUSE_ID);
        return;
      case Ps2.SET_DEFAULTS:
        this.#setDefaults();
        break;
      case Ps2.ENABLE:
      case Ps2.DISABLE:
        s.enabled = command === Ps2.ENABLE;
        break;
      case MouseCommand.SCALING_1_1:
      case MouseCommand.SCALING_2_1:
        s.scaling = command === MouseCommand.SCALING_2_1;
        break;
      case MouseCommand.STREAM_MODE:
      case MouseCommand.REMOTE_MODE:
        s.remote = command === MouseCommand.REMOTE_MODE;
        break;
      case MouseCommand.WRAP:
      case MouseCommand.END_WRAP:
        s.wraps = command === MouseCommand.WRAP;
        break;
      default:
        this.send(Ps2.RESEND);
        return;
    }
    this.send(Ps2.ACK);
  }

  #status(): number {
    const { remote, enabled, scaling } = this.state;
    return (remote ? STATUS_REMOTE : 0) | (enabled ? STATUS_ENABLED : 0) | (scaling ? STATUS_SCALING_2_1 : 0);
  }

  #setDefaults(): void {
    Object.assign(this.state, {
      queue: [],
      enabled: false,
      parameters: [DEFAULT_RATE, DEFAULT_RESOLUTION],
      wraps: false,
      remote: false,
      scaling: false,
    });
  }
}
