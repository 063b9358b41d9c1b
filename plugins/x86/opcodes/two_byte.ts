// The two-byte opcode map (0F) of a P6-class CPU; MMX and SSE are in simd.ts (SDM 2D, table A-3 and the groups of table A-6):
// integer and system instructions. Flags as each instruction's page in SDM 2A and 2B states them.

import type { OpcodeRow } from "../instruction.ts";
import { opcodeRows } from "./builder.ts";

const INTEGER = `
  0f 40+cc | cmovcc Gv,Ev    | cmov      | cc >
  0f 90+cc | setcc Eb        | setcc     | cc >
  0f 80+cc | jcc Jz          | jcc       | cc > | control
  0f a3    | bt Ev,Gv        | bt:0      | > c ? osap
  0f ab    | bts Ev,Gv       | bt:1      | > c ? osap | lock
  0f b3    | btr Ev,Gv       | bt:2      | > c ? osap | lock
  0f bb    | btc Ev,Gv       | bt:3      | > c ? osap | lock
  0f ba /4 | bt Ev,Ib        | bt:0      | > c ? osap
  0f ba /5 | bts Ev,Ib       | bt:1      | > c ? osap | lock
  0f ba /6 | btr Ev,Ib       | bt:2      | > c ? osap | lock
  0f ba /7 | btc Ev,Ib       | bt:3      | > c ? osap | lock
  0f bc    | bsf Gv,Ev       | bsf       | > z ? oscap
  0f bd    | bsr Gv,Ev       | bsr       | > z ? oscap
  0f a4    | shld Ev,Gv,Ib   | shld      | oszapc > szpc ? oa
  0f a5    | shld Ev,Gv,cl   | shld      | oszapc > szpc ? oa
  0f ac    | shrd Ev,Gv,Ib   | shrd      | oszapc > szpc ? oa
  0f ad    | shrd Ev,Gv,cl   | shrd      | oszapc > szpc ? oa
  0f af    | imul Gv,Ev      | imul      | > oc ? szap
  0f b0    | cmpxchg Eb,Gb   | cmpxchg   | > oszapc | lock
  0f b1    | cmpxchg Ev,Gv   | cmpxchg   | > oszapc | lock
  0f c0    | xadd Eb,Gb      | xadd      | > oszapc | lock
  0f c1    | xadd Ev,Gv      | xadd      | > oszapc | lock
  0f c7 /1 | cmpxchg8b Mq    | cmpxchg8b | > z      | lock
  0f b6    | movzx Gv,Eb     | movzx
  0f b7    | movzx Gv,Ew     | movzx
  0f be    | movsx Gv,Eb     | movsx
  0f bf    | movsx Gv,Ew     | movsx
  0f c8+r  | bswap Zv        | bswap
`;

/** Hint NOPs of the P6 family: they take a ModR/M operand and touch nothing. Of 0F 18, prefetches are in simd.ts. */
const HINTS = `
  0f 18 reg | nop Ev | nop
  0f 18 /4 mem | nop Ev | nop
  0f 18 /5 mem | nop Ev | nop
  0f 18 /6 mem | nop Ev | nop
  0f 18 /7 mem | nop Ev | nop
  0f 19 | nop Ev | nop
  0f 1a | nop Ev | nop
  0f 1b | nop Ev | nop
  0f 1c | nop Ev | nop
  0f 1d | nop Ev | nop
  0f 1e | nop Ev | nop
  0f 1f | nop Ev | nop
`;

const SEGMENTS = `
  0f a0 | push fs   | pushSegment:4    | | sensitive
  0f a8 | push gs   | pushSegment:5    | | sensitive
  0f a1 | pop fs    | popSegment:4     | | sensitive ends
  0f a9 | pop gs    | popSegment:5     | | sensitive ends
  0f b2 | lss Gv,Mp | loadFarPointer:2 | | sensitive ends
  0f b4 | lfs Gv,Mp | loadFarPointer:4 | | sensitive ends
  0f b5 | lgs Gv,Mp | loadFarPointer:5 | | sensitive ends
`;

/** Groups 6 and 7, and what reads or checks descriptors. */
const DESCRIPTORS = `
  0f 00 /0 | sldt Rv   | sldt |     | sensitive
  0f 00 /0 | sldt Mw   | sldt |     | sensitive
  0f 00 /1 | str Rv    | str  |     | sensitive
  0f 00 /1 | str Mw    | str  |     | sensitive
  0f 00 /2 | lldt Ew   | lldt |     | privileged
  0f 00 /3 | ltr Ew    | ltr  |     | privileged
  0f 00 /4 | verr Ew   | verr | > z | sensitive
  0f 00 /5 | verw Ew   | verw | > z | sensitive
  0f 01 /0 | sgdt Ms   | sgdt |     | sensitive
  0f 01 /1 | sidt Ms   | sidt |     | sensitive
  0f 01 /2 | lgdt Ms   | lgdt |     | privileged
  0f 01 /3 | lidt Ms   | lidt |     | privileged
  0f 02    | lar Gv,Ew | lar  | > z | sensitive
  0f 03    | lsl Gv,Ew | lsl  | > z | sensitive
`;

/** The processor's control state. CR0, CR3 and CR4 govern paging; TS and the debug registers guard what follows. */
const SYSTEM = `
  0f 01 /4 | smsw Rv  | smsw      |     | sensitive
  0f 01 /4 | smsw Mw  | smsw      |     | sensitive
  0f 01 /6 | lmsw Ew  | lmsw      |     | privileged ends
  0f 01 /7 | invlpg M | invlpg    |     | memory ends
  0f 06    | clts     | clts      |     | privileged ends
  0f 08    | invd     | invd      |     | privileged
  0f 09    | wbinvd   | wbinvd    |     | privileged
  0f 20 /0 | mov Rd,Cd | movFromCr:0 | ? oszapc | privileged
  0f 20 /2 | mov Rd,Cd | movFromCr:2 | ? oszapc | privileged
  0f 20 /3 | mov Rd,Cd | movFromCr:3 | ? oszapc | privileged
  0f 20 /4 | mov Rd,Cd | movFromCr:4 | ? oszapc | privileged
  0f 22 /0 | mov Cd,Rd | movToCr:0   | ? oszapc | memory ends
  0f 22 /2 | mov Cd,Rd | movToCr:2   | ? oszapc | privileged ends
  0f 22 /3 | mov Cd,Rd | movToCr:3   | ? oszapc | memory ends
  0f 22 /4 | mov Cd,Rd | movToCr:4   | ? oszapc | memory ends
  0f 21    | mov Rd,Dd | movFromDr   | ? oszapc | privileged
  0f 23    | mov Dd,Rd | movToDr     | ? oszapc | privileged ends
  0f 30    | wrmsr    | wrmsr     |     | privileged ends
  0f 32    | rdmsr    | rdmsr     |     | privileged ends
  0f 31    | rdtsc    | rdtsc     |     | sensitive ends
  0f 33    | rdpmc    | rdpmc     |     | sensitive ends
  0f a2    | cpuid    | cpuid     |     | sensitive
  0f 34    | sysenter | sysenter  | > vi | control
  0f 35    | sysexit  | sysexit   |     | privileged ends
  0f 0b    | ud2      | ud        |     | control
  0f b9    | ud1 Gv,Ev | ud       |     | control
  0f ff    | ud0 Gv,Ev | ud       |     | control
`;

/** Every row of the 0F map. */
export const twoByteRows: readonly OpcodeRow[] = [INTEGER, HINTS, SEGMENTS, DESCRIPTORS, SYSTEM].flatMap(opcodeRows);
