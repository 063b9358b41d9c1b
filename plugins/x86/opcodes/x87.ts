// The x87 escapes D8 to DF (SDM 2D, tables ), with the aliases that the manual leaves out and every Intel
// FPU executes. A memory form is told by its operand; a register form is written with its whole ModR/M byte.

import type { OpcodeRow } from "../instruction.ts";
import { opcodeRows } from "./builder.ts";

/** FPU instructions read no EFLAGS but in FCMOVcc and write them only in FCOMI and its kin. */
const MEMORY_ARITHMETIC = [
  ["add", "farith:0"],
  ["mul", "farith:1"],
  ["com", "fcom:0"],
  ["comp", "fcom:1"],
  ["sub", "farith:4"],
  ["subr", "farith:5"],
  ["div", "farith:6"],
  ["divr", "farith:7"],
];

/** D8, DA, DC, DE with memory: the eight operations on a 32-bit real, 32-bit integer, 64-bit real, 16-bit integer. */
function memoryArithmeticRows(): OpcodeRow[] {
  return MEMORY_ARITHMETIC.flatMap(([name, handler], operation) =>
    opcodeRows(`
      d8 /${operation} | f${name} Mf32  | ${handler}
      da /${operation} | fi${name} Mi32 | ${handler}
      dc /${operation} | f${name} Mf64  | ${handler}
      de /${operation} | fi${name} Mi16 | ${handler}
    `)
  );
}

/** Note that DC and DE swap the encodings of SUB and SUBR, DIV and DIVR; the variant is the operation. */
const REGISTER_ARITHMETIC = `
  d8 c0+i | fadd ST0,STi   | farith:0
  d8 c8+i | fmul ST0,STi   | farith:1
  d8 d0+i | fcom ST0,STi   | fcom:0
  d8 d8+i | fcomp ST0,STi  | fcom:1
  d8 e0+i | fsub ST0,STi   | farith:4
  d8 e8+i | fsubr ST0,STi  | farith:5
  d8 f0+i | fdiv ST0,STi   | farith:6
  d8 f8+i | fdivr ST0,STi  | farith:7
  dc c0+i | fadd STi,ST0   | farith:0
  dc c8+i | fmul STi,ST0   | farith:1
  dc d0+i | fcom ST0,STi   | fcom:0
  dc d8+i | fcomp ST0,STi  | fcom:1
  dc e0+i | fsubr STi,ST0  | farith:5
  dc e8+i | fsub STi,ST0   | farith:4
  dc f0+i | fdivr STi,ST0  | farith:7
  dc f8+i | fdiv STi,ST0   | farith:6
  de c0+i | faddp STi,ST0  | farithp:0
  de c8+i | fmulp STi,ST0  | farithp:1
  de d0+i | fcomp ST0,STi  | fcom:1
  de d9   | fcompp         | fcom:2
  de e0+i | fsubrp STi,ST0 | farithp:5
  de e8+i | fsubp STi,ST0  | farithp:4
  de f0+i | fdivrp STi,ST0 | farithp:7
  de f8+i | fdivp STi,ST0  | farithp:6
  da e9   | fucompp        | fucom:2
  dd e0+i | fucom ST0,STi  | fucom:0
  dd e8+i | fucomp ST0,STi | fucom:1
  db e8+i | fucomi ST0,STi | fucomi:0 | > oszapc
  db f0+i | fcomi ST0,STi  | fcomi:0  | > oszapc
  df e8+i | fucomip ST0,STi | fucomi:1 | > oszapc
  df f0+i | fcomip ST0,STi | fcomi:1  | > oszapc
`;

