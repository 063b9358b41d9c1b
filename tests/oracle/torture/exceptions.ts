// Exceptions and interrupts of all kinds: which instruction raises what, gates and their errors, flags in the handler, single
// steps, interrupt shadows, double faults (Intel SDM volume 3A, chapter 6).

import {
  addr,
  al,
  type Assembler,
  ax,
  cr0,
  cr2,
  cr3,
  cr4,
  ds,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  esp,
  mem,
  mem16,
  mem32,
  mem64,
  mem8,
  ss,
} from "../../../guests/assembler/mod.ts";
import { PIC, UART } from "../../../guests/hardware.ts";
import { defineDescriptor, defineGate, registers, type TortureCase, word } from "./harness.ts";
import { access, AT, CR0, CR4, FLAG, PRESENT, segment, SELECTOR, STATUS, TSS, TYPE, VECTOR } from "./layout.ts";

const FREE = SELECTOR.FREE;

export function exceptionCases(): TortureCase[] {
  return [
    ...arithmetic(),
    ...undefinedOpcodes(),
    ...locks(),
    ...deviceNotAvailable(),
    ...privileged(),
    ...ports(),
    ...gates(),
    ...handlerFlags(),
    ...resumeFlag(),
    ...singleSteps(),
    ...shadows(),
    ...doubleFaults(),
  ];
}

type Body = (asm: Assembler) => unknown;

/** Cases of a table of bodies, with the same surroundings. */
function table(
  bodies: Readonly<Record<string, Body>>,
  rest: Omit<TortureCase, "name" | "body"> = {},
  suffix = "",
): TortureCase[] {
  return Object.entries(bodies).map(([name, body]) => ({ ...rest, name: name + suffix, body }));
}

function arithmetic(): TortureCase[] {
  return [
    ...table({
      "div by zero": (asm) => asm.mov(ebx, 0).div(ebx),
      "div overflow": (asm) => asm.mov(ebx, 1).div(ebx),
      "div8 overflow": (asm) => asm.mov(eax, 0x1_0100).mov(al, 0).div(al),
      "idiv overflow": (asm) => asm.mov(eax, 0x8000_0000).mov(edx, -1).mov(ebx, -1).idiv(ebx),
      "idiv16 overflow": (asm) => asm.mov(eax, 0x8000).mov(edx, 0xffff).mov(ebx, -1).o16().bytes([0xf7, 0xfb]),
      "idiv8 -128 / 1": (asm) => asm.mov(eax, 0xff80).mov(ebx, 1).bytes([0xf6, 0xfb]).cmp(eax, eax),
      "idiv8 128 / 1": (asm) => asm.mov(eax, 0x80).mov(ebx, 1).bytes([0xf6, 0xfb]),
      "aam 0": (asm) => asm.aam(0),
      "bound inside": (asm) => asm.mov(eax, 5).bound(eax, mem(addr("exceptions.bounds"))),
      "bound at the lower": (asm) => asm.mov(eax, -3).bound(eax, mem(addr("exceptions.bounds"))),
      "bound at the upper": (asm) => asm.mov(eax, 9).bound(eax, mem(addr("exceptions.bounds"))),
      "bound below": (asm) => asm.mov(eax, -4).bound(eax, mem(addr("exceptions.bounds"))),
      "bound above": (asm) => asm.mov(eax, 10).bound(eax, mem(addr("exceptions.bounds"))),
      "bound16": (asm) => asm.mov(eax, 0x1_fffe).bound(ax, mem(addr("exceptions.bounds"))),
      "bound of a register": (asm) => asm.bytes([0x62, 0xc0]),
    }, { flags: FLAG.CF, show: registers("eax", "edx") }).map((each, i) =>
      i === 0
        ? {
          ...each,
          routines: (asm: Assembler) => asm.section("data", () => asm.label("exceptions.bounds").dd(-3, 9)),
        }
        : each
    ),
    { name: "into with OF", flags: FLAG.OF, body: (asm) => asm.into() },
    { name: "into without OF", flags: FLAG.CF, body: (asm) => asm.into() },
    { name: "into at CPL 3", level: 3, flags: FLAG.OF, body: (asm) => asm.into() },
    { name: "int3", body: (asm) => asm.int3() },
    { name: "int3 at CPL 3", level: 3, body: (asm) => asm.int3() },
    { name: "int 3", level: 3, body: (asm) => asm.int(3) },
    {
      name: "int1 at CPL 3 ignores the gate's DPL",
      level: 3,
      body: (asm) => asm.int1(),
    },
    { name: "int 1 at CPL 3", level: 3, body: (asm) => asm.int(1) },
    { name: "int 13 pushes no error code", body: (asm) => asm.int(0x4f) },
  ];
}

