// MMX, SSE and SSE2 as the first Pentium 4 has them (SDM 2D, table A-3; each instruction's page in SDM 2A and 2B). The
// register file of a form is in its operands: P, Q and N are MMX registers, V, W and U are XMM registers. A row without
// a mandatory prefix in a slot where others have one forbids 66, F2 and F3; `np` says so where no other row does.

import type { OpcodeRow } from "../instruction.ts";
import { opcodeRows } from "./builder.ts";

/** Integer operations that exist on both register files, the XMM form under 66: `opcode mnemonic`. */
const INTEGER = `
  63 packsswb    64 pcmpgtb     65 pcmpgtw     66 pcmpgtd     67 packuswb    68 punpckhbw   69 punpckhwd
  6a punpckhdq   6b packssdw    74 pcmpeqb     75 pcmpeqw     76 pcmpeqd     d1 psrlw       d2 psrld
  d3 psrlq       d4 paddq       d5 pmullw      d8 psubusb     d9 psubusw     da pminub      db pand
  dc paddusb     dd paddusw     de pmaxub      df pandn       e0 pavgb       e1 psraw       e2 psrad
  e3 pavgw       e4 pmulhuw     e5 pmulhw      e8 psubsb      e9 psubsw      ea pminsw      eb por
  ec paddsb      ed paddsw      ee pmaxsw      ef pxor        f1 psllw       f2 pslld       f3 psllq
  f4 pmuludq     f5 pmaddwd     f6 psadbw      f8 psubb       f9 psubw       fa psubd       fb psubq
  fc paddb       fd paddw       fe paddd
`;

function integerRows(): OpcodeRow[] {
  return [...INTEGER.matchAll(/([0-9a-f]{2}) (\w+)/g)].flatMap(([, opcode, name]) =>
    opcodeRows(`
      0f ${opcode}    | ${name} Pq,Qq   | ${name}
      66 0f ${opcode} | ${name} Vdq,Wdq | ${name}
    `)
  );
}

/** The low halves: the MMX forms read 32 bits of memory. Shifts by an immediate. Words in and out. Shuffles. */
const INTEGER_SPECIAL = `
  0f 60    | punpcklbw Pq,Qd   | punpcklbw
  0f 61    | punpcklwd Pq,Qd   | punpcklwd
  0f 62    | punpckldq Pq,Qd   | punpckldq
  66 0f 60 | punpcklbw Vdq,Wdq | punpcklbw
  66 0f 61 | punpcklwd Vdq,Wdq | punpcklwd
  66 0f 62 | punpckldq Vdq,Wdq | punpckldq
  66 0f 6c | punpcklqdq Vdq,Wdq | punpcklqdq
  66 0f 6d | punpckhqdq Vdq,Wdq | punpckhqdq
  0f 71 /2 | psrlw Nq,Ib | psrlw
  0f 71 /4 | psraw Nq,Ib | psraw
  0f 71 /6 | psllw Nq,Ib | psllw
  0f 72 /2 | psrld Nq,Ib | psrld
  0f 72 /4 | psrad Nq,Ib | psrad
  0f 72 /6 | pslld Nq,Ib | pslld
  0f 73 /2 | psrlq Nq,Ib | psrlq
  0f 73 /6 | psllq Nq,Ib | psllq
  66 0f 71 /2 | psrlw Udq,Ib | psrlw
  66 0f 71 /4 | psraw Udq,Ib | psraw
  66 0f 71 /6 | psllw Udq,Ib | psllw
  66 0f 72 /2 | psrld Udq,Ib | psrld
  66 0f 72 /4 | psrad Udq,Ib | psrad
  66 0f 72 /6 | pslld Udq,Ib | pslld
  66 0f 73 /2 | psrlq Udq,Ib | psrlq
  66 0f 73 /3 | psrldq Udq,Ib | psrldq
  66 0f 73 /6 | psllq Udq,Ib | psllq
  66 0f 73 /7 | pslldq Udq,Ib | pslldq
  0f 70    | pshufw Pq,Qq,Ib    | pshufw
  66 0f 70 | pshufd Vdq,Wdq,Ib  | pshufd
  f3 0f 70 | pshufhw Vdq,Wdq,Ib | pshufhw
  f2 0f 70 | pshuflw Vdq,Wdq,Ib | pshuflw
  0f c4    | pinsrw Pq,Rd,Ib  | pinsrw
  0f c4    | pinsrw Pq,Mw,Ib  | pinsrw
  66 0f c4 | pinsrw Vdq,Rd,Ib | pinsrw
  66 0f c4 | pinsrw Vdq,Mw,Ib | pinsrw
  0f c5    | pextrw Gd,Nq,Ib  | pextrw
  66 0f c5 | pextrw Gd,Udq,Ib | pextrw
  0f d7    | pmovmskb Gd,Nq   | pmovmskb
  66 0f d7 | pmovmskb Gd,Udq  | pmovmskb
  np 0f 77 | emms             | emms
`;

