// Ports and registers of IBM's VGA, and the values that its BIOS leaves behind for text mode 3: 80 x 25 characters of
// 9 x 16 dots. Source: IBM Personal System/2 Hardware Interface Technical Reference, "Video Subsystem"; names are its own.

/** I/O ports. Those of the CRT controller and of input status 1 move with MiscOutput.COLOUR. */
export const Port = {
  CRTC_INDEX_MONO: 0x3b4,
  CRTC_DATA_MONO: 0x3b5,
  STATUS_1_MONO: 0x3ba,
  ATTRIBUTE: 0x3c0,
  ATTRIBUTE_READ: 0x3c1,
  /** Miscellaneous output when written, input status 0 when read. */
  MISC_WRITE: 0x3c2,
  ENABLE: 0x3c3,
  SEQUENCER_INDEX: 0x3c4,
  SEQUENCER_DATA: 0x3c5,
  PEL_MASK: 0x3c6,
  /** Read index when written, state when read. */
  PEL_READ_INDEX: 0x3c7,
  PEL_WRITE_INDEX: 0x3c8,
  PEL_DATA: 0x3c9,
  FEATURE_READ: 0x3ca,
  MISC_READ: 0x3cc,
  GRAPHICS_INDEX: 0x3ce,
  GRAPHICS_DATA: 0x3cf,
  CRTC_INDEX: 0x3d4,
  CRTC_DATA: 0x3d5,
  STATUS_1: 0x3da,
} as const;
/** Ranges of ports that the adapter claims: first port and count. */
export const PORT_RANGES = [
  [Port.CRTC_INDEX_MONO, 2],
  [Port.STATUS_1_MONO, 1],
  [Port.ATTRIBUTE, 16],
  [Port.CRTC_INDEX, 2],
  [Port.STATUS_1, 1],
] as const;

export const MiscOutput = { COLOUR: 0x01, RAM_ENABLE: 0x02 } as const;
export const Status1 = { DISPLAY_DISABLED: 0x01, VERTICAL_RETRACE: 0x08 } as const;

/** CRT controller. */
export const Crtc = {
  HORIZONTAL_DISPLAY_END: 0x01,
  OVERFLOW: 0x07,
  MAXIMUM_SCAN_LINE: 0x09,
  CURSOR_START: 0x0a,
  CURSOR_END: 0x0b,
  START_HIGH: 0x0c,
  START_LOW: 0x0d,
  CURSOR_HIGH: 0x0e,
  CURSOR_LOW: 0x0f,
  VERTICAL_RETRACE_END: 0x11,
  VERTICAL_DISPLAY_END: 0x12,
  OFFSET: 0x13,
} as const;
/** In VERTICAL_RETRACE_END: registers 0 to 7 cannot be written, but for the line-compare bit of OVERFLOW. */
export const CRTC_PROTECT = 0x80, CRTC_PROTECTED = 7, OVERFLOW_LINE_COMPARE = 0x10;
/** In OVERFLOW: bits 8 and 9 of the vertical display end. */
export const OVERFLOW_DISPLAY_END_8 = 0x02, OVERFLOW_DISPLAY_END_9 = 0x40;
export const SCAN_LINE_MASK = 0x1f, CURSOR_OFF = 0x20;

/** Sequencer. */
export const Sequencer = { MAP_MASK: 2, MEMORY_MODE: 4 } as const;
export const MemoryMode = { SEQUENTIAL: 0x04, CHAIN_4: 0x08 } as const;

/** Graphics controller. */
export const Graphics = {
  SET_RESET: 0,
  ENABLE_SET_RESET: 1,
  COLOUR_COMPARE: 2,
  DATA_ROTATE: 3,
  READ_MAP: 4,
  MODE: 5,
  MISC: 6,
  COLOUR_DONT_CARE: 7,
  BIT_MASK: 8,
} as const;
export const GraphicsMode = { WRITE_MODE: 0x03, READ_MODE_1: 0x08, ODD_EVEN: 0x10 } as const;
export const GraphicsMisc = { GRAPHICS: 0x01, MEMORY_MAP: 0x0c } as const;
export const MEMORY_MAP_SHIFT = 2;
export const ROTATE_COUNT = 0x07, FUNCTION_SHIFT = 3, FUNCTION_MASK = 3;
export const Function = { REPLACE: 0, AND: 1, OR: 2, XOR: 3 } as const;

/** Attribute controller: the index's bit 5 gives the palette to the display. */
export const ATTRIBUTE_INDEX_MASK = 0x1f, ATTRIBUTE_INDEX_BITS = 0x3f, PALETTE_TO_DISPLAY = 0x20;

/** Registers of each part that exist, and mode 3's values in them. */
export const TEXT_MODE = {
  miscOutput: 0x67,
  sequencer: [0x03, 0x00, 0x03, 0x00, 0x02],
  crtc: [
    ...[0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00],
    ...[0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff],
  ],
  graphics: [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x0f, 0xff],
  attribute: [
    ...[0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f],
    ...[0x0c, 0x00, 0x0f, 0x08, 0x00],
  ],
} as const;
/** Colours of 3 x 6 bits in the digital-to-analogue converter. */
export const DAC_COLOURS = 256, DAC_BITS = 0x3f;

/** What mode 3's blank screen is made of: a space in grey on black. */
export const BLANK_CHARACTER = 0x20, BLANK_ATTRIBUTE = 0x07;