/** Encodings that are no instructions, or not for what they are given. */
function undefinedOpcodes(): TortureCase[] {
  const encodings: Readonly<Record<string, readonly number[]>> = {
    ud2: [0x0f, 0x0b],
    ud1: [0x0f, 0xb9, 0xc0],
    "0f ff": [0x0f, 0xff, 0xc0],
    "0f 0a": [0x0f, 0x0a],
    "0f 0c": [0x0f, 0x0c],
    "0f 24 mov from tr": [0x0f, 0x24, 0xc0],
    "0f 26 mov to tr": [0x0f, 0x26, 0xc0],
    "0f a6": [0x0f, 0xa6, 0xc0],
    "0f a7": [0x0f, 0xa7, 0xc0],
    "0f 36": [0x0f, 0x36],
    "lea of a register": [0x8d, 0xc0],
    "les of a register": [0xc4, 0xc0],
    "lds of a register": [0xc5, 0xc0],
    "lss of a register": [0x0f, 0xb2, 0xc0],
    "lfs of a register": [0x0f, 0xb4, 0xc0],
    "cmpxchg8b of a register": [0x0f, 0xc7, 0xc8],
    "0f c7 /0": [0x0f, 0xc7, 0x00],
    "0f c7 /2": [0x0f, 0xc7, 0x10],
    "0f 00 /6": [0x0f, 0x00, 0xf0],
    "0f 00 /7": [0x0f, 0x00, 0xf8],
    "0f 01 /5": [0x0f, 0x01, 0x28],
    "sgdt of a register": [0x0f, 0x01, 0xc0],
    "lgdt of a register": [0x0f, 0x01, 0xd0],
    "lidt of a register": [0x0f, 0x01, 0xd8],
    "0f ba /0": [0x0f, 0xba, 0xc0, 0x01],
    "0f ba /3": [0x0f, 0xba, 0xd8, 0x01],
    "fe /2": [0xfe, 0xd0],
    "fe /7": [0xfe, 0xf8],
    "ff /7": [0xff, 0xf8],
    "c6 /1": [0xc6, 0xc8, 0x00],
    "c7 /7": [0xc7, 0xf8, 0, 0, 0, 0],
    "8f /1": [0x8f, 0xc8],
    "mov from cr1": [0x0f, 0x20, 0xc8],
    "mov to cr1": [0x0f, 0x22, 0xc8],
    "mov from cr5": [0x0f, 0x20, 0xe8],
    "mov from cr7": [0x0f, 0x20, 0xf8],
    "monitor": [0x0f, 0x01, 0xc8],
    "syscall": [0x0f, 0x05],
    "rsm outside SMM": [0x0f, 0xaa],
    "82 /0 add is 80 /0": [0x82, 0xc0, 0x05],
    "f6 /1 is test, then cmp": [0xf6, 0xc8, 0x05, 0x39, 0xc0],
    // The shift leaves AF undefined: CMP sets it.
    "d0 /6 is shl, then cmp": [0xd0, 0xf0, 0x39, 0xc0],
    "0f 1f is nop": [0x0f, 0x1f, 0x00],
    "f3 nop": [0xf3, 0x90],
    "f1": [0xf1],
  };
  const bytes = Object.fromEntries(
    Object.entries(encodings).map(([name, code]) => [name, (asm: Assembler) => asm.bytes(code)]),
  );
  const unbound = { before: (asm: Assembler) => asm.mov(eax, AT.FRAMES), show: registers("eax") };
  return [
    ...table(bytes, unbound, " (opcode)"),
    ...table({
      "15 bytes are an instruction": (asm) => asm.bytes([...Array<number>(14).fill(0x66), 0x90]),
      "16 bytes are not": (asm) => asm.bytes([...Array<number>(15).fill(0x66), 0x90]),
      "16 bytes with an undefined opcode": (asm) => asm.bytes([...Array<number>(15).fill(0x66), 0x0f, 0x0b]),
    }),
  ];
}

/** LOCK where it may not be. */
function locks(): TortureCase[] {
  const at = mem32(AT.FRAMES);
  return table({
    "lock add memory": (asm) => asm.lock().add(at, 1),
    "lock add register": (asm) => asm.lock().add(eax, 1),
    "lock add register, memory": (asm) => asm.lock().add(eax, at),
    "lock mov": (asm) => asm.lock().mov(at, eax),
    "lock cmp": (asm) => asm.lock().cmp(at, eax),
    "lock test": (asm) => asm.lock().test(at, eax),
    "lock xchg": (asm) => asm.lock().xchg(at, eax),
    "lock bts": (asm) => asm.lock().bts(at, 1),
    "lock bt": (asm) => asm.lock().bt(at, 1),
    "lock shl": (asm) => asm.lock().shl(at, 1),
    "lock not": (asm) => asm.lock().not(at),
    "lock mul": (asm) => asm.lock().mul(at),
    "lock inc": (asm) => asm.lock().inc(at),
    "lock push": (asm) => asm.lock().push(at),
    "lock cmpxchg8b": (asm) => asm.lock().cmpxchg8b(mem64(AT.FRAMES)),
    "lock xadd": (asm) => asm.lock().xadd(at, ecx),
    "lock nop": (asm) => asm.lock().nop(),
    "lock movs": (asm) => asm.lock().movsd(),
    "lock mov cr0": (asm) => asm.lock().mov(eax, cr0),
    "lock int3": (asm) => asm.lock().int3(),
    "lock ud2": (asm) => asm.lock().ud2(),
  }, { show: [word("m", AT.FRAMES)] });
}

