// Segment registers: what may be loaded into which, what LLDT and LTR take, and what LAR, LSL, VERR, VERW and ARPL say
// (Intel SDM volume 3A, sections 3.4, 3.5 and 5.5 to 5.10).

import {
  addr,
  type Assembler,
  ax,
  bl,
  bx,
  ds,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esp,
  fs,
  gs,
  mem,
  mem32,
  mem8,
  type SegmentRegister,
  ss,
} from "../../../guests/assembler/mod.ts";
import { defineDescriptor, registers, type TortureCase, word } from "./harness.ts";
import { access, AT, PRESENT, segment, SELECTOR, STATUS, TYPE } from "./layout.ts";

const FREE = SELECTOR.FREE;
const accessWord = (selector: number) => word("descriptor", AT.GDT + (selector & ~7) + 4);

export function segmentCases(): TortureCase[] {
  return [
    ...loads(),
    ...specialSelectors(),
    ...systemLoads(),
    ...descriptions(),
    ...requestedLevels(),
  ];
}

export const segmentTypes = {
  ro: TYPE.DATA_RO,
  rw: TYPE.DATA_RW,
  "ro-down": TYPE.DATA_RO_DOWN,
  "rw-down": TYPE.DATA_RW_DOWN,
  xo: TYPE.CODE_XO,
  xr: TYPE.CODE_XR,
  "xo-conforming": TYPE.CODE_XO_CONFORMING,
  "xr-conforming": TYPE.CODE_XR_CONFORMING,
} as const;

/** A flat segment of a type; those that expand down begin above their first page. */
export function flat(type: number, dpl: number, present = true): [number, number] {
  const down = type === TYPE.DATA_RO_DOWN || type === TYPE.DATA_RW_DOWN;
  const bits = access(type, dpl) & (present ? 0xff : ~PRESENT);
  return segment({ access: bits, limit: down ? 0 : 0xf_ffff, pages: true });
}

export function load(register: SegmentRegister, selector: number): (asm: Assembler) => unknown {
  return (asm) => asm.mov(eax, selector).mov(register, ax);
}

/** Every type, DPL, CPL and RPL, into a data-segment register and into SS. */
function loads(): TortureCase[] {
  const cases: TortureCase[] = [];
  for (const [name, type] of Object.entries(segmentTypes)) {
    for (const register of [fs, ss]) {
      for (const dpl of [0, 1, 3]) {
        for (const cpl of [0, 1, 3] as const) {
          for (const rpl of [0, 1, 3]) {
            if ([dpl, cpl, rpl].filter((level) => level === 1).length > 1) continue;
            cases.push({
              name: `load ${register.name} ${name} dpl${dpl} cpl${cpl} rpl${rpl}`,
              level: cpl,
              setup: (asm) => defineDescriptor(asm, FREE, flat(type, dpl)),
              body: load(register, FREE | rpl),
              show: [word(register.name, addr(`saved.${register.name}`), 0xffff), accessWord(FREE)],
            });
          }
        }
      }
      cases.push({
        name: `load ${register.name} ${name} not present`,
        setup: (asm) => defineDescriptor(asm, FREE, flat(type, 0, false)),
        body: load(register, FREE),
        show: [accessWord(FREE)],
      }, {
        name: `load ${register.name} ${name} not present, of another level`,
        setup: (asm) => defineDescriptor(asm, FREE, flat(type, 1, false)),
        body: load(register, FREE | 3),
        show: [accessWord(FREE)],
      });
    }
  }
  return cases;
}

