// The VGA's 256 KiB in four planes, and the graphics controller between them and the processor: odd/even and chained
// addresses, write modes 0 to 3, read modes 0 and 1 (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem").

import type { AccessSize, MemoryDevice } from "../x86/mod.ts";
import {
  Function,
  FUNCTION_MASK,
  FUNCTION_SHIFT,
  Graphics,
  GraphicsMisc,
  GraphicsMode,
  MEMORY_MAP_SHIFT,
  MemoryMode,
  ROTATE_COUNT,
  Sequencer,
} from "./registers.ts";

/** The window that the adapter claims in the processor's address space. */
export const VGA_WINDOW = 0xa_0000, VGA_WINDOW_BYTES = 0x2_0000;
/** Where in the window the memory appears, by the memory-map field: offset and bytes. */
const MAPS = [[0, 0x2_0000], [0, 0x1_0000], [0x1_0000, 0x8000], [0x1_8000, 0x8000]] as const;
export const PLANES = 4, PLANE_BYTES = 0x1_0000;
const ALL_PLANES = 0xf, EVEN_PLANES = 0x5, ODD_PLANES = 0xa;
const FLOATING = 0xff;

/** The registers that decide how memory is reached; the adapter owns them. */
export interface MemoryRegisters {
  readonly graphics: Uint8Array;
  readonly sequencer: Uint8Array;
  readonly isRamEnabled: boolean;
}

export class VgaMemory implements MemoryDevice {
  /** Byte `offset` of plane `p` is at `offset * PLANES + p`. */
  readonly bytes = new Uint8Array(PLANES * PLANE_BYTES);
  /** What the last read found in each plane. */
  readonly latches = new Uint8Array(PLANES);

  constructor(readonly registers: MemoryRegisters) {}

  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
  }

  /** Offset in the mapped memory of an offset in the window; undefined where the adapter does not answer. */
  #mapped(offset: number): number | undefined {
    const { graphics, isRamEnabled } = this.registers;
    const [start, bytes] = MAPS[(graphics[Graphics.MISC] & GraphicsMisc.MEMORY_MAP) >> MEMORY_MAP_SHIFT];
    const at = offset - start;
    return isRamEnabled && at >= 0 && at < bytes ? at & (PLANE_BYTES - 1) : undefined;
  }

  #readByte(offset: number): number {
    const at = this.#mapped(offset);
    if (at === undefined) return FLOATING;
    const { graphics, sequencer } = this.registers, mode = graphics[Graphics.MODE];
    const isChained = (sequencer[Sequencer.MEMORY_MODE] & MemoryMode.CHAIN_4) !== 0;
    const isOddEven = (mode & GraphicsMode.ODD_EVEN) !== 0;
    const cell = (isChained ? at & ~3 : isOddEven ? at & ~1 : at) * PLANES;
    this.latches.set(this.bytes.subarray(cell, cell + PLANES));
    if (isChained) return this.latches[at & 3];
    if ((mode & GraphicsMode.READ_MODE_1) !== 0) return this.#compareColours();
    const map = graphics[Graphics.READ_MAP] & 3;
    return this.latches[isOddEven ? (map & 2) | (at & 1) : map];
  }

  /** Read mode 1: a bit is set where the planes that matter hold the colour compared with. */
  #compareColours(): number {
    const { graphics } = this.registers;
    let differences = 0;
    for (let plane = 0; plane < PLANES; plane++) {
      if (((graphics[Graphics.COLOUR_DONT_CARE] >> plane) & 1) === 0) continue;
      const wanted = ((graphics[Graphics.COLOUR_COMPARE] >> plane) & 1) !== 0 ? 0xff : 0;
      differences |= this.latches[plane] ^ wanted;
    }
    return ~differences & 0xff;
  }

  #writeByte(offset: number, value: number): void {
    const at = this.#mapped(offset);
    if (at === undefined) return;
    const { sequencer } = this.registers, memoryMode = sequencer[Sequencer.MEMORY_MODE];
    const isChained = (memoryMode & MemoryMode.CHAIN_4) !== 0;
    const isOddEven = (memoryMode & MemoryMode.SEQUENTIAL) === 0;
    const cell = (isChained ? at & ~3 : isOddEven ? at & ~1 : at) * PLANES;
    const reached = isChained ? 1 << (at & 3) : !isOddEven ? ALL_PLANES : (at & 1) === 0 ? EVEN_PLANES : ODD_PLANES;
    const planes = sequencer[Sequencer.MAP_MASK] & reached;
    for (let plane = 0; plane < PLANES; plane++) {
      if (((planes >> plane) & 1) !== 0) this.bytes[cell + plane] = this.#planeValue(plane, value);
    }
  }

  /** What a write of `value` leaves in a plane. */
  #planeValue(plane: number, value: number): number {
    const { graphics } = this.registers, latch = this.latches[plane];
    const bitOf = (register: number) => ((graphics[register] >> plane) & 1) !== 0;
    const rotate = graphics[Graphics.DATA_ROTATE] & ROTATE_COUNT;
    const rotated = ((value >> rotate) | (value << (8 - rotate))) & 0xff;
    const setReset = bitOf(Graphics.SET_RESET) ? 0xff : 0, bitMask = graphics[Graphics.BIT_MASK];
    switch (graphics[Graphics.MODE] & GraphicsMode.WRITE_MODE) {
      case 0:
        return this.#combine(bitOf(Graphics.ENABLE_SET_RESET) ? setReset : rotated, latch, bitMask);
      case 1:
        return latch;
      case 2:
        return this.#combine(((value >> plane) & 1) !== 0 ? 0xff : 0, latch, bitMask);
      default: {
        const mask = bitMask & rotated;
        return (setReset & mask) | (latch & ~mask);
      }
    }
  }

  /** The logical function with the latch, for the bits of the mask. */
  #combine(value: number, latch: number, mask: number): number {
    const chosen = (this.registers.graphics[Graphics.DATA_ROTATE] >> FUNCTION_SHIFT) & FUNCTION_MASK;
    let result = value;
    if (chosen === Function.AND) result = value & latch;
    else if (chosen === Function.OR) result = value | latch;
    else if (chosen === Function.XOR) result = value ^ latch;
    return (result & mask) | (latch & ~mask);
  }
}