/** CR0.TS, EM and MP with x87 instructions and WAIT. */
function deviceNotAvailable(): TortureCase[] {
  const bodies = {
    fld1: (asm: Assembler) => asm.fld1(),
    fwait: (asm: Assembler) => asm.fwait(),
    fnop: (asm: Assembler) => asm.fnop(),
  };
  const cases: TortureCase[] = [];
  for (const bits of [0, CR0.TS, CR0.MP, CR0.EM, CR0.TS | CR0.MP, CR0.TS | CR0.EM, CR0.TS | CR0.EM | CR0.MP]) {
    for (const level of [0, 3] as const) {
      cases.push(...table(bodies, {
        level,
        setup: (asm) => asm.fninit().mov(eax, CR0.PE | CR0.ET | bits).mov(cr0, eax),
      }, ` cr0.${bits.toString(16)} cpl${level}`));
    }
  }
  cases.push({
    name: "fld through a null segment prefers #NM",
    setup: (asm) => asm.mov(eax, CR0.PE | CR0.ET | CR0.TS).mov(cr0, eax),
    before: (asm) => asm.mov(eax, 0).mov(ds, ax),
    body: (asm) => asm.fld(mem64(0)),
  });
  return cases;
}

/** Instructions of CPL 0 at CPL 3, 1 and 0, and at CPL 3 with IOPL 3. */
function privileged(): TortureCase[] {
  const bodies: Readonly<Record<string, Body>> = {
    hlt: (asm) => asm.hlt(),
    cli: (asm) => asm.cli(),
    sti: (asm) => asm.sti(),
    clts: (asm) => asm.clts(),
    invd: (asm) => asm.invd(),
    wbinvd: (asm) => asm.wbinvd(),
    lgdt: (asm) => asm.lgdt(mem(addr("gdtPointer"))),
    lidt: (asm) => asm.lidt(mem(addr("idtPointer"))),
    sgdt: (asm) => asm.sgdt(mem(AT.FRAMES)),
    sidt: (asm) => asm.sidt(mem(AT.FRAMES)),
    lmsw: (asm) => asm.mov(eax, CR0.PE).lmsw(ax),
    smsw: (asm) => asm.smsw(eax),
    "mov from cr0": (asm) => asm.mov(eax, cr0),
    "mov to cr2": (asm) => asm.mov(cr2, eax),
    "mov from cr3": (asm) => asm.mov(eax, cr3),
    "mov from cr4": (asm) => asm.mov(eax, cr4),
    "mov from dr0": (asm) => asm.bytes([0x0f, 0x21, 0xc0]),
    "mov to dr0": (asm) => asm.bytes([0x0f, 0x23, 0xc0]),
    rdmsr: (asm) => asm.mov(ecx, 0x174).rdmsr(),
    "rdmsr unknown": (asm) => asm.mov(ecx, 0x1234_5678).rdmsr(),
    "wrmsr unknown": (asm) => asm.mov(ecx, 0x1234_5678).wrmsr(),
    rdpmc: (asm) => asm.mov(ecx, 0x4000_0000).rdpmc(),
    rdtsc: (asm) => asm.rdtsc().xor(eax, eax).xor(edx, edx),
    in: (asm) => asm.in(al, 0x80),
    out: (asm) => asm.out(0x80, al),
    insb: (asm) => asm.mov(edi, AT.FRAMES).mov(edx, UART.SCR).insb(),
    outsb: (asm) => asm.mov(esi, AT.FRAMES).mov(edx, 0x80).outsb(),
    pushf: (asm) => asm.pushf().pop(eax),
    popf: (asm) => asm.push(FLAG.FIXED).popf(),
    iret: (asm) => asm.push(0).push(0).push(0).iretd(),
    lldt: (asm) => asm.mov(eax, 0).lldt(ax),
    ltr: (asm) => asm.mov(eax, 0).ltr(ax),
    cpuid: (asm) => asm.xor(eax, eax).cpuid().xor(eax, eax),
  };
  const cases: TortureCase[] = [];
  for (const [level, flags] of [[0, 0], [1, 0], [3, 0], [1, 0x1000], [3, FLAG.IOPL3]] as const) {
    const chosen = Object.entries(bodies).filter(([name]) => {
      if (name === "hlt" || name === "rdpmc") return level !== 0;
      if (name === "in" || name === "out") return level !== 0;
      return flags === 0 || ["cli", "sti", "in", "out", "insb", "outsb", "pushf", "popf", "hlt"].includes(name);
    });
    cases.push(...table(
      Object.fromEntries(chosen),
      { level, flags, show: registers("edi", "esi") },
      ` cpl${level} iopl${flags >> 12}`,
    ));
  }
  return cases;
}

