// The assembler's instruction table: every integer and system instruction of IA-32 in the notation of forms.ts, opcodes from
// Intel SDM volume 2, appendix A. The order of a mnemonic's forms is the order of preference: shortest encoding first.

import { byte, type Form, form, plain } from "./forms.ts";
import { x87 } from "./x87.ts";

/** Condition codes, Intel SDM volume 2, appendix B.1.4.7, with the manual's synonyms. */
const conditions = {
  o: 0x0,
  no: 0x1,
  b: 0x2,
  c: 0x2,
  nae: 0x2,
  ae: 0x3,
  nb: 0x3,
  nc: 0x3,
  e: 0x4,
  z: 0x4,
  ne: 0x5,
  nz: 0x5,
  be: 0x6,
  na: 0x6,
  a: 0x7,
  nbe: 0x7,
  s: 0x8,
  ns: 0x9,
  p: 0xa,
  pe: 0xa,
  np: 0xb,
  po: 0xb,
  l: 0xc,
  nge: 0xc,
  ge: 0xd,
  nl: 0xd,
  le: 0xe,
  ng: 0xe,
  g: 0xf,
  nle: 0xf,
} as const;

type Condition = keyof typeof conditions;

function alu(group: number) {
  const base = group * 8;
  return [
    form("al, imm8", `${byte(base + 4)} ib`),
    form("rmv, imm8s", `83 /${group} ib`),
    form("av, immv", `${byte(base + 5)} iv`),
    form("rm8, imm8", `80 /${group} ib`),
    form("rmv, immv", `81 /${group} iv`),
    form("rm8, r8", `${byte(base)} /r`),
    form("rmv, rv", `${byte(base + 1)} /r`),
    form("r8, rm8", `${byte(base + 2)} /r`),
    form("rv, rmv", `${byte(base + 3)} /r`),
  ] as const;
}

function shift(group: number) {
  return [
    form("rm8, one", `D0 /${group}`),
    form("rmv, one", `D1 /${group}`),
    form("rm8, cl", `D2 /${group}`),
    form("rmv, cl", `D3 /${group}`),
    form("rm8, imm8", `C0 /${group} ib`),
    form("rmv, imm8", `C1 /${group} ib`),
  ] as const;
}

function doubleShift(opcode: number) {
  return [form("rmv, rv, imm8", `0F ${byte(opcode)} /r ib`), form("rmv, rv, cl", `0F ${byte(opcode + 1)} /r`)] as const;
}

function bitTest(group: number) {
  return [form("rmv, rv", `0F ${byte(0x83 + group * 8)} /r`), form("rmv, imm8", `0F BA /${group} ib`)] as const;
}

function unary(group: number) {
  return [form("rm8", `F6 /${group}`), form("rmv", `F7 /${group}`)] as const;
}

function increment(group: number) {
  return [
    form("rv", `${byte(0x40 + group * 8)} +r`),
    form("rm8", `FE /${group}`),
    form("rmv", `FF /${group}`),
  ] as const;
}

function exchangeAndStore(opcode: number) {
  return [form("rm8, r8", `0F ${byte(opcode)} /r`), form("rmv, rv", `0F ${byte(opcode + 1)} /r`)] as const;
}

function loadRegister(code: string) {
  return [form("rv, rmv", code)] as const;
}

function loadPointer(code: string) {
  return [form("rv, m", code)] as const;
}

function extend(opcode: number) {
  return [form("rv, rm8", `0F ${byte(opcode)} /r`), form("r32, rm16", `o32 0F ${byte(opcode + 1)} /r`)] as const;
}

function storeSelector(code: string) {
  return [form("m16", code), form("regv", code)] as const;
}

function describeSelector(code: string) {
  return [form("rv, regv", code), form("rv, m16", code)] as const;
}

function byCondition<const Prefix extends string, F extends readonly Form[]>(
  prefix: Prefix,
  forms: (code: number) => F,
): { readonly [C in Condition as `${Prefix}${C}`]: F } {
  const entries = Object.entries(conditions).map(([name, code]) => [prefix + name, forms(code)]);
  return Object.fromEntries(entries) as { readonly [C in Condition as `${Prefix}${C}`]: F };
}

