// The one-byte opcode map of integer IA-32 (SDM 2D, table A-2 and the groups of table A-6), escapes D8 to DF excepted:
// those are in x87.ts. Flags as each instruction's page in SDM 2A and 2B states them; notation in builder.ts.

import type { OpcodeRow } from "../instruction.ts";
import { opcodeRows } from "./builder.ts";

/** ALU operations in encoding order, with the flags of each. AND, OR and XOR leave AF undefined. */
const ALU = [
  ["add", "> oszapc"],
  ["or", "> oszpc ? a"],
  ["adc", "c > oszapc"],
  ["sbb", "c > oszapc"],
  ["and", "> oszpc ? a"],
  ["sub", "> oszapc"],
  ["xor", "> oszpc ? a"],
  ["cmp", "> oszapc"],
];

/** 00 to 3D: eight operations in six forms each; 80 to 83: the same with an immediate. 82 is an alias of 80. */
function aluRows(): OpcodeRow[] {
  return ALU.flatMap(([name, flags], operation) => {
    const lock = name === "cmp" ? "" : "lock";
    const at = (form: number) => (8 * operation + form).toString(16).padStart(2, "0");
    return opcodeRows(`
      ${at(0)} | ${name} Eb,Gb | alu:${operation} | ${flags} | ${lock}
      ${at(1)} | ${name} Ev,Gv | alu:${operation} | ${flags} | ${lock}
      ${at(2)} | ${name} Gb,Eb | alu:${operation} | ${flags}
      ${at(3)} | ${name} Gv,Ev | alu:${operation} | ${flags}
      ${at(4)} | ${name} al,Ib | alu:${operation} | ${flags}
      ${at(5)} | ${name} eAX,Iz | alu:${operation} | ${flags}
      80 /${operation} | ${name} Eb,Ib | alu:${operation} | ${flags} | ${lock}
      81 /${operation} | ${name} Ev,Iz | alu:${operation} | ${flags} | ${lock}
      82 /${operation} | ${name} Eb,Ib | alu:${operation} | ${flags} | ${lock}
      83 /${operation} | ${name} Ev,Ibs | alu:${operation} | ${flags} | ${lock}
    `);
  });
}

/**
 * Shifts and rotates in encoding order, /6 an alias of /4: flags with a count of one, and with any count. A count of
 * zero leaves all flags as they are, so with any count each written flag is also read. OF is undefined for counts above
 * one, AF after every shift. (CF is too when a shift's count exceeds an 8- or 16-bit operand; the masks leave that out.)
 */
const SHIFTS = [
  ["rol", "> oc", "oc > c ? o"],
  ["ror", "> oc", "oc > c ? o"],
  ["rcl", "c > oc", "oc > c ? o"],
  ["rcr", "c > oc", "oc > c ? o"],
  ["shl", "> oszpc ? a", "oszapc > szpc ? oa"],
  ["shr", "> oszpc ? a", "oszapc > szpc ? oa"],
  ["shl", "> oszpc ? a", "oszapc > szpc ? oa"],
  ["sar", "> oszpc ? a", "oszapc > szpc ? oa"],
];

function shiftRows(): OpcodeRow[] {
  return SHIFTS.flatMap(([name, byOne, byAny], operation) =>
    opcodeRows(`
      c0 /${operation} | ${name} Eb,Ib | shift:${operation} | ${byAny}
      c1 /${operation} | ${name} Ev,Ib | shift:${operation} | ${byAny}
      d0 /${operation} | ${name} Eb,1 | shift:${operation} | ${byOne}
      d1 /${operation} | ${name} Ev,1 | shift:${operation} | ${byOne}
      d2 /${operation} | ${name} Eb,cl | shift:${operation} | ${byAny}
      d3 /${operation} | ${name} Ev,cl | shift:${operation} | ${byAny}
    `)
  );
}

/** F6 and F7; /1 is an alias of TEST. */
const UNARY = `
  f6 /0 | test Eb,Ib | test  | > oszpc ? a
  f7 /0 | test Ev,Iz | test  | > oszpc ? a
  f6 /1 | test Eb,Ib | test  | > oszpc ? a
  f7 /1 | test Ev,Iz | test  | > oszpc ? a
  f6 /2 | not Eb     | not   |             | lock
  f7 /2 | not Ev     | not   |             | lock
  f6 /3 | neg Eb     | neg   | > oszapc    | lock
  f7 /3 | neg Ev     | neg   | > oszapc    | lock
  f6 /4 | mul Eb     | mul   | > oc ? szap
  f7 /4 | mul Ev     | mul   | > oc ? szap
  f6 /5 | imul Eb    | imul1 | > oc ? szap
  f7 /5 | imul Ev    | imul1 | > oc ? szap
  f6 /6 | div Eb     | div   | ? oszapc
  f7 /6 | div Ev     | div   | ? oszapc
  f6 /7 | idiv Eb    | idiv  | ? oszapc
  f7 /7 | idiv Ev    | idiv  | ? oszapc
`;

