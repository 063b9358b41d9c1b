// What the interpreter of cold code (interpreter.ts) knows of each opcode of 32-bit code, as a table of half-words in the
// hypervisor's area that its WebAssembly reads: which handler, and what comes before it, the same for all: ModR/M byte and
// effective address, immediate, and the operand's place (Intel SDM 2A, chapter 2; 2D, A.3). What has no handler is left out.

import { FASTEST_FORMS, type SensitiveForms } from "../emit/sensitive.ts";

/** Handlers in the order of their numbers; the first stands for whatever is not handled here. */
export const HANDLERS = [
  "unknown",
  "twoByte",
  "segmentPrefix",
  "idlePrefix",
  "aluToOperand",
  "aluToRegister",
  "aluToAccumulator",
  "aluImmediate",
  "test",
  "testAccumulator",
  "testImmediate",
  "step",
  "stepRegister",
  "not",
  "negate",
  "store",
  "load",
  "storeImmediate",
  "loadImmediate",
  "loadImmediate8",
  "lea",
  "pushRegister",
  "popRegister",
  "pushImmediate",
  "pushOperand",
  "call",
  "callOperand",
  "jumpOperand",
  "jump",
  "jumpConditionally",
  "return",
  "leave",
  "nothing",
  "exchangeAccumulator",
  "cwde",
  "cdq",
  "multiplyImmediate",
  "multiply",
  "shift",
  "shiftByOne",
  "shiftByCl",
  "doubleShift",
  "doubleShiftByCl",
  "multiplyUnsigned",
  "multiplySigned",
  "divideUnsigned",
  "divideSigned",
  "extendZero",
  "extendSign8",
  "extendSign16",
  "setConditionally",
  "moveConditionally",
  "swapBytes",
  "testBit",
  "testBitOfRegister",
  "scanForward",
  "scanReverse",
  "exchange",
  "compareAndExchange",
  "operandSizePrefix",
  "store16",
  "load16",
  "clearDirection",
  "clearInterrupts",
  "pushFlags",
  "repeatPrefix",
  "moveString",
  "storeString",
  "loadString",
  "scanString",
  "lockPrefix",
  "exchangeAndAdd",
  "compareAndExchange8Bytes",
  "setInterrupts",
  "readTimeStamp",
  "fence",
  "storeImmediate16",
  "pushSegment",
  "popSegment",
  "moveFromSegment",
  "moveToSegment",
  "verifyWritable",
  "popFlags",
  "interruptReturn",
  "systemEnter",
] as const;
export type HandlerName = (typeof HANDLERS)[number];

/** Bits of a half-word: the handler's number, or the group's; a ModR/M byte; bytes of the operand, and whether they are written. */
export const NUMBER_MASK = 0x7f, MODRM = 0x80, SIZE_SHIFT = 8, SIZE_MASK = 7, WRITES = 0x800;
/**
 * An address of 32 bits in place of the ModR/M byte; immediates of one byte, sign-extended, of four, of two; a group. With a ModR/M
 * byte, in place of OFFSET: LOCK may come before it where the operand is in memory.
 */
export const OFFSET = 0x1000, LOCKABLE = MODRM | OFFSET, IMMEDIATE_8 = 0x2000, IMMEDIATE_32 = 0x4000, GROUP = 0x8000;
export const IMMEDIATE_16 = IMMEDIATE_8 | IMMEDIATE_32;
/**
 * Where in the table the second opcode map begins, that of 16-bit operands, the groups, of eight each, by the ModR/M byte's reg,
 * and what may be repeated. What maps begin at are bits, by which handlers tell them apart.
 */
export const TWO_BYTE_MAP = 256, NARROW_MAP = 512, GROUPS = 768, REPEAT_MAP = 1024;
const GROUP_COUNT = 29;
export const FORM_BYTES = (REPEAT_MAP + 256) * 2;