/** The I/O permission bitmap: bits, both bytes read, the map's end, TSSs too short for it. */
function ports(): TortureCase[] {
  const MAP = 0x68;
  const cases: TortureCase[] = [];
  const one = (
    name: string,
    { limit = 0x1ff, map = MAP, denied = [], level = 3, body }: {
      limit?: number;
      map?: number;
      denied?: readonly number[];
      level?: 1 | 3;
      body: Body;
    },
  ) =>
    cases.push({
      name: `port ${name}`,
      level,
      setup(asm) {
        defineDescriptor(
          asm,
          FREE,
          segment({ base: AT.TSS, limit, access: access(TYPE.TSS32), big: false, pages: false }),
        );
        asm.mov(mem16(AT.TSS + TSS.IO_MAP_BASE), map);
        asm.mov(edi, AT.TSS + MAP).xor(eax, eax).mov(ecx, 0x80).rep().stosd();
        for (const port of denied) asm.or(mem8(AT.TSS + MAP + (port >> 3)), 1 << (port & 7));
        asm.mov(eax, FREE).ltr(ax);
      },
      body,
      show: registers("eax"),
    });
  const inByte = (asm: Assembler) => asm.mov(edx, UART.SCR).in(al, dx).mov(al, 0);
  one("allowed", { body: inByte });
  one("denied", { denied: [UART.SCR], body: inByte });
  one("allowed at CPL 1", { level: 1, body: inByte });
  one("denied at CPL 1", { level: 1, denied: [UART.SCR], body: inByte });
  one("neighbours denied", { denied: [UART.SCR - 1, UART.SCR + 1], body: inByte });
  one("word, second byte denied", { denied: [0x81], body: (asm) => asm.mov(edx, 0x80).out(dx, ax) });
  one("word across a byte of the map, second denied", {
    denied: [0x88],
    body: (asm) => asm.mov(edx, 0x87).out(dx, ax),
  });
  one("double word, fourth byte denied", { denied: [0x83], body: (asm) => asm.mov(edx, 0x80).out(dx, eax) });
  one("double word, fifth byte denied", { denied: [0x84], body: (asm) => asm.mov(edx, 0x80).out(dx, eax) });
  one("out immediate denied", { denied: [0x80], body: (asm) => asm.out(0x80, al) });
  one("outsb denied", { denied: [0x80], body: (asm) => asm.mov(esi, AT.FRAMES).mov(edx, 0x80).outsb() });
  one("rep outsb of none denied", {
    denied: [0x80],
    body: (asm) => asm.mov(ecx, 0).mov(edx, 0x80).rep().outsb(),
  });
  one("map ends at the port's byte", { limit: MAP + 0x10, body: (asm) => asm.mov(edx, 0x80).out(dx, al) });
  one("map ends one byte behind the port's", { limit: MAP + 0x11, body: (asm) => asm.mov(edx, 0x80).out(dx, al) });
  one("map ends before the port", { limit: MAP + 0xf, body: (asm) => asm.mov(edx, 0x80).out(dx, al) });
  one("map base beyond the limit", { map: 0x200, body: (asm) => asm.mov(edx, 0).out(dx, al) });
  one("TSS without a map base", { limit: 0x66, body: (asm) => asm.mov(edx, 0x80).out(dx, al) });
  one("port ffff", { limit: 0x2068 - 1, body: (asm) => asm.mov(edx, 0xffff).out(dx, al) });
  cases.push({
    name: "port through a 16-bit TSS",
    level: 3,
    setup: (asm) =>
      asm.mov(eax, SELECTOR.TSS16).ltr(ax).mov(mem16(AT.TSS16 + 2), 0x8000).mov(mem16(AT.TSS16 + 4), 0x10),
    body: (asm) => asm.mov(edx, 0x80).out(dx, al),
  });
  return cases;
}

