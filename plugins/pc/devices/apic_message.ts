// What travels between APICs: an interrupt message, its delivery modes and its destinations (Intel SDM 3A, 11.6 and 11.11;
// 82093AA datasheet 290566, section 3.2.4). The local vector table, the interrupt command register and the I/O APIC's
// redirection table share this layout of bits.

/** Bits 10-8 of an entry. */
export const DeliveryMode = {
  fixed: 0,
  lowestPriority: 1,
  smi: 2,
  nmi: 4,
  init: 5,
  startUp: 6,
  external: 7,
} as const;

/** Fields of an entry's low word. POLARITY and REMOTE_IRR are not in every one of them. */
export const Entry = {
  VECTOR: 0xff,
  MODE: 0x700,
  LOGICAL: 0x800,
  DELIVERY_PENDING: 0x1000,
  ACTIVE_LOW: 0x2000,
  REMOTE_IRR: 0x4000,
  LEVEL_TRIGGERED: 0x8000,
  MASKED: 0x1_0000,
} as const;
const MODE_SHIFT = 8;

/** Vectors below are the processor's own: an APIC refuses them. */
export const FIRST_LEGAL_VECTOR = 16;
/** Bits 63-56 of an entry: where it goes. */
export const DESTINATION_SHIFT = 24;

export interface ApicMessage {
  /** A value of `DeliveryMode`; those that are reserved mean nothing to anybody. */
  readonly mode: number;
  readonly vector: number;
  readonly levelTriggered: boolean;
  /** Whether `destination` is a set of logical names, not an APIC's identifier. */
  readonly logical: boolean;
  readonly destination: number;
}

export function modeOf(low: number): number {
  return (low & Entry.MODE) >> MODE_SHIFT;
}

/** An entry's bits for a delivery mode. */
export function modeBits(mode: number): number {
  return mode << MODE_SHIFT;
}

/** The message that an entry's two words ask for. */
export function messageOf(low: number, high: number): ApicMessage {
  return {
    mode: modeOf(low),
    vector: low & Entry.VECTOR,
    levelTriggered: (low & Entry.LEVEL_TRIGGERED) !== 0,
    logical: (low & Entry.LOGICAL) !== 0,
    destination: high >>> DESTINATION_SHIFT,
  };
}