const arithmetic = {
  add: alu(0),
  or: alu(1),
  adc: alu(2),
  sbb: alu(3),
  and: alu(4),
  sub: alu(5),
  xor: alu(6),
  cmp: alu(7),
  test: [
    form("al, imm8", "A8 ib"),
    form("av, immv", "A9 iv"),
    form("rm8, imm8", "F6 /0 ib"),
    form("rmv, immv", "F7 /0 iv"),
    form("rm8, r8", "84 /r"),
    form("rmv, rv", "85 /r"),
  ],
  inc: increment(0),
  dec: increment(1),
  not: unary(2),
  neg: unary(3),
  mul: unary(4),
  imul: [
    ...unary(5),
    form("rv, rmv", "0F AF /r"),
    form("rv, rmv, imm8s", "6B /r ib"),
    form("rv, rmv, immv", "69 /r iv"),
  ],
  div: unary(6),
  idiv: unary(7),
  rol: shift(0),
  ror: shift(1),
  rcl: shift(2),
  rcr: shift(3),
  shl: shift(4),
  sal: shift(4),
  shr: shift(5),
  sar: shift(7),
  shld: doubleShift(0xa4),
  shrd: doubleShift(0xac),
  bt: bitTest(4),
  bts: bitTest(5),
  btr: bitTest(6),
  btc: bitTest(7),
  bsf: loadRegister("0F BC /r"),
  bsr: loadRegister("0F BD /r"),
  daa: plain("27"),
  das: plain("2F"),
  aaa: plain("37"),
  aas: plain("3F"),
  aam: [form("", "D4 0A"), form("imm8", "D4 ib")],
  aad: [form("", "D5 0A"), form("imm8", "D5 ib")],
  cbw: plain("o16 98"),
  cwde: plain("o32 98"),
  cwd: plain("o16 99"),
  cdq: plain("o32 99"),
} as const;

const movement = {
  mov: [
    form("al, moffs8", "A0 ov"),
    form("av, moffsv", "A1 ov"),
    form("moffs8, al", "A2 ov"),
    form("moffsv, av", "A3 ov"),
    form("rm8, r8", "88 /r"),
    form("rmv, rv", "89 /r"),
    form("r8, rm8", "8A /r"),
    form("rv, rmv", "8B /r"),
    form("r8, imm8", "B0 +r ib"),
    form("rv, immv", "B8 +r iv"),
    form("rm8, imm8", "C6 /0 ib"),
    form("rmv, immv", "C7 /0 iv"),
    form("m16, sreg", "8C /r"),
    form("regv, sreg", "8C /r"),
    form("sreg, rm16", "8E /r"),
    form("sreg, reg32", "8E /r"),
    form("reg32, cr", "0F 20 /r"),
    form("cr, reg32", "0F 22 /r"),
    form("reg32, dr", "0F 21 /r"),
    form("dr, reg32", "0F 23 /r"),
  ],
  movzx: extend(0xb6),
  movsx: extend(0xbe),
  lea: loadPointer("8D /r"),
  lds: loadPointer("C5 /r"),
  les: loadPointer("C4 /r"),
  lss: loadPointer("0F B2 /r"),
  lfs: loadPointer("0F B4 /r"),
  lgs: loadPointer("0F B5 /r"),
  xchg: [
    form("av, rv", "90 +r"),
    form("rv, av", "90 +r"),
    form("rm8, r8", "86 /r"),
    form("rmv, rv", "87 /r"),
    form("r8, rm8", "86 /r"),
    form("rv, rmv", "87 /r"),
  ],
  xadd: exchangeAndStore(0xc0),
  cmpxchg: exchangeAndStore(0xb0),
  cmpxchg8b: [form("m64", "0F C7 /1")],
  bswap: [form("r32", "o32 0F C8 +r")],
  xlatb: plain("D7"),
  lahf: plain("9F"),
  sahf: plain("9E"),
  push: [
    form("rv", "50 +r"),
    form("es", "06"),
    form("cs", "0E"),
    form("ss", "16"),
    form("ds", "1E"),
    form("fs", "0F A0"),
    form("gs", "0F A8"),
    form("imm8s", "6A ib"),
    form("immv", "68 iv"),
    form("rmv", "FF /6"),
  ],
  pushw: [form("imm16", "o16 68 iw")],
  pushd: [form("imm32", "o32 68 id")],
  pop: [
    form("rv", "58 +r"),
    form("es", "07"),
    form("ss", "17"),
    form("ds", "1F"),
    form("fs", "0F A1"),
    form("gs", "0F A9"),
    form("rmv", "8F /0"),
  ],
  pusha: plain("60"),
  pushaw: plain("o16 60"),
  pushad: plain("o32 60"),
  popa: plain("61"),
  popaw: plain("o16 61"),
  popad: plain("o32 61"),
  pushf: plain("9C"),
  pushfw: plain("o16 9C"),
  pushfd: plain("o32 9C"),
  popf: plain("9D"),
  popfw: plain("o16 9D"),
  popfd: plain("o32 9D"),
  enter: [form("imm16, imm8", "C8 iw ib")],
  leave: plain("C9"),
} as const;