/** What MOV to CR0 and CR4, LMSW and SMSW take and keep: a section of its own, because QEMU takes everything. */
export function controlCases(): TortureCase[] {
  const base = CR0.PE | CR0.ET;
  const values: Readonly<Record<string, number>> = {
    "PG without PE": CR0.PG | CR0.ET,
    "NW without CD": base | CR0.NW,
    "NW with CD": base | CR0.NW | CR0.CD,
    "without ET": CR0.PE,
    "MP, EM, TS and NE": base | CR0.MP | CR0.EM | CR0.TS | CR0.NE,
    "WP and AM": base | CR0.WP | CR0.AM,
    "undefined bits": base | 0x1ffa_ffc0,
  };
  const cases = Object.entries(values).map(([name, value]): TortureCase => ({
    name: `mov to cr0 ${name}`,
    before: (asm) => asm.mov(eax, value).mov(ebx, 0),
    body: (asm) => asm.mov(cr0, eax).mov(ebx, cr0),
    show: registers("ebx"),
  }));
  for (const [name, value] of [["clears no PE", 0], ["sets MP EM TS", 0xf], ["of ones", 0xffff]] as const) {
    cases.push({
      name: `lmsw ${name}`,
      before: (asm) => asm.mov(ebx, value),
      body: (asm) => asm.mov(eax, ebx).lmsw(ax).mov(ebx, cr0).smsw(ecx),
      show: [...registers("ebx"), word("msw", addr("saved.ecx"), 0xffff)],
    });
  }
  // Of the bits below these some are of features that Bochs's Pentium III has and the described processor lacks.
  for (let bit = 11; bit < 32; bit++) {
    cases.push({
      name: `mov to cr4 bit ${bit}`,
      before: (asm) => asm.mov(eax, 2 ** bit).mov(ebx, 0),
      body: (asm) => asm.mov(cr4, eax).mov(ebx, cr4),
      show: registers("ebx"),
    });
  }
  cases.push({
    name: "mov to cr4 TSD PSE PAE PGE",
    before: (asm) => asm.mov(eax, CR4.TSD | CR4.PSE | CR4.PAE | CR4.PGE).mov(ebx, 0),
    body: (asm) => asm.mov(cr4, eax).mov(ebx, cr4),
    show: registers("ebx"),
  }, {
    name: "rdtsc at CPL 3 with TSD",
    level: 3,
    setup: (asm) => asm.mov(eax, CR4.TSD).mov(cr4, eax),
    body: (asm) => asm.rdtsc(),
  }, {
    name: "rdtsc at CPL 0 with TSD",
    setup: (asm) => asm.mov(eax, CR4.TSD).mov(cr4, eax),
    body: (asm) => asm.rdtsc(),
  }, {
    name: "mov to cr3 keeps all bits",
    before: (asm) => asm.mov(eax, 0xffff_ffff),
    body: (asm) => asm.mov(cr3, eax).mov(ebx, cr3),
    show: registers("ebx"),
  });
  return cases;
}

/** Gates of the IDT: types, levels, targets, their errors and error codes. */
function gates(): TortureCase[] {
  const cases: TortureCase[] = [];
  const VECTOR_USED = VECTOR.KERNEL + 1;
  const one = (
    name: string,
    gate: { access: number; selector?: number },
    level: 0 | 1 | 3,
    setup?: Body,
  ) =>
    cases.push({
      name: `int ${name} cpl${level}`,
      level,
      flags: STATUS,
      setup(asm) {
        defineGate(asm, { vector: VECTOR_USED }, {
          access: gate.access,
          selector: gate.selector ?? SELECTOR.CODE,
          offset: addr(`gate.${name}.${level}`),
        });
        setup?.(asm);
      },
      body: (asm) => asm.int(VECTOR_USED).label(`gate.${name}.${level}`),
    });
  for (let type = 0; type < 0x20; type++) {
    // Task gates come with task switches; 16-bit gates reach no offset of a case.
    if ([TYPE.TASK_GATE, TYPE.INTERRUPT_GATE16, TYPE.TRAP_GATE16].includes(type as 5 | 6 | 7)) continue;
    one(`type ${type.toString(16)}`, { access: access(type, 3) }, 0);
  }
  for (const [name, type] of [["interrupt gate", TYPE.INTERRUPT_GATE32], ["trap gate", TYPE.TRAP_GATE32]] as const) {
    for (const level of [0, 1, 3] as const) {
      for (const dpl of [0, 1, 3]) one(`${name} dpl${dpl}`, { access: access(type, dpl) }, level);
      one(`${name} absent`, { access: access(type, 3) & ~PRESENT }, level);
      one(`${name} absent dpl0`, { access: access(type, 0) & ~PRESENT }, level);
      for (
        const [what, selector] of [
          ["null", 0],
          ["null with RPL 3", 3],
          ["beyond the GDT", 0x200],
          ["data", SELECTOR.DATA],
          ["a TSS", SELECTOR.TSS],
          ["ring 1", SELECTOR.CODE1],
          ["ring 3", SELECTOR.CODE3],
          ["conforming", SELECTOR.CONFORMING],
          ["code with RPL 3", SELECTOR.CODE | 3],
        ] as const
      ) one(`${name} to ${what}`, { access: access(type, 3), selector }, level);
      one(`${name} to absent code`, { access: access(type, 3), selector: FREE }, level, (asm) => {
        defineDescriptor(asm, FREE, segment({ access: access(TYPE.CODE_XR) & ~PRESENT }));
      });
      one(`${name} beyond a limit`, { access: access(type, 3), selector: FREE }, level, (asm) => {
        defineDescriptor(asm, FREE, segment({ limit: 0xfff, pages: false, access: access(TYPE.CODE_XR) }));
      });
    }
  }
  for (const level of [0, 3] as const) {
    cases.push({
      name: `int beyond the IDT's limit cpl${level}`,
      level,
      setup(asm) {
        asm.mov(mem16(AT.FRAMES), 0x60 * 8 - 2).mov(mem32(AT.FRAMES + 2), AT.IDT).lidt(mem(AT.FRAMES));
      },
      body: (asm) => asm.int(0x5f),
    }, {
      name: `int through a 16-bit interrupt gate cpl${level}`,
      level,
      flags: STATUS,
      setup(asm) {
        defineGate(asm, { vector: VECTOR_USED }, {
          access: access(TYPE.INTERRUPT_GATE16, 3),
          selector: SELECTOR.GATE16_CODE,
          offset: 0,
        });
      },
      body: (asm) => asm.int(VECTOR_USED),
      show: [word("m", AT.RING_STACK[0] - 4)],
    }, {
      name: `#GP through a 16-bit trap gate cpl${level}`,
      level,
      flags: STATUS,
      setup(asm) {
        defineGate(asm, { vector: VECTOR.GP }, {
          access: access(TYPE.TRAP_GATE16),
          selector: SELECTOR.GATE16_CODE,
          offset: 16,
        });
      },
      body: (asm) => asm.mov(eax, 0x1fb).mov(ds, ax),
    });
  }
  return cases;
}