const ARITHMETIC = `
  40+r | inc Zv        | inc  | > oszap
  48+r | dec Zv        | dec  | > oszap
  fe /0 | inc Eb       | inc  | > oszap     | lock
  ff /0 | inc Ev       | inc  | > oszap     | lock
  fe /1 | dec Eb       | dec  | > oszap     | lock
  ff /1 | dec Ev       | dec  | > oszap     | lock
  69   | imul Gv,Ev,Iz | imul | > oc ? szap
  6b   | imul Gv,Ev,Ibs | imul | > oc ? szap
  84   | test Eb,Gb    | test | > oszpc ? a
  85   | test Ev,Gv    | test | > oszpc ? a
  a8   | test al,Ib    | test | > oszpc ? a
  a9   | test eAX,Iz   | test | > oszpc ? a
  98   | cwde          | cbw
  99   | cdq           | cwd
  27   | daa           | daa  | ac > szapc ? o
  2f   | das           | das  | ac > szapc ? o
  37   | aaa           | aaa  | a > ac ? oszp
  3f   | aas           | aas  | a > ac ? oszp
  d4   | aam Ib        | aam  | > szp ? oac
  d5   | aad Ib        | aad  | > szp ? oac
  d6   | salc          | salc | c >
`;

const MOVES = `
  88    | mov Eb,Gb    | mov
  89    | mov Ev,Gv    | mov
  8a    | mov Gb,Eb    | mov
  8b    | mov Gv,Ev    | mov
  a0    | mov al,Ob    | mov
  a1    | mov eAX,Ov   | mov
  a2    | mov Ob,al    | mov
  a3    | mov Ov,eAX   | mov
  b0+r  | mov Zb,Ib    | mov
  b8+r  | mov Zv,Iz    | mov
  c6 /0 | mov Eb,Ib    | mov
  c7 /0 | mov Ev,Iz    | mov
  8d    | lea Gv,M     | lea
  86    | xchg Eb,Gb   | xchg | | lock
  87    | xchg Ev,Gv   | xchg | | lock
  90    | nop          | nop
  f3 90 | pause        | pause
  91    | xchg Zv,eAX  | xchg:1
  92    | xchg Zv,eAX  | xchg:2
  93    | xchg Zv,eAX  | xchg:3
  94    | xchg Zv,eAX  | xchg:4
  95    | xchg Zv,eAX  | xchg:5
  96    | xchg Zv,eAX  | xchg:6
  97    | xchg Zv,eAX  | xchg:7
  d7    | xlatb        | xlat
`;

/** Segment moves by register number; loading CS with MOV or POP does not exist. Reading CS or SS tells the true CPL. */
const SEGMENTS = `
  8c /0 reg | mov Rv,Sw | movFromSegment:0 | | sensitive
  8c /1 reg | mov Rv,Sw | movFromSegment:1 | | sensitive
  8c /2 reg | mov Rv,Sw | movFromSegment:2 | | sensitive
  8c /3 reg | mov Rv,Sw | movFromSegment:3 | | sensitive
  8c /4 reg | mov Rv,Sw | movFromSegment:4 | | sensitive
  8c /5 reg | mov Rv,Sw | movFromSegment:5 | | sensitive
  8c /0 mem | mov Mw,Sw | movFromSegment:0 | | sensitive
  8c /1 mem | mov Mw,Sw | movFromSegment:1 | | sensitive
  8c /2 mem | mov Mw,Sw | movFromSegment:2 | | sensitive
  8c /3 mem | mov Mw,Sw | movFromSegment:3 | | sensitive
  8c /4 mem | mov Mw,Sw | movFromSegment:4 | | sensitive
  8c /5 mem | mov Mw,Sw | movFromSegment:5 | | sensitive
  8e /0 | mov Sw,Ew     | movToSegment:0   | | sensitive ends
  8e /2 | mov Sw,Ew     | movToSegment:2   | | sensitive ends
  8e /3 | mov Sw,Ew     | movToSegment:3   | | sensitive ends
  8e /4 | mov Sw,Ew     | movToSegment:4   | | sensitive ends
  8e /5 | mov Sw,Ew     | movToSegment:5   | | sensitive ends
  06    | push es       | pushSegment:0    | | sensitive
  0e    | push cs       | pushSegment:1    | | sensitive
  16    | push ss       | pushSegment:2    | | sensitive
  1e    | push ds       | pushSegment:3    | | sensitive
  07    | pop es        | popSegment:0     | | sensitive ends
  17    | pop ss        | popSegment:2     | | sensitive ends
  1f    | pop ds        | popSegment:3     | | sensitive ends
  c4    | les Gv,Mp     | loadFarPointer:0 | | sensitive ends
  c5    | lds Gv,Mp     | loadFarPointer:3 | | sensitive ends
  63    | arpl Ew,Gw    | arpl             | > z | sensitive
`;