/** Null selectors, selectors beyond their table, and the LDT. */
function specialSelectors(): TortureCase[] {
  const cases: TortureCase[] = [];
  const selectors = {
    "null": 0,
    "null with RPL 3": 3,
    "the first entry of no LDT": 4,
    "beyond the GDT": 0x200,
    "beyond the GDT with RPL 3": 0x203,
    "the GDT's last entry": 0x1f8,
    "the highest": 0xffff,
  };
  for (const [what, selector] of Object.entries(selectors)) {
    for (const register of [ds, ss]) {
      for (const level of [0, 3] as const) {
        cases.push({
          name: `load ${register.name} with ${what} (${selector.toString(16)}) cpl${level}`,
          level,
          body: load(register, selector),
          show: registers("eax", "ds"),
        });
      }
    }
  }
  for (const index of [0, 1, 2, 3, 4]) {
    cases.push({
      name: `load es from LDT entry ${index}`,
      level: 3,
      setup: (asm) => asm.mov(eax, SELECTOR.LDT).lldt(ax),
      body: (asm) => asm.mov(eax, (index * 8) | 7).mov(es, ax).mov(ecx, mem(AT.FRAMES, { segment: es })),
      show: [...registers("es", "ecx"), word("descriptor", AT.LDT + index * 8 + 4)],
    });
  }
  const uses = {
    "read through null ds": (asm: Assembler) => asm.mov(ecx, 0).mov(ds, ecx).mov(eax, mem(AT.FRAMES)),
    "write through null es": (asm: Assembler) => asm.mov(ecx, 0).mov(es, ecx).mov(mem32(AT.FRAMES, { segment: es }), 1),
    "stos through null es": (asm: Assembler) => asm.mov(ecx, 0).mov(es, ecx).mov(edi, AT.FRAMES).stosd(),
    "pop fs null": (asm: Assembler) => asm.push(0).pop(fs).mov(bl, mem8(0, { segment: fs })),
    "lfs loads selector and register": (asm: Assembler) => asm.lfs(ebx, mem(AT.FRAMES)),
    "les faults and changes nothing": (asm: Assembler) => asm.les(ebx, mem(AT.FRAMES + 8)),
    "lss faults and changes nothing": (asm: Assembler) => asm.lss(esp, mem(AT.FRAMES + 8)),
    "pop ss null": (asm: Assembler) => asm.push(0).pop(ss),
    "pop ds beyond keeps esp": (asm: Assembler) => asm.push(0x200).pop(ds),
    "mov cs": (asm: Assembler) => asm.bytes([0x8e, 0xc8]),
    "mov to segment register 6": (asm: Assembler) => asm.bytes([0x8e, 0xf0]),
    "mov from segment register 7": (asm: Assembler) => asm.bytes([0x8c, 0xf8]),
    "mov r32 from fs clears the upper half": (asm: Assembler) => asm.mov(eax, fs),
    "mov r16 from fs keeps the upper half": (asm: Assembler) => asm.mov(ax, fs),
    "push gs writes 16 bits of 32": (asm: Assembler) => asm.push(-1).pop(eax).push(gs),
  };
  for (const [name, body] of Object.entries(uses)) {
    cases.push({
      name,
      setup(asm) {
        asm.mov(mem32(AT.FRAMES), 0x1122_3344).mov(mem32(AT.FRAMES + 4), SELECTOR.DATA);
        asm.mov(mem32(AT.FRAMES + 8), 0x5566_7788).mov(mem32(AT.FRAMES + 12), 0x208);
      },
      body,
      show: [...registers("eax", "ebx", "edi", "esp", "ds", "es", "fs"), word("m", AT.FRAMES)],
    });
  }
  return cases;
}