const MOVES = `
  0f 6e    | movd Pq,Ed        | movd
  0f 7e    | movd Ed,Pq        | movd
  66 0f 6e | movd Vdq,Ed       | movd
  66 0f 7e | movd Ed,Vdq       | movd
  0f 6f    | movq Pq,Qq        | movq
  0f 7f    | movq Qq,Pq        | movq
  f3 0f 7e | movq Vdq,Wq       | movq
  66 0f d6 | movq Wq,Vdq       | movq
  f3 0f d6 | movq2dq Vdq,Nq    | movq2dq
  f2 0f d6 | movdq2q Pq,Udq    | movdq2q
  66 0f 6f | movdqa Vdq,Wdq    | movAligned
  66 0f 7f | movdqa Wdq,Vdq    | movAligned
  f3 0f 6f | movdqu Vdq,Wdq    | movUnaligned
  f3 0f 7f | movdqu Wdq,Vdq    | movUnaligned
  0f 28    | movaps Vdq,Wps    | movAligned
  0f 29    | movaps Wps,Vdq    | movAligned
  66 0f 28 | movapd Vdq,Wpd    | movAligned
  66 0f 29 | movapd Wpd,Vdq    | movAligned
  0f 10    | movups Vdq,Wps    | movUnaligned
  0f 11    | movups Wps,Vdq    | movUnaligned
  66 0f 10 | movupd Vdq,Wpd    | movUnaligned
  66 0f 11 | movupd Wpd,Vdq    | movUnaligned
  f3 0f 10 | movss Vdq,Wss     | movScalar
  f3 0f 11 | movss Wss,Vdq     | movScalar
  f2 0f 10 | movsd Vdq,Wsd     | movScalar
  f2 0f 11 | movsd Wsd,Vdq     | movScalar
  0f 12    | movlps Vdq,Mq     | movLow
  0f 12    | movhlps Vdq,Udq   | movhlps
  0f 13    | movlps Mq,Vdq     | movLow
  66 0f 12 | movlpd Vdq,Mq     | movLow
  66 0f 13 | movlpd Mq,Vdq     | movLow
  0f 16    | movhps Vdq,Mq     | movHigh
  0f 16    | movlhps Vdq,Udq   | movlhps
  0f 17    | movhps Mq,Vdq     | movHigh
  66 0f 16 | movhpd Vdq,Mq     | movHigh
  66 0f 17 | movhpd Mq,Vdq     | movHigh
  0f 50    | movmskps Gd,Udq   | movmskps
  66 0f 50 | movmskpd Gd,Udq   | movmskpd
  0f e7    | movntq Mq,Pq      | movq
  0f 2b    | movntps Mdq,Vdq   | movAligned
  66 0f 2b | movntpd Mdq,Vdq   | movAligned
  66 0f e7 | movntdq Mdq,Vdq   | movAligned
  np 0f c3 | movnti Md,Gd      | movnti
  0f f7    | maskmovq Pq,Nq    | maskmov
  66 0f f7 | maskmovdqu Vdq,Udq | maskmov
`;

/** Arithmetic in four forms: packed and scalar, single and double. */
const FLOAT_ARITHMETIC = [
  ["51", "sqrt"],
  ["58", "add"],
  ["59", "mul"],
  ["5c", "sub"],
  ["5d", "min"],
  ["5e", "div"],
  ["5f", "max"],
];

function floatRows(): OpcodeRow[] {
  return FLOAT_ARITHMETIC.flatMap(([opcode, name]) =>
    opcodeRows(`
      0f ${opcode}    | ${name}ps Vdq,Wps | ${name}ps
      66 0f ${opcode} | ${name}pd Vdq,Wpd | ${name}pd
      f3 0f ${opcode} | ${name}ss Vdq,Wss | ${name}ss
      f2 0f ${opcode} | ${name}sd Vdq,Wsd | ${name}sd
    `)
  );
}

