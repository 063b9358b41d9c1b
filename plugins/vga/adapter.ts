// A VGA as a text adapter: the registers behind its ports, in the state that its BIOS leaves for mode 3 (IBM PS/2 Hardware
// Interface Technical Reference, "Video Subsystem"). Retrace follows guest time.

import type { GuestClock, Hasher, Saved, StateOwner } from "../../core/mod.ts";
import type { AccessSize, PortDevice } from "../x86/mod.ts";
import { PLANES, VgaMemory } from "./memory.ts";
import {
  ATTRIBUTE_INDEX_BITS,
  ATTRIBUTE_INDEX_MASK,
  BLANK_ATTRIBUTE,
  BLANK_CHARACTER,
  Crtc,
  CRTC_PROTECT,
  CRTC_PROTECTED,
  DAC_BITS,
  DAC_COLOURS,
  Graphics,
  GraphicsMisc,
  MiscOutput,
  OVERFLOW_LINE_COMPARE,
  PALETTE_TO_DISPLAY,
  Port,
  Status1,
  TEXT_MODE,
} from "./registers.ts";
import { readTextScreen } from "./screen.ts";
import type { TextScreen } from "./services.ts";

const FLOATING = 0xff;
/** Timing of mode 3: 31.5 kHz lines, 449 a frame, of which 400 show; a line shows for four fifths of its time. */
const LINE_NS = 31_778, FRAME_LINES = 449, SHOWN_LINES = 400, SHOWN_LINE_NS = 25_422;
/** Lines of a frame during which the beam returns. */
const RETRACE_START_LINE = 412, RETRACE_END_LINE = 414;
/** Cells of the display memory that the BIOS clears: 32 KiB of characters and attributes. */
const CLEARED_BYTES = 0x8000;
/** State of the converter: ready for writes, or for reads. */
const DAC_WRITES = 0, DAC_READS = 3, DAC_COMPONENTS = 3;

/** Registers outside the indexed ones. */
type LatchedState = {
  miscOutput: number;
  sequencerIndex: number;
  crtcIndex: number;
  graphicsIndex: number;
  attributeIndex: number;
  /** Whether the next write to the attribute port is data. */
  attributeTakesData: boolean;
  pelMask: number;
  dacState: number;
  /** Next component of the converter, for reads and writes alike. */
  dacAt: number;
};

