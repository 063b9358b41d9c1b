// What a text screen shows, read out of display memory the way the CRT controller walks it. Characters are those of code
// page 437, which is in every VGA's character generator.

import { PLANE_BYTES, PLANES } from "./memory.ts";
import { Crtc, CURSOR_OFF, OVERFLOW_DISPLAY_END_8, OVERFLOW_DISPLAY_END_9, SCAN_LINE_MASK } from "./registers.ts";
import type { TextScreen } from "./services.ts";

/** The screen by the CRT controller's registers; `memory` is interleaved by planes. */
export function readTextScreen(crtc: Uint8Array, memory: Uint8Array): TextScreen {
  const columns = crtc[Crtc.HORIZONTAL_DISPLAY_END] + 1;
  const overflow = crtc[Crtc.OVERFLOW];
  const lastScanLine = crtc[Crtc.VERTICAL_DISPLAY_END] | ((overflow & OVERFLOW_DISPLAY_END_8) !== 0 ? 0x100 : 0) |
    ((overflow & OVERFLOW_DISPLAY_END_9) !== 0 ? 0x200 : 0);
  const rows = Math.floor((lastScanLine + 1) / ((crtc[Crtc.MAXIMUM_SCAN_LINE] & SCAN_LINE_MASK) + 1));
  // The offset counts pairs of characters.
  const start = (crtc[Crtc.START_HIGH] << 8) | crtc[Crtc.START_LOW], stride = crtc[Crtc.OFFSET] * 2;
  // Characters are in plane 0 and attributes in plane 1, at every other byte.
  const at = (row: number, column: number) => ((start + row * stride + column) * 2) % PLANE_BYTES * PLANES;
  const textOf = (row: number) => {
    let text = "";
    for (let column = 0; column < columns; column++) text += CODE_PAGE_437[memory[at(row, column)]];
    return text.trimEnd();
  };
  const cursorAt = ((crtc[Crtc.CURSOR_HIGH] << 8) | crtc[Crtc.CURSOR_LOW]) - start;
  const row = stride === 0 ? 0 : Math.floor(cursorAt / stride), column = stride === 0 ? cursorAt : cursorAt % stride;
  const isOn = (crtc[Crtc.CURSOR_START] & CURSOR_OFF) === 0 &&
    (crtc[Crtc.CURSOR_START] & SCAN_LINE_MASK) <= (crtc[Crtc.CURSOR_END] & SCAN_LINE_MASK);
  const isVisible = isOn && cursorAt >= 0 && row < rows && column < columns;
  return {
    columns,
    rows,
    lines: Array.from({ length: rows }, (_, index) => textOf(index)),
    cursor: isVisible ? { row, column } : undefined,
    attributeAt: (row, column) => memory[at(row, column) + 1],
  };
}

/** Code page 437 in Unicode: the first 32 and 7Fh as the graphics that they show. */
const CODE_PAGE_437 = [
  ..." ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼",
  ...Array.from({ length: 0x7f - 0x20 }, (_, index) => String.fromCharCode(0x20 + index)),
  ..."⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀",
  ..."αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0",
];