/** Loads and stores. */
const TRANSFERS = `
  d9 /0   | fld Mf32       | fld
  dd /0   | fld Mf64       | fld
  db /5   | fld Mf80       | fld
  d9 c0+i | fld STi        | fld
  d9 /2   | fst Mf32       | fst:0
  dd /2   | fst Mf64       | fst:0
  dd d0+i | fst STi        | fst:0
  d9 /3   | fstp Mf32      | fst:1
  dd /3   | fstp Mf64      | fst:1
  db /7   | fstp Mf80      | fst:1
  dd d8+i | fstp STi       | fst:1
  d9 d8+i | fstpnce STi    | fst:1
  df d0+i | fstp STi       | fst:1
  df d8+i | fstp STi       | fst:1
  db /0   | fild Mi32      | fild
  df /0   | fild Mi16      | fild
  df /5   | fild Mi64      | fild
  db /2   | fist Mi32      | fist:0
  df /2   | fist Mi16      | fist:0
  db /3   | fistp Mi32     | fist:1
  df /3   | fistp Mi16     | fist:1
  df /7   | fistp Mi64     | fist:1
  df /4   | fbld Mbcd      | fbld
  df /6   | fbstp Mbcd     | fbstp
  d9 c8+i | fxch ST0,STi   | fxch
  dd c8+i | fxch ST0,STi   | fxch
  df c8+i | fxch ST0,STi   | fxch
  d9 e8   | fld1           | fldConstant:0
  d9 e9   | fldl2t         | fldConstant:1
  d9 ea   | fldl2e         | fldConstant:2
  d9 eb   | fldpi          | fldConstant:3
  d9 ec   | fldlg2         | fldConstant:4
  d9 ed   | fldln2         | fldConstant:5
  d9 ee   | fldz           | fldConstant:6
  da c0+i | fcmovb ST0,STi   | fcmov:2  | c >
  da c8+i | fcmove ST0,STi   | fcmov:4  | z >
  da d0+i | fcmovbe ST0,STi  | fcmov:6  | cz >
  da d8+i | fcmovu ST0,STi   | fcmov:10 | p >
  db c0+i | fcmovnb ST0,STi  | fcmov:3  | c >
  db c8+i | fcmovne ST0,STi  | fcmov:5  | z >
  db d0+i | fcmovnbe ST0,STi | fcmov:7  | cz >
  db d8+i | fcmovnu ST0,STi  | fcmov:11 | p >
`;

const TRANSCENDENTAL = `
  d9 e0 | fchs    | fchs
  d9 e1 | fabs    | fabs
  d9 e4 | ftst    | ftst
  d9 e5 | fxam    | fxam
  d9 f0 | f2xm1   | f2xm1
  d9 f1 | fyl2x   | fyl2x
  d9 f2 | fptan   | fptan
  d9 f3 | fpatan  | fpatan
  d9 f4 | fxtract | fxtract
  d9 f5 | fprem1  | fprem:1
  d9 f8 | fprem   | fprem:0
  d9 f9 | fyl2xp1 | fyl2xp1
  d9 fa | fsqrt   | fsqrt
  d9 fb | fsincos | fsincos
  d9 fc | frndint | frndint
  d9 fd | fscale  | fscale
  d9 fe | fsin    | fsin
  d9 ff | fcos    | fcos
`;

/** Control. FNENI, FNDISI (8087) and FNSETPM (80287) do nothing on later processors. */
const CONTROL = `
  d9 f6   | fdecstp     | fdecstp
  d9 f7   | fincstp     | fincstp
  d9 d0   | fnop        | fnop
  dd c0+i | ffree STi   | ffree:0
  df c0+i | ffreep STi  | ffree:1
  d9 /4   | fldenv Menv | fldenv
  d9 /5   | fldcw Mw    | fldcw
  d9 /6   | fnstenv Menv | fnstenv
  d9 /7   | fnstcw Mw   | fnstcw
  dd /4   | frstor Mfpu | frstor
  dd /6   | fnsave Mfpu | fnsave
  dd /7   | fnstsw Mw   | fnstsw
  df e0   | fnstsw ax   | fnstsw
  db e0   | fneni       | fnop
  db e1   | fndisi      | fnop
  db e2   | fnclex      | fnclex
  db e3   | fninit      | fninit
  db e4   | fnsetpm     | fnop
`;

/** Every row of the escapes. */
export const x87Rows: readonly OpcodeRow[] = [
  ...memoryArithmeticRows(),
  ...[REGISTER_ARITHMETIC, TRANSFERS, TRANSCENDENTAL, CONTROL].flatMap(opcodeRows),
];