export class VgaAdapter implements PortDevice, StateOwner {
  readonly sequencer = Uint8Array.from(TEXT_MODE.sequencer);
  readonly crtc = Uint8Array.from(TEXT_MODE.crtc);
  readonly graphics = Uint8Array.from(TEXT_MODE.graphics);
  readonly attribute = Uint8Array.from(TEXT_MODE.attribute);
  readonly dac = defaultColours();
  readonly memory = new VgaMemory(this);
  readonly #latched: LatchedState = {
    miscOutput: TEXT_MODE.miscOutput,
    sequencerIndex: 0,
    crtcIndex: 0,
    graphicsIndex: 0,
    attributeIndex: PALETTE_TO_DISPLAY,
    attributeTakesData: false,
    pelMask: 0xff,
    dacState: DAC_WRITES,
    dacAt: 0,
  };

  constructor(readonly clock: GuestClock) {
    for (let offset = 0; offset < CLEARED_BYTES; offset += 2) {
      this.memory.bytes[offset * PLANES] = BLANK_CHARACTER;
      this.memory.bytes[offset * PLANES + 1] = BLANK_ATTRIBUTE;
    }
  }

  get isRamEnabled(): boolean {
    return (this.#latched.miscOutput & MiscOutput.RAM_ENABLE) !== 0;
  }

  /** What the screen shows; undefined in a graphics mode. */
  screen(): TextScreen | undefined {
    if ((this.graphics[Graphics.MISC] & GraphicsMisc.GRAPHICS) !== 0) return undefined;
    return readTextScreen(this.crtc, this.memory.bytes);
  }

  read(port: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(port + i) << (8 * i);
    return value >>> 0;
  }

  write(port: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.#writeByte(port + i, (value >>> (8 * i)) & 0xff);
  }

  #readByte(port: number): number {
    switch (this.#port(port)) {
      case Port.ATTRIBUTE:
        return this.#latched.attributeIndex;
      case Port.ATTRIBUTE_READ:
        return this.attribute[this.#latched.attributeIndex & ATTRIBUTE_INDEX_MASK] ?? 0;
      case Port.MISC_READ:
        return this.#latched.miscOutput;
      case Port.ENABLE:
        return 1;
      case Port.MISC_WRITE:
      case Port.FEATURE_READ:
        return 0;
      case Port.SEQUENCER_INDEX:
        return this.#latched.sequencerIndex;
      case Port.SEQUENCER_DATA:
        return this.sequencer[this.#latched.sequencerIndex] ?? 0;
      case Port.PEL_MASK:
        return this.#latched.pelMask;
      case Port.PEL_READ_INDEX:
        return this.#latched.dacState;
      case Port.PEL_WRITE_INDEX:
        return Math.floor(this.#latched.dacAt / DAC_COMPONENTS);
      case Port.PEL_DATA:
        return this.dac[this.#nextComponent()];
      case Port.GRAPHICS_INDEX:
        return this.#latched.graphicsIndex;
      case Port.GRAPHICS_DATA:
        return this.graphics[this.#latched.graphicsIndex] ?? 0;
      case Port.CRTC_INDEX:
        return this.#latched.crtcIndex;
      case Port.CRTC_DATA:
        return this.crtc[this.#latched.crtcIndex] ?? 0;
      case Port.STATUS_1:
        this.#latched.attributeTakesData = false;
        return this.#status1();
      default:
        return FLOATING;
    }
  }

  #writeByte(port: number, value: number): void {
    switch (this.#port(port)) {
      case Port.ATTRIBUTE:
        return this.#writeAttribute(value);
      case Port.MISC_WRITE:
        this.#latched.miscOutput = value;
        return;
      case Port.SEQUENCER_INDEX:
        this.#latched.sequencerIndex = value;
        return;
      case Port.SEQUENCER_DATA:
        return put(this.sequencer, this.#latched.sequencerIndex, value);
      case Port.PEL_MASK:
        this.#latched.pelMask = value;
        return;
      case Port.PEL_READ_INDEX:
      case Port.PEL_WRITE_INDEX:
        this.#latched.dacState = port === Port.PEL_READ_INDEX ? DAC_READS : DAC_WRITES;
        this.#latched.dacAt = value * DAC_COMPONENTS;
        return;
      case Port.PEL_DATA:
        this.dac[this.#nextComponent()] = value & DAC_BITS;
        return;
      case Port.GRAPHICS_INDEX:
        this.#latched.graphicsIndex = value;
        return;
      case Port.GRAPHICS_DATA:
        return put(this.graphics, this.#latched.graphicsIndex, value);
      case Port.CRTC_INDEX:
        this.#latched.crtcIndex = value;
        return;
      case Port.CRTC_DATA:
        return this.#writeCrtc(value);
    }
  }

  /** The colour port that a port stands for, where the CRT controller is now; -1 for one that does not answer. */
  #port(port: number): number {
    const isColour = (this.#latched.miscOutput & MiscOutput.COLOUR) !== 0;
    if (port >= Port.ATTRIBUTE && port <= Port.GRAPHICS_DATA) return port;
    if (port >= Port.CRTC_INDEX) return isColour ? port : -1;
    return isColour ? -1 : port + Port.CRTC_INDEX - Port.CRTC_INDEX_MONO;
  }

  #writeAttribute(value: number): void {
    if (this.#latched.attributeTakesData) {
      put(this.attribute, this.#latched.attributeIndex & ATTRIBUTE_INDEX_MASK, value);
    } else this.#latched.attributeIndex = value & ATTRIBUTE_INDEX_BITS;
    this.#latched.attributeTakesData = !this.#latched.attributeTakesData;
  }

  #writeCrtc(value: number): void {
    const index = this.#latched.crtcIndex;
    const isProtected = (this.crtc[Crtc.VERTICAL_RETRACE_END] & CRTC_PROTECT) !== 0 && index <= CRTC_PROTECTED;
    if (!isProtected) return put(this.crtc, index, value);
    if (index !== Crtc.OVERFLOW) return;
    this.crtc[index] = (this.crtc[index] & ~OVERFLOW_LINE_COMPARE) | (value & OVERFLOW_LINE_COMPARE);
  }

  #nextComponent(): number {
    const at = this.#latched.dacAt;
    this.#latched.dacAt = (at + 1) % this.dac.length;
    return at;
  }

  #status1(): number {
    const inFrameNs = this.clock.nowNs() % (LINE_NS * FRAME_LINES);
    const line = Math.floor(inFrameNs / LINE_NS), isShown = line < SHOWN_LINES && inFrameNs % LINE_NS < SHOWN_LINE_NS;
    const isRetrace = line >= RETRACE_START_LINE && line < RETRACE_END_LINE;
    return (isShown ? 0 : Status1.DISPLAY_DISABLED) | (isRetrace ? Status1.VERTICAL_RETRACE : 0);
  }

  save(): Saved {
    const arrays = Object.entries(this.#arrays()).map(([name, bytes]) => [name, bytes.slice()]);
    return { ...this.#latched, ...Object.fromEntries(arrays) };
  }

  restore(saved: Saved): void {
    const state = saved as Record<string, Uint8Array> & LatchedState;
    for (const [name, bytes] of Object.entries(this.#arrays())) bytes.set(state[name]);
    for (const name of Object.keys(this.#latched)) Object.assign(this.#latched, { [name]: state[name] });
  }

  /** What is kept in bytes, by the names of the saved state. */
  #arrays(): Record<string, Uint8Array> {
    const { sequencer, crtc, graphics, attribute, dac, memory } = this;
    return { sequencer, crtc, graphics, attribute, dac, memory: memory.bytes, latches: memory.latches };
  }

  hash(hasher: Hasher): void {
    hasher.saved(this.save());
  }
}

/** Writes a register that exists. */
function put(registers: Uint8Array, index: number, value: number): void {
  if (index < registers.length) registers[index] = value;
}

/** The 64 colours that mode 3's palette chooses from: two bits for each component, strong and weak. */
function defaultColours(): Uint8Array {
  const STRONG = 42, WEAK = 21, EGA_COLOURS = 64;
  const dac = new Uint8Array(DAC_COLOURS * DAC_COMPONENTS);
  for (let colour = 0; colour < EGA_COLOURS; colour++) {
    for (let component = 0; component < DAC_COMPONENTS; component++) {
      // Red is the highest bit of either triple.
      const bit = DAC_COMPONENTS - 1 - component;
      dac[colour * DAC_COMPONENTS + component] = ((colour >> bit) & 1) * STRONG +
        ((colour >> (bit + DAC_COMPONENTS)) & 1) * WEAK;
    }
  }
  return dac;
}