const strings = {
  movsb: plain("A4"),
  movsw: plain("o16 A5"),
  movsd: plain("o32 A5"),
  cmpsb: plain("A6"),
  cmpsw: plain("o16 A7"),
  cmpsd: plain("o32 A7"),
  stosb: plain("AA"),
  stosw: plain("o16 AB"),
  stosd: plain("o32 AB"),
  lodsb: plain("AC"),
  lodsw: plain("o16 AD"),
  lodsd: plain("o32 AD"),
  scasb: plain("AE"),
  scasw: plain("o16 AF"),
  scasd: plain("o32 AF"),
  insb: plain("6C"),
  insw: plain("o16 6D"),
  insd: plain("o32 6D"),
  outsb: plain("6E"),
  outsw: plain("o16 6F"),
  outsd: plain("o32 6F"),
  rep: plain("F3"),
  repe: plain("F3"),
  repne: plain("F2"),
  lock: plain("F0"),
} as const;

const controlFlow = {
  jmp: [form("rel8", "EB cb"), form("relv", "E9 cv"), form("rmv", "FF /4")],
  jmpFar: [form("far", "EA far"), form("mfar", "FF /5")],
  call: [form("relv", "E8 cv"), form("rmv", "FF /2")],
  callFar: [form("far", "9A far"), form("mfar", "FF /3")],
  ...byCondition("j", (code) => [form("rel8", `${byte(0x70 + code)} cb`), form("relv", `0F ${byte(0x80 + code)} cv`)]),
  ...byCondition("set", (code) => [form("rm8", `0F ${byte(0x90 + code)} /0`)]),
  ...byCondition("cmov", (code) => loadRegister(`0F ${byte(0x40 + code)} /r`)),
  loop: [form("rel8", "E2 cb")],
  loope: [form("rel8", "E1 cb")],
  loopne: [form("rel8", "E0 cb")],
  jcxz: [form("rel8", "a16 E3 cb")],
  jecxz: [form("rel8", "a32 E3 cb")],
  ret: [form("", "C3"), form("imm16", "C2 iw")],
  retf: [form("", "CB"), form("imm16", "CA iw")],
  int: [form("imm8", "CD ib")],
  int1: plain("F1"),
  int3: plain("CC"),
  into: plain("CE"),
  iret: plain("CF"),
  iretw: plain("o16 CF"),
  iretd: plain("o32 CF"),
  bound: loadPointer("62 /r"),
  sysenter: plain("0F 34"),
  sysexit: plain("0F 35"),
  nop: [form("", "90"), form("rmv", "0F 1F /0")],
  pause: plain("F3 90"),
  ud2: plain("0F 0B"),
} as const;

const flags = {
  clc: plain("F8"),
  stc: plain("F9"),
  cmc: plain("F5"),
  cld: plain("FC"),
  std: plain("FD"),
  salc: plain("D6"),
} as const;

const system = {
  cli: plain("FA"),
  sti: plain("FB"),
  hlt: plain("F4"),
  in: [form("al, imm8", "E4 ib"), form("av, imm8", "E5 ib"), form("al, dx", "EC"), form("av, dx", "ED")],
  out: [form("imm8, al", "E6 ib"), form("imm8, av", "E7 ib"), form("dx, al", "EE"), form("dx, av", "EF")],
  sgdt: [form("m", "0F 01 /0")],
  sidt: [form("m", "0F 01 /1")],
  lgdt: [form("m", "0F 01 /2")],
  lidt: [form("m", "0F 01 /3")],
  smsw: storeSelector("0F 01 /4"),
  lmsw: [form("rm16", "0F 01 /6")],
  invlpg: [form("m", "0F 01 /7")],
  sldt: storeSelector("0F 00 /0"),
  str: storeSelector("0F 00 /1"),
  lldt: [form("rm16", "0F 00 /2")],
  ltr: [form("rm16", "0F 00 /3")],
  verr: [form("rm16", "0F 00 /4")],
  verw: [form("rm16", "0F 00 /5")],
  lar: describeSelector("0F 02 /r"),
  lsl: describeSelector("0F 03 /r"),
  arpl: [form("rm16, r16", "63 /r")],
  clts: plain("0F 06"),
  invd: plain("0F 08"),
  wbinvd: plain("0F 09"),
  cpuid: plain("0F A2"),
  rdtsc: plain("0F 31"),
  rdpmc: plain("0F 33"),
  rdmsr: plain("0F 32"),
  wrmsr: plain("0F 30"),
  rsm: plain("0F AA"),
} as const;

/** Every mnemonic with its forms. */
export const instructions = {
  ...arithmetic,
  ...movement,
  ...strings,
  ...controlFlow,
  ...flags,
  ...system,
  ...x87,
} as const;

/** A mnemonic of the table. */
export type Mnemonic = keyof typeof instructions;
