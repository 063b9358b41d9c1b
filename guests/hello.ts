// Guest `hello`: the smallest guest there is, a boot sector in real mode that prints one line on the serial port.

import { addr, al, Assembler, dx, si } from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import { UART } from "./hardware.ts";

/** Where a PC's firmware loads a boot sector. */
const BOOT_SECTOR = 0x7c00;
const LONGEST_TEXT = 256;

export const hello = defineGuest({
  name: "hello",
  summary: "prints a line on the serial port from real mode",
  description:
    "A 16-bit program at 0x7c00, where firmware loads boot sectors. It prints `text` and a newline on the first " +
    "serial port, byte by byte as the transmitter has room, and powers off.",
  memoryMib: 1,
  options: { text: { default: "hello, world", describe: "the line to print, at most 256 bytes in UTF-8" } },
  build({ text }) {
    if (new TextEncoder().encode(text).length > LONGEST_TEXT || text.includes("\0")) {
      throw new Error(`guest hello, option text: expected at most ${LONGEST_TEXT} bytes without a zero`);
    }
    const asm = new Assembler({ origin: BOOT_SECTOR, bits: 16 });
    asm.label("start").cld().mov(dx, UART.LCR).mov(al, UART.LCR_8N1).out(dx, al);
    asm.mov(si, addr("message")).label("next");
    asm.mov(dx, UART.LSR).label("wait").in(al, dx).test(al, UART.LSR_THRE).jz("wait");
    asm.lodsb().test(al, al).jz("done").mov(dx, UART.THR).out(dx, al).jmp("next");
    asm.label("done").cli().hlt().jmp("done");
    asm.label("message").string(`${text}\n`).db(0);
    const { bytes, origin, labels } = asm.assemble();
    return { loads: [{ address: origin, bytes }], entry: origin, mode: "real", symbols: labels };
  },
});