/** The table; with the handlers of sensitive instructions whose form is the one in place. */
export function coldForms({ cli, pushf, rdtsc, segments, int }: SensitiveForms = FASTEST_FORMS): Uint16Array {
  const table = new Uint16Array(FORM_BYTES / 2);
  const set = (opcodes: number | readonly [first: number, last: number], name: HandlerName, form = 0) => {
    const [first, last] = typeof opcodes === "number" ? [opcodes, opcodes] : opcodes;
    table.fill(HANDLERS.indexOf(name) | form, first, last + 1);
  };
  const reads = (bytes: 1 | 2 | 4) => MODRM | (bytes << SIZE_SHIFT),
    writes = (bytes: 1 | 2 | 4) => reads(bytes) | WRITES,
    locks = (bytes: 1 | 2 | 4) => writes(bytes) | LOCKABLE;
  const two = TWO_BYTE_MAP, narrow = NARROW_MAP, repeat = REPEAT_MAP;
  set(0x0f, "twoByte");
  set([0x64, 0x65], "segmentPrefix");
  for (const prefix of [0x26, 0x36, 0x3e]) set(prefix, "idlePrefix");
  set(0x66, "operandSizePrefix");
  set(0xf0, "lockPrefix");
  set(0xf3, "repeatPrefix");
  // Other instructions do not heed it.
  set(repeat + 0x0f, "twoByte");
  set(repeat + 0x90, "nothing");
  set(repeat + 0xc3, "return");
  set([repeat + 0xa4, repeat + 0xa5], "moveString");
  set([repeat + 0xaa, repeat + 0xab], "storeString");
  set([0xa4, 0xa5], "moveString");
  set(narrow + 0xa5, "moveString");
  set([0xaa, 0xab], "storeString");
  set([0xac, 0xad], "loadString");
  set([0xae, 0xaf], "scanString");
  const COMPARE = 7;
  for (let operation = 0; operation < 8; operation++) {
    const opcode = operation << 3, access = operation === COMPARE ? reads : locks;
    set(opcode, "aluToOperand", access(1));
    set(opcode + 1, "aluToOperand", access(4));
    set(opcode + 2, "aluToRegister", reads(1));
    set(opcode + 3, "aluToRegister", reads(4));
    set(opcode + 4, "aluToAccumulator", IMMEDIATE_8);
    set(opcode + 5, "aluToAccumulator", IMMEDIATE_32);
    set(narrow + opcode + 1, "aluToOperand", access(2));
    set(narrow + opcode + 3, "aluToRegister", reads(2));
    set(narrow + opcode + 5, "aluToAccumulator", IMMEDIATE_16);
  }
  set(narrow + 0x85, "test", reads(2));
  set(narrow + 0xa9, "testAccumulator", IMMEDIATE_16);
  set(narrow + 0x89, "store16", writes(2));
  set(narrow + 0x8b, "load16", reads(2));
  set(narrow + 0x90, "nothing");
  set(narrow + 0xa1, "load16", OFFSET | (2 << SIZE_SHIFT));
  set(narrow + 0xa3, "store16", OFFSET | (2 << SIZE_SHIFT) | WRITES);
  set(0xfc, "clearDirection");
  if (cli === "in-tc") {
    set(0xfa, "clearInterrupts");
    set(0xfb, "setInterrupts");
  }
  if (rdtsc === "in-tc") set(two + 0x31, "readTimeStamp");
  if (pushf === "in-tc") {
    set(0x9c, "pushFlags");
    set(0x9d, "popFlags");
  }
  for (const opcode of [0x06, 0x0e, 0x16, 0x1e, two + 0xa0, two + 0xa8]) set(opcode, "pushSegment");
  set(0x8c, "moveFromSegment", MODRM);
  if (segments === "in-tc") {
    for (const opcode of [0x07, 0x1f, two + 0xa1, two + 0xa9]) set(opcode, "popSegment");
  }
  if (int === "in-tc") {
    set(0xcf, "interruptReturn");
    set(two + 0x34, "systemEnter");
  }
  set([0x40, 0x4f], "stepRegister");
  set([0x50, 0x57], "pushRegister");
  set([0x58, 0x5f], "popRegister");
  set(0x68, "pushImmediate", IMMEDIATE_32);
  set(0x6a, "pushImmediate", IMMEDIATE_8);
  set(0x69, "multiplyImmediate", reads(4) | IMMEDIATE_32);
  set(0x6b, "multiplyImmediate", reads(4) | IMMEDIATE_8);
  set([0x70, 0x7f], "jumpConditionally", IMMEDIATE_8);
  set(0x84, "test", reads(1));
  set(0x85, "test", reads(4));
  set(0x87, "exchange", locks(4));
  set(0x88, "store", writes(1));
  set(0x89, "store", writes(4));
  set(0x8a, "load", reads(1));
  set(0x8b, "load", reads(4));
  set(0x8d, "lea", MODRM);
  set(0x90, "nothing");
  set([0x91, 0x97], "exchangeAccumulator");
  set(0x98, "cwde");
  set(0x99, "cdq");
  set(0xa0, "load", OFFSET | (1 << SIZE_SHIFT));
  set(0xa1, "load", OFFSET | (4 << SIZE_SHIFT));
  set(0xa2, "store", OFFSET | (1 << SIZE_SHIFT) | WRITES);
  set(0xa3, "store", OFFSET | (4 << SIZE_SHIFT) | WRITES);
  set(0xa8, "testAccumulator", IMMEDIATE_8);
  set(0xa9, "testAccumulator", IMMEDIATE_32);
  set([0xb0, 0xb7], "loadImmediate8", IMMEDIATE_8);
  set([0xb8, 0xbf], "loadImmediate", IMMEDIATE_32);
  set(0xc3, "return");
  set(0xc9, "leave");
  set(0xe8, "call", IMMEDIATE_32);
  set(0xe9, "jump", IMMEDIATE_32);
  set(0xeb, "jump", IMMEDIATE_8);
  set([two + 0x40, two + 0x4f], "moveConditionally", reads(4));
  set([two + 0x80, two + 0x8f], "jumpConditionally", IMMEDIATE_32);
  set([two + 0x90, two + 0x9f], "setConditionally", writes(1));
  set(two + 0xa3, "testBitOfRegister", MODRM);
  for (const opcode of [0xab, 0xb3, 0xbb]) set(two + opcode, "testBitOfRegister", LOCKABLE);
  for (const opcode of [0xa4, 0xac]) set(two + opcode, "doubleShift", writes(4) | IMMEDIATE_8);
  for (const opcode of [0xa5, 0xad]) set(two + opcode, "doubleShiftByCl", writes(4));
  set(two + 0xaf, "multiply", reads(4));
  set(two + 0xb0, "compareAndExchange", locks(1));
  set(two + 0xb1, "compareAndExchange", locks(4));
  set(two + 0xc0, "exchangeAndAdd", locks(1));
  set(two + 0xc1, "exchangeAndAdd", locks(4));
  set(two + 0xb6, "extendZero", reads(1));
  set(two + 0xb7, "extendZero", reads(2));
  set(two + 0xbe, "extendSign8", reads(1));
  set(two + 0xbf, "extendSign16", reads(2));
  set(two + 0xbc, "scanForward", reads(4));
  set(two + 0xbd, "scanReverse", reads(4));
  set([two + 0xc8, two + 0xcf], "swapBytes");

  let groups = 0;
  const group = (opcode: number, rows: readonly (readonly [reg: number, name: HandlerName, form: number])[]) => {
    table[opcode] = GROUP | MODRM | groups;
    for (const [reg, name, form] of rows) table[GROUPS + groups * 8 + reg] = HANDLERS.indexOf(name) | form;
    groups++;
  };
  const each = (numbers: readonly number[], name: HandlerName, form: number) => {
    return numbers.map((reg) => [reg, name, form] as const);
  };
  const compare = (bytes: 1 | 2 | 4, immediate: number) => [
    ...each([0, 1, 2, 3, 4, 5, 6], "aluImmediate", locks(bytes) | immediate),
    [COMPARE, "aluImmediate", reads(bytes) | immediate] as const,
  ];
  group(0x80, compare(1, IMMEDIATE_8));
  group(0x81, compare(4, IMMEDIATE_32));
  group(0x83, compare(4, IMMEDIATE_8));
  group(narrow + 0x81, compare(2, IMMEDIATE_16));
  group(narrow + 0x83, compare(2, IMMEDIATE_8));
  group(0xc6, [[0, "storeImmediate", writes(1) | IMMEDIATE_8]]);
  group(0xc7, [[0, "storeImmediate", writes(4) | IMMEDIATE_32]]);
  group(narrow + 0xc7, [[0, "storeImmediate16", writes(2) | IMMEDIATE_16]]);
  // Rotations through CF are left out.
  const shifts = [0, 1, 4, 5, 6, 7];
  for (const [map, opcode, bytes] of [[0, 0xc0, 1], [0, 0xc1, 4], [narrow, 0xc1, 2]] as const) {
    group(map + opcode, each(shifts, "shift", writes(bytes) | IMMEDIATE_8));
    group(map + opcode + 0x10, each(shifts, "shiftByOne", writes(bytes)));
    group(map + opcode + 0x12, each(shifts, "shiftByCl", writes(bytes)));
  }
  group(narrow + 0xf7, each([0, 1], "testImmediate", reads(2) | IMMEDIATE_16));
  group(narrow + 0xff, each([0, 1], "step", locks(2)));
  group(0xf6, each([0, 1], "testImmediate", reads(1) | IMMEDIATE_8));
  group(0xf7, [
    ...each([0, 1], "testImmediate", reads(4) | IMMEDIATE_32),
    [2, "not", locks(4)],
    [3, "negate", locks(4)],
    [4, "multiplyUnsigned", reads(4)],
    [5, "multiplySigned", reads(4)],
    [6, "divideUnsigned", reads(4)],
    [7, "divideSigned", reads(4)],
  ]);
  group(0xfe, each([0, 1], "step", locks(1)));
  group(two + 0xba, [[4, "testBit", reads(4) | IMMEDIATE_8], ...each([5, 6, 7], "testBit", locks(4) | IMMEDIATE_8)]);
  group(two + 0xc7, [[1, "compareAndExchange8Bytes", locks(4)]]);
  group(two + 0x00, [[5, "verifyWritable", MODRM]]);
  // CS cannot be loaded; SS holds interrupts back.
  group(0x8e, segments === "in-tc" ? each([0, 3, 4, 5], "moveToSegment", reads(2)) : []);
  group(two + 0x1f, [[0, "nothing", 0]]);
  group(two + 0xae, each([5, 6, 7], "fence", 0));
  group(0xff, [
    ...each([0, 1], "step", locks(4)),
    [2, "callOperand", reads(4)],
    [4, "jumpOperand", reads(4)],
    [6, "pushOperand", reads(4)],
  ]);
  if (groups !== GROUP_COUNT) throw new Error(`the table of cold forms has ${groups} groups, not ${GROUP_COUNT}`);
  return table;
}