/** EFLAGS as a handler finds them. */
function handlerFlags(): TortureCase[] {
  return ([["interrupt", TYPE.INTERRUPT_GATE32], ["trap", TYPE.TRAP_GATE32]] as const).flatMap(([name, type]) =>
    ([0, 3] as const).map((level): TortureCase => ({
      name: `flags in the handler of ${name} gate cpl${level}`,
      level,
      flags: STATUS | FLAG.IF | FLAG.NT | FLAG.DF | FLAG.AC | FLAG.ID | 0x2000,
      setup(asm) {
        defineGate(asm, { vector: VECTOR.USER }, {
          access: access(type, 3),
          selector: SELECTOR.CODE,
          offset: addr(`flags.${name}.${level}`),
        });
      },
      body: (asm) => asm.int(VECTOR.USER).label(`flags.${name}.${level}`).pushf().pop(eax),
      show: registers("eax"),
    }))
  );
}

/** RF as pushed by faults, traps and INT. */
function resumeFlag(): TortureCase[] {
  return table({
    "a fault pushes RF": (asm) => asm.ud2(),
    "#GP pushes RF": (asm) => asm.mov(eax, 0x208).mov(ds, ax),
    "int3 pushes no RF": (asm) => asm.int3(),
    "int pushes no RF": (asm) => asm.int(VECTOR.USER),
    "a single step pushes no RF": (asm) => asm.push(FLAG.TF | FLAG.FIXED).popf().nop(),
  }, { show: [word("eflags", addr("saved.eflags"))] });
}

