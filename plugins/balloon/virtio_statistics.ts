// What a guest's driver tells of its memory over the statistics queue of a virtio balloon (Virtio 1.2, section 5.5.6.4):
// entries of a tag and a value. Guest-supplied, so bounded and never believed.

import { type GuestStatistics, STATISTICS } from "./services.ts";

/** Entry: le16 tag, le64 value, packed. */
export const ENTRY_BYTES = 10;
const VALUE_AT = 2, HIGH_WORD = 0x1_0000_0000;
/** The longest report that is looked at: every tag once. */
export const MOST_REPORT_BYTES = STATISTICS.length * ENTRY_BYTES;

/** Statistics by their tags, which are their places in the list. Unknown tags, and what is no whole entry, say nothing. */
export function parseStatistics(bytes: Uint8Array): GuestStatistics {
  const statistics: GuestStatistics = {};
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    const name = STATISTICS[view.getUint16(at, true)];
    if (name === undefined) continue;
    statistics[name] = view.getUint32(at + VALUE_AT, true) + view.getUint32(at + VALUE_AT + 4, true) * HIGH_WORD;
  }
  return statistics;
}
