// The timer tick as a BIOS leaves it running: the 8259s at vectors 08h and 70h, counter 0 at its slowest, 18.2 Hz, and a
// handler for it behind vector 8 (IBM PC/AT Technical Reference, BIOS listing, "TIMER_INT"). For programs that expect a
// BIOS's machine in real mode; operating systems set all of this up anew.

import type { ByteDevice } from "../devices/isa.ts";
import { CASCADE_IRQ, TIMER_IRQ } from "../devices/lines.ts";
import { Icw1, Icw4, PIC1_COMMAND, PIC1_DATA, PIC2_COMMAND, PIC2_DATA } from "../devices/pic.ts";
import { PIT_CONTROL, PIT_COUNTER_0 } from "../devices/pit.ts";
import type { FirmwareImage } from "../services.ts";

const MASTER_VECTOR = 0x08, SLAVE_VECTOR = 0x70;
const ALL_MASKED = 0xff;
/** Counter 0, low byte then high byte, square wave; the count 0 is 65,536. */
const COUNTER_0_SQUARE_WAVE = 0x36, SLOWEST = 0;
/** Interrupt vectors are offset and segment. */
const VECTOR_BYTES = 4;
/** Where BIOSes have had their timer handler since the first. */
const HANDLER_SEGMENT = 0xf000, HANDLER_OFFSET = 0xfea5;

/** PUSH AX; MOV AL, 20h (non-specific end of interrupt); OUT 20h, AL; POP AX; IRET. */
const HANDLER = Uint8Array.of(0x50, 0xb0, 0x20, 0xe6, PIC1_COMMAND, 0x58, 0xcf);

/** Programs the interrupt controllers and the timer; returns the vector and its handler, for memory. */
export function startBiosTimer(pic: ByteDevice, pit: ByteDevice): FirmwareImage[] {
  const controllers = [
    [PIC1_COMMAND, PIC1_DATA, MASTER_VECTOR, 1 << CASCADE_IRQ, ALL_MASKED & ~(1 << TIMER_IRQ | 1 << CASCADE_IRQ)],
    [PIC2_COMMAND, PIC2_DATA, SLAVE_VECTOR, CASCADE_IRQ, ALL_MASKED],
  ];
  for (const [command, data, vector, wiring, mask] of controllers) {
    pic.writeByte(command, Icw1.INIT | Icw1.IC4);
    for (const word of [vector, wiring, Icw4.PM, mask]) pic.writeByte(data, word);
  }
  pit.writeByte(PIT_CONTROL, COUNTER_0_SQUARE_WAVE);
  for (const byte of [SLOWEST, SLOWEST]) pit.writeByte(PIT_COUNTER_0, byte);

  const vector = new DataView(new ArrayBuffer(VECTOR_BYTES));
  vector.setUint16(0, HANDLER_OFFSET, true);
  vector.setUint16(2, HANDLER_SEGMENT, true);
  return [
    { address: VECTOR_BYTES * (MASTER_VECTOR + TIMER_IRQ), bytes: new Uint8Array(vector.buffer) },
    { address: HANDLER_SEGMENT * 16 + HANDLER_OFFSET, bytes: HANDLER },
  ];
}