const FLOAT = `
  0f 52    | rsqrtps Vdq,Wps   | rsqrtps
  f3 0f 52 | rsqrtss Vdq,Wss   | rsqrtss
  0f 53    | rcpps Vdq,Wps     | rcpps
  f3 0f 53 | rcpss Vdq,Wss     | rcpss
  0f 54    | andps Vdq,Wps     | pand
  66 0f 54 | andpd Vdq,Wpd     | pand
  0f 55    | andnps Vdq,Wps    | pandn
  66 0f 55 | andnpd Vdq,Wpd    | pandn
  0f 56    | orps Vdq,Wps      | por
  66 0f 56 | orpd Vdq,Wpd      | por
  0f 57    | xorps Vdq,Wps     | pxor
  66 0f 57 | xorpd Vdq,Wpd     | pxor
  0f 14    | unpcklps Vdq,Wps  | punpckldq
  66 0f 14 | unpcklpd Vdq,Wpd  | punpcklqdq
  0f 15    | unpckhps Vdq,Wps  | punpckhdq
  66 0f 15 | unpckhpd Vdq,Wpd  | punpckhqdq
  0f c6    | shufps Vdq,Wps,Ib | shufps
  66 0f c6 | shufpd Vdq,Wpd,Ib | shufpd
  0f c2    | cmpps Vdq,Wps,Ib  | cmpps
  66 0f c2 | cmppd Vdq,Wpd,Ib  | cmppd
  f3 0f c2 | cmpss Vdq,Wss,Ib  | cmpss
  f2 0f c2 | cmpsd Vdq,Wsd,Ib  | cmpsd
  0f 2e    | ucomiss Vdq,Wss   | ucomiss | > oszapc
  66 0f 2e | ucomisd Vdq,Wsd   | ucomisd | > oszapc
  0f 2f    | comiss Vdq,Wss    | comiss  | > oszapc
  66 0f 2f | comisd Vdq,Wsd    | comisd  | > oszapc
`;

const CONVERSIONS = `
  0f 2a    | cvtpi2ps Vdq,Qq   | cvtpi2ps
  66 0f 2a | cvtpi2pd Vdq,Qq   | cvtpi2pd
  f3 0f 2a | cvtsi2ss Vdq,Ed   | cvtsi2ss
  f2 0f 2a | cvtsi2sd Vdq,Ed   | cvtsi2sd
  0f 2c    | cvttps2pi Pq,Wq   | cvttps2pi
  66 0f 2c | cvttpd2pi Pq,Wpd  | cvttpd2pi
  f3 0f 2c | cvttss2si Gd,Wss  | cvttss2si
  f2 0f 2c | cvttsd2si Gd,Wsd  | cvttsd2si
  0f 2d    | cvtps2pi Pq,Wq    | cvtps2pi
  66 0f 2d | cvtpd2pi Pq,Wpd   | cvtpd2pi
  f3 0f 2d | cvtss2si Gd,Wss   | cvtss2si
  f2 0f 2d | cvtsd2si Gd,Wsd   | cvtsd2si
  0f 5a    | cvtps2pd Vdq,Wq   | cvtps2pd
  66 0f 5a | cvtpd2ps Vdq,Wpd  | cvtpd2ps
  f3 0f 5a | cvtss2sd Vdq,Wss  | cvtss2sd
  f2 0f 5a | cvtsd2ss Vdq,Wsd  | cvtsd2ss
  0f 5b    | cvtdq2ps Vdq,Wdq  | cvtdq2ps
  66 0f 5b | cvtps2dq Vdq,Wps  | cvtps2dq
  f3 0f 5b | cvttps2dq Vdq,Wps | cvttps2dq
  66 0f e6 | cvttpd2dq Vdq,Wpd | cvttpd2dq
  f2 0f e6 | cvtpd2dq Vdq,Wpd  | cvtpd2dq
  f3 0f e6 | cvtdq2pd Vdq,Wq   | cvtdq2pd
`;

/** The state image, MXCSR, and what orders or hints at memory accesses. */
const STATE = `
  np 0f ae /0    | fxsave M   | fxsave
  np 0f ae /1    | fxrstor M  | fxrstor
  np 0f ae /2    | ldmxcsr Md | ldmxcsr
  np 0f ae /3    | stmxcsr Md | stmxcsr
  np 0f ae /7    | clflush M  | clflush
  np 0f ae e8+i  | lfence     | fence
  np 0f ae f0+i  | mfence     | fence
  np 0f ae f8+i  | sfence     | fence
  0f 18 /0       | prefetchnta M | nop
  0f 18 /1       | prefetcht0 M  | nop
  0f 18 /2       | prefetcht1 M  | nop
  0f 18 /3       | prefetcht2 M  | nop
`;

/** Every row. */
export const simdRows: readonly OpcodeRow[] = [
  ...integerRows(),
  ...floatRows(),
  ...[INTEGER_SPECIAL, MOVES, FLOAT, CONVERSIONS, STATE].flatMap(opcodeRows),
];