/** Single steps: after which instructions #DB comes, with which flags, and DR6. */
function singleSteps(): TortureCase[] {
  const trap = FLAG.TF | FLAG.FIXED;
  const off = (asm: Assembler) => asm.pushf().and(mem32(esp), ~FLAG.TF).popf();
  const cases = table(
    {
      "popf sets TF: the next instruction traps": (asm) => off(asm.push(trap).popf().nop().nop()),
      "rep movsb traps after each iteration": (asm) =>
        off(asm.mov(esi, AT.FRAMES).mov(edi, AT.FRAMES + 16).mov(ecx, 3).push(trap).popf().rep().movsb().nop()),
      "rep of none traps once": (asm) => off(asm.mov(ecx, 0).push(trap).popf().rep().movsb().nop()),
      "repe cmpsb": (asm) =>
        off(asm.mov(esi, AT.FRAMES).mov(edi, AT.FRAMES + 1).mov(ecx, 3).push(trap).popf().repe().cmpsb().nop()),
      "a taken branch": (asm) => off(asm.push(trap).popf().jmp("step.taken").nop().label("step.taken").nop()),
      "a call and a return": (asm) =>
        off(asm.push(trap).popf().call("step.called").jmp("step.on").label("step.called").ret().label("step.on")),
      "int clears TF in its handler": (asm) => off(asm.push(trap).popf().int(VECTOR.USER).nop()),
      "int3 with TF": (asm) => off(asm.push(trap).popf().int3().nop()),
      "a fault before the step": (asm) => asm.push(trap).popf().ud2(),
      "pushf with TF": (asm) => off(asm.push(trap).popf().pushf().pop(eax)),
      "mov to a data segment": (asm) => off(asm.mov(eax, ds).push(trap).popf().mov(ds, ax).nop()),
      "mov cr0 does not hold it back": (asm) => off(asm.mov(eax, cr0).push(trap).popf().mov(cr0, eax).nop()),
      "iret to code with TF": (asm) => {
        asm.push(trap).push(SELECTOR.CODE).push(addr("step.iret")).iretd().label("step.iret").nop();
        off(asm);
      },
      "lock inc": (asm) => off(asm.push(trap).popf().lock().inc(mem32(AT.FRAMES)).nop()),
      "loop": (asm) => off(asm.mov(ecx, 2).push(trap).popf().label("step.loop").loop("step.loop").nop()),
      "prefixes are one instruction": (asm) => off(asm.push(trap).popf().bytes([0x66, 0x66, 0x90]).nop()),
      "sti and cli": (asm) => off(asm.push(trap).popf().sti().cli().nop()),
      "far jump": (asm) => {
        asm.push(trap).popf().bytes([0xea]).dd(addr("step.far")).dw(SELECTOR.CODE).label("step.far").nop();
        off(asm);
      },
    },
    { continues: [VECTOR.DB, VECTOR.USER, VECTOR.BP] },
    " (single step)",
  );
  cases.push({
    name: "single step at CPL 3",
    level: 3,
    continues: [VECTOR.DB],
    body: (asm) => off(asm.push(trap).popf().nop().mov(eax, 1).nop()),
    show: registers("eax"),
  }, {
    name: "iret to ring 3 with TF",
    continues: [VECTOR.DB],
    body(asm) {
      asm.push(SELECTOR.DATA3).push(AT.RING_STACK[3] - 0x40).push(trap).push(SELECTOR.CODE3).push(addr("step.ring3"));
      off(asm.iretd().label("step.ring3").nop().nop());
    },
  }, {
    name: "a call gate to ring 0 with TF",
    level: 3,
    continues: [VECTOR.DB],
    setup(asm) {
      defineGate(asm, { selector: FREE }, {
        access: access(TYPE.CALL_GATE32, 3),
        selector: SELECTOR.CODE,
        offset: addr("step.gate"),
      });
    },
    body(asm) {
      asm.push(trap).popf().bytes([0x9a, 0, 0, 0, 0, FREE, 0]).label("step.gate").nop();
      off(asm);
    },
  }, {
    name: "DR6 after a single step",
    continues: [VECTOR.DB],
    setup: (asm) => asm.xor(eax, eax).bytes(MOV_TO_DR6),
    body: (asm) => off(asm.push(trap).popf().nop()).bytes(MOV_FROM_DR6),
    show: registers("eax"),
  }, {
    name: "mov ss holds the single step back",
    continues: [VECTOR.DB],
    body: (asm) => off(asm.mov(eax, ss).push(trap).popf().mov(ss, ax).nop().nop()),
  }, {
    name: "pop ss holds the single step back",
    continues: [VECTOR.DB],
    body: (asm) => off(asm.push(ss).push(trap).popf().pop(ss).nop().nop()),
  });
  return cases;
}

/** MOV EAX, DR6 and MOV DR6, EAX. */
const MOV_FROM_DR6 = [0x0f, 0x21, 0xf0], MOV_TO_DR6 = [0x0f, 0x23, 0xf0];

