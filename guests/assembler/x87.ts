// The assembler's x87 instructions, in the notation of forms.ts; opcodes from Intel SDM volume 2, appendix A.5.
// `st` is the register named by the opcode's last three bits, `st0` the implied top of the stack.

import { byte, form, plain } from "./forms.ts";

/** Arithmetic with memory and in both directions between registers; `reversed` is the group of the ST(i), ST form. */
function arithmetic(group: number, reversed: number) {
  return [
    form("m32", `D8 /${group}`),
    form("m64", `DC /${group}`),
    form("st0, st", `D8 ${byte(0xc0 + group * 8)} +r`),
    form("st, st0", `DC ${byte(0xc0 + reversed * 8)} +r`),
  ] as const;
}

function popping(group: number) {
  return [form("st, st0", `DE ${byte(0xc0 + group * 8)} +r`)] as const;
}

function integer(group: number) {
  return [form("m16", `DE /${group}`), form("m32", `DA /${group}`)] as const;
}

function compare(group: number) {
  return [
    form("m32", `D8 /${group}`),
    form("m64", `DC /${group}`),
    form("st0, st", `D8 ${byte(0xc0 + group * 8)} +r`),
  ] as const;
}

function stack(code: string) {
  return [form("st", code)] as const;
}

function top(code: string) {
  return [form("st0, st", code)] as const;
}

/** The x87 part of the instruction table. */
export const x87 = {
  fld: [form("m32", "D9 /0"), form("m64", "DD /0"), form("m80", "DB /5"), form("st", "D9 C0 +r")],
  fst: [form("m32", "D9 /2"), form("m64", "DD /2"), form("st", "DD D0 +r")],
  fstp: [form("m32", "D9 /3"), form("m64", "DD /3"), form("m80", "DB /7"), form("st", "DD D8 +r")],
  fild: [form("m16", "DF /0"), form("m32", "DB /0"), form("m64", "DF /5")],
  fist: [form("m16", "DF /2"), form("m32", "DB /2")],
  fistp: [form("m16", "DF /3"), form("m32", "DB /3"), form("m64", "DF /7")],
  fbld: [form("m80", "DF /4")],
  fbstp: [form("m80", "DF /6")],
  fadd: arithmetic(0, 0),
  fmul: arithmetic(1, 1),
  fsub: arithmetic(4, 5),
  fsubr: arithmetic(5, 4),
  fdiv: arithmetic(6, 7),
  fdivr: arithmetic(7, 6),
  faddp: popping(0),
  fmulp: popping(1),
  fsubrp: popping(4),
  fsubp: popping(5),
  fdivrp: popping(6),
  fdivp: popping(7),
  fiadd: integer(0),
  fimul: integer(1),
  ficom: integer(2),
  ficomp: integer(3),
  fisub: integer(4),
  fisubr: integer(5),
  fidiv: integer(6),
  fidivr: integer(7),
  fcom: compare(2),
  fcomp: compare(3),
  fcompp: plain("DE D9"),
  fucom: top("DD E0 +r"),
  fucomp: top("DD E8 +r"),
  fucompp: plain("DA E9"),
  fcomi: top("DB F0 +r"),
  fcomip: top("DF F0 +r"),
  fucomi: top("DB E8 +r"),
  fucomip: top("DF E8 +r"),
  fcmovb: top("DA C0 +r"),
  fcmove: top("DA C8 +r"),
  fcmovbe: top("DA D0 +r"),
  fcmovu: top("DA D8 +r"),
  fcmovnb: top("DB C0 +r"),
  fcmovne: top("DB C8 +r"),
  fcmovnbe: top("DB D0 +r"),
  fcmovnu: top("DB D8 +r"),
  fxch: top("D9 C8 +r"),
  ffree: stack("DD C0 +r"),
  fincstp: plain("D9 F7"),
  fdecstp: plain("D9 F6"),
  fnop: plain("D9 D0"),
  fchs: plain("D9 E0"),
  fabs: plain("D9 E1"),
  ftst: plain("D9 E4"),
  fxam: plain("D9 E5"),
  fld1: plain("D9 E8"),
  fldl2t: plain("D9 E9"),
  fldl2e: plain("D9 EA"),
  fldpi: plain("D9 EB"),
  fldlg2: plain("D9 EC"),
  fldln2: plain("D9 ED"),
  fldz: plain("D9 EE"),
  f2xm1: plain("D9 F0"),
  fyl2x: plain("D9 F1"),
  fptan: plain("D9 F2"),
  fpatan: plain("D9 F3"),
  fxtract: plain("D9 F4"),
  fprem1: plain("D9 F5"),
  fprem: plain("D9 F8"),
  fyl2xp1: plain("D9 F9"),
  fsqrt: plain("D9 FA"),
  fsincos: plain("D9 FB"),
  frndint: plain("D9 FC"),
  fscale: plain("D9 FD"),
  fsin: plain("D9 FE"),
  fcos: plain("D9 FF"),
  fninit: plain("DB E3"),
  fnclex: plain("DB E2"),
  fnstsw: [form("ax", "DF E0"), form("m16", "DD /7")],
  fnstcw: [form("m16", "D9 /7")],
  fldcw: [form("m16", "D9 /5")],
  fnstenv: [form("m", "D9 /6")],
  fldenv: [form("m", "D9 /4")],
  fnsave: [form("m", "DD /6")],
  frstor: [form("m", "DD /4")],
  fwait: plain("9B"),
} as const;