const STACK = `
  50+r  | push Zv     | push
  58+r  | pop Zv      | pop
  68    | push Iz     | push
  6a    | push Ibs    | push
  8f /0 | pop Ev      | pop
  ff /6 | push Ev     | push
  60    | pushad      | pusha
  61    | popad       | popa
  9c    | pushfd      | pushf | * >    | sensitive
  9d    | popfd       | popf  | vl > * | sensitive ends
  c8    | enter Iw,Ib | enter
  c9    | leave       | leave
`;

/** String instructions. CMPS and SCAS with a repeat prefix and a count of zero write no flags. */
const STRINGS = `
  a4 | movsb Yb,Xb  | movs | d >
  a5 | movsd Yv,Xv  | movs | d >
  a6 | cmpsb Xb,Yb  | cmps | d > oszapc
  a7 | cmpsd Xv,Yv  | cmps | d > oszapc
  aa | stosb Yb,al  | stos | d >
  ab | stosd Yv,eAX | stos | d >
  ac | lodsb al,Xb  | lods | d >
  ad | lodsd eAX,Xv | lods | d >
  ae | scasb al,Yb  | scas | d > oszapc
  af | scasd eAX,Yv | scas | d > oszapc
  6c | insb Yb,dx   | ins  | dvl > | sensitive ends
  6d | insd Yv,dx   | ins  | dvl > | sensitive ends
  6e | outsb dx,Xb  | outs | dvl > | sensitive ends
  6f | outsd dx,Xv  | outs | dvl > | sensitive ends
`;

const PORTS = `
  e4 | in al,Ib   | in  | vl > | sensitive ends
  e5 | in eAX,Ib  | in  | vl > | sensitive ends
  ec | in al,dx   | in  | vl > | sensitive ends
  ed | in eAX,dx  | in  | vl > | sensitive ends
  e6 | out Ib,al  | out | vl > | sensitive ends
  e7 | out Ib,eAX | out | vl > | sensitive ends
  ee | out dx,al  | out | vl > | sensitive ends
  ef | out dx,eAX | out | vl > | sensitive ends
`;

const CONTROL = `
  70+cc | jcc Jb    | jcc             | cc >  | control
  e0    | loopne Jb | loop:0          | z >   | control
  e1    | loope Jb  | loop:1          | z >   | control
  e2    | loop Jb   | loop:2          |       | control
  e3    | jecxz Jb  | jcxz            |       | control
  e8    | call Jz   | call            |       | control
  e9    | jmp Jz    | jmp             |       | control
  eb    | jmp Jb    | jmp             |       | control
  c2    | ret Iw    | ret             |       | control
  c3    | ret       | ret             |       | control
  ff /2 | call Ev   | callIndirect    |       | control
  ff /4 | jmp Ev    | jmpIndirect     |       | control
  9a    | call Ap   | callFar         | * > * | control
  ea    | jmp Ap    | jmpFar          | * > * | control
  ff /3 | call Mp   | callFarIndirect | * > * | control
  ff /5 | jmp Mp    | jmpFarIndirect  | * > * | control
  ca    | retf Iw   | retFar          |       | control
  cb    | retf      | retFar          |       | control
  cf    | iretd     | iret            | * > * | control
  cc    | int3      | int3            | * > * | control
  cd    | int Ib    | int             | * > * | control
  ce    | into      | into            | * > * | control
  f1    | int1      | int1            | * > * | control
  62    | bound Gv,Ma | bound
`;

const FLAGS = `
  9e | sahf | sahf | > szapc
  9f | lahf | lahf | szapc >
  f5 | cmc  | cmc  | c > c
  f8 | clc  | clc  | > c
  f9 | stc  | stc  | > c
  fc | cld  | cld  | > d
  fd | std  | std  | > d
  fa | cli  | cli  | vl > i | privileged
  fb | sti  | sti  | vl > i | privileged ends
  f4 | hlt  | hlt  |        | privileged ends
  9b | wait | wait
`;

/** Every row of the one-byte map but the x87 escapes. */
export const oneByteRows: readonly OpcodeRow[] = [
  ...aluRows(),
  ...shiftRows(),
  ...[UNARY, ARITHMETIC, MOVES, SEGMENTS, STACK, STRINGS, PORTS, CONTROL, FLAGS].flatMap(opcodeRows),
];