/** Interrupts held back by STI, MOV SS and POP SS, and HLT woken by one; the serial port's transmitter interrupts at will. */
function shadows(): TortureCase[] {
  const pending = (asm: Assembler) => {
    for (
      const [command, data, vector, wiring] of [
        [PIC.MASTER_COMMAND, PIC.MASTER_DATA, VECTOR.IRQ, PIC.ICW3_MASTER],
        [PIC.SLAVE_COMMAND, PIC.SLAVE_DATA, VECTOR.IRQ + 8, PIC.ICW3_SLAVE],
      ] as const
    ) {
      asm.mov(al, PIC.ICW1_INIT).out(command, al).mov(al, vector).out(data, al).mov(al, wiring).out(data, al);
      asm.mov(al, PIC.ICW4_8086).out(data, al);
    }
    asm.mov(al, ~SERIAL_LINE & 0xff).out(PIC.MASTER_DATA, al).mov(al, 0xff).out(PIC.SLAVE_DATA, al);
    asm.mov(dx, UART_MCR).mov(al, MCR_OUT2).out(dx, al).mov(dx, UART_IER).mov(al, IER_THRE).out(dx, al);
    asm.mov(dx, UART.LSR).label(`shadow.wait.${waits}`).in(al, dx).test(al, UART.LSR_THRE).jz(`shadow.wait.${waits++}`);
  };
  const quiet: Body = (asm) => {
    asm.mov(dx, UART_IER).mov(al, 0).out(dx, al).mov(dx, UART.LCR - 1).in(al, dx);
    asm.mov(al, PIC.OCW2_EOI).out(PIC.MASTER_COMMAND, al).mov(al, 0xff).out(PIC.MASTER_DATA, al);
  };
  return table({
    "sti shields one instruction": (asm) => asm.sti().nop().nop().nop(),
    "sti while already enabled by popf": (asm) => asm.push(FLAG.IF | FLAG.FIXED).popf().nop().nop(),
    "sti cli takes none": (asm) => asm.sti().cli().nop().nop(),
    "sti sti shields one": (asm) => asm.sti().sti().nop().nop(),
    "sti mov ss": (asm) => asm.mov(eax, ss).sti().mov(ss, ax).nop().nop(),
    "sti hlt wakes": (asm) => asm.sti().hlt().nop(),
    "iret enables at once": (asm) => {
      asm.push(FLAG.IF | FLAG.FIXED).push(SELECTOR.CODE).push(addr("shadow.iret")).iretd();
      asm.label("shadow.iret").nop().nop();
    },
    "popf with IF then mov ss": (asm) => asm.mov(eax, ss).push(FLAG.IF | FLAG.FIXED).popf().mov(ss, ax).nop().nop(),
    "sti rep movsb": (asm) => asm.mov(esi, AT.FRAMES).mov(edi, AT.FRAMES + 16).mov(ecx, 3).sti().rep().movsb().nop(),
    "sti pop ss": (asm) => asm.push(ss).sti().pop(ss).nop().nop(),
  }, {
    setup: pending,
    continues: [VECTOR.USER],
    hook: (asm) => {
      asm.cmp(mem32(addr("saved.vector")), VECTOR.USER).je(`shadow.keep.${waits}`);
      quiet(asm);
      asm.label(`shadow.keep.${waits++}`);
    },
  }, " (interrupt)");
}

let waits = 0;
/** 16550 registers and bits that the serial interrupt needs, and its line at the master 8259A. */
const UART_IER = 0x3f9, UART_MCR = 0x3fc, IER_THRE = 2, MCR_OUT2 = 8, SERIAL_LINE = 1 << 4;

/** Exceptions while an exception is delivered: what makes a double fault, and the error codes with EXT. */
function doubleFaults(): TortureCase[] {
  const break_ = (vector: number, how: "absent" | "null" | "data" | "type"): Body => (asm) => {
    const interrupt = access(TYPE.INTERRUPT_GATE32);
    const gate = {
      absent: { access: interrupt & ~PRESENT, selector: SELECTOR.CODE },
      null: { access: interrupt, selector: 0 },
      data: { access: interrupt, selector: SELECTOR.DATA },
      type: { access: access(TYPE.CALL_GATE32), selector: SELECTOR.CODE },
    }[how];
    defineGate(asm, { vector }, { ...gate, offset: 0 });
  };
  const causes: Readonly<Record<string, readonly [vector: number, body: Body]>> = {
    "#DE": [VECTOR.DE, (asm) => asm.mov(ebx, 0).div(ebx)],
    "#UD": [VECTOR.UD, (asm) => asm.ud2()],
    "#BR": [VECTOR.BR, (asm) => asm.mov(eax, 100).bound(eax, mem(addr("exceptions.bounds")))],
    "#NP": [VECTOR.NP, (asm) => asm.mov(eax, FREE).mov(ds, ax)],
    "#GP": [VECTOR.GP, (asm) => asm.mov(eax, 0x200).mov(ds, ax)],
    "int3": [VECTOR.BP, (asm) => asm.int3()],
    "int": [VECTOR.USER, (asm) => asm.int(VECTOR.USER)],
    "a single step": [VECTOR.DB, (asm) => asm.push(FLAG.TF | FLAG.FIXED).popf().nop()],
  };
  return Object.entries(causes).flatMap(([name, [vector, body]]) =>
    (["absent", "null", "data", "type"] as const).map((how): TortureCase => ({
      name: `${name} whose gate is ${how === "absent" ? "absent" : how === "type" ? "a call gate" : `to ${how}`}`,
      setup(asm) {
        defineDescriptor(asm, FREE, segment({ access: access(TYPE.DATA_RW) & ~PRESENT }));
        break_(vector, how)(asm);
      },
      body,
    }))
  );
}