/** LLDT and LTR of every system type, and their errors. */
function systemLoads(): TortureCase[] {
  const cases: TortureCase[] = [];
  const instructions = {
    lldt: (asm: Assembler) => asm.lldt(ax).xor(edx, edx).sldt(edx),
    ltr: (asm: Assembler) => asm.ltr(ax).xor(edx, edx).str(edx),
  };
  for (const [name, instruction] of Object.entries(instructions)) {
    const one = (what: string, selector: number, words: [number, number] | undefined, level: 0 | 3 = 0) =>
      cases.push({
        name: `${name} ${what}`,
        level,
        setup: (asm) => words && defineDescriptor(asm, FREE, words),
        before: (asm) => asm.mov(eax, selector),
        body: instruction,
        show: [...registers("edx"), accessWord(FREE)],
      });
    const system = (bits: number) => segment({ base: AT.FRAMES, limit: 0x67, access: bits, big: false });
    for (let type = 0; type < 0x20; type++) {
      if (type < 0x10 || (type & 3) === 2) {
        one(`type ${type.toString(16)}`, FREE, system(access(type)));
        one(`type ${type.toString(16)} not present`, FREE, system(type));
      }
    }
    const right = system(access(name === "lldt" ? TYPE.LDT : TYPE.TSS32));
    one("null", 0, undefined);
    one("null with RPL 3", 3, undefined);
    one("beyond the GDT", 0x200, undefined);
    one("from the LDT", 4, undefined);
    one("with RPL 3", FREE | 3, right);
    one("at CPL 3", FREE, right, 3);
  }
  cases.push({
    name: "sldt and str at CPL 3",
    level: 3,
    setup: (asm) => asm.mov(eax, SELECTOR.LDT).lldt(ax),
    body: (asm) => asm.sldt(ecx).str(edx),
    show: registers("ecx", "edx"),
  });
  return cases;
}

/** LAR, LSL, VERR and VERW of a selector: their results, and ZF after each as a byte of memory. */
function describe(asm: Assembler): void {
  asm.lar(ecx, eax).setz(mem8(AT.FRAMES)).lsl(edx, eax).setz(mem8(AT.FRAMES + 1));
  asm.verr(ax).setz(mem8(AT.FRAMES + 2)).verw(ax).setz(mem8(AT.FRAMES + 3));
}

function descriptions(): TortureCase[] {
  const cases: TortureCase[] = [];
  const one = (name: string, level: 0 | 3, selector: number, words?: [number, number]) =>
    cases.push({
      name: `describe ${name} cpl${level}`,
      level,
      flags: STATUS,
      setup: (asm) => words && defineDescriptor(asm, FREE, words),
      before: (asm) => asm.mov(eax, selector),
      body: describe,
      // Of what LAR returns, the limit's upper bits are undefined.
      show: [word("lar", addr("saved.ecx"), 0xfff0_ff00), ...registers("edx"), word("zf", AT.FRAMES), accessWord(FREE)],
    });
  for (let type = 0; type < 0x20; type++) {
    const words = (bits: number) =>
      segment({ base: AT.FRAMES, limit: 0x1_2345, access: bits, pages: (type & 1) !== 0 });
    for (const dpl of [0, 3]) {
      for (const level of [0, 3] as const) {
        one(`type ${type.toString(16)} dpl${dpl}`, level, FREE, words(access(type, dpl)));
      }
    }
    one(`type ${type.toString(16)} dpl3 rpl3`, 0, FREE | 3, words(access(type, 3)));
    one(`type ${type.toString(16)} dpl0 rpl3`, 0, FREE | 3, words(access(type, 0)));
    one(`type ${type.toString(16)} not present`, 0, FREE, words(type));
  }
  for (const level of [0, 3] as const) {
    one("null", level, 0);
    one("null with RPL 3", level, 3);
    one("beyond the GDT", level, 0x200);
    one("without an LDT", level, 4);
  }
  const operandSizes = {
    "lar r16": (asm: Assembler) => asm.o16().bytes([0x0f, 0x02, 0xc8]),
    "lsl r16": (asm: Assembler) => asm.o16().bytes([0x0f, 0x03, 0xc8]),
  };
  for (const [name, body] of Object.entries(operandSizes)) {
    cases.push({ name, before: (asm) => asm.mov(eax, SELECTOR.DATA), body, show: registers("ecx") });
  }
  return cases;
}

/** ARPL of every pair of RPLs. */
function requestedLevels(): TortureCase[] {
  return [0, 1, 2, 3].flatMap((destination) =>
    [0, 1, 2, 3].map((source) => ({
      name: `arpl ${destination} ${source}`,
      flags: source < destination ? 0 : STATUS,
      before: (asm: Assembler) => asm.mov(eax, 0x55_fff0 | destination).mov(ebx, 0xffff_abc0 | source),
      body: (asm: Assembler) => asm.arpl(ax, bx),
      show: registers("eax"),
    }))
  );
}
