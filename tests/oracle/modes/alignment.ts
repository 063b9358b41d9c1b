// Alignment checks (Intel SDM volume 3A, 6.15, "Alignment Check Exception", and table 6-7): operands of each size at each
// offset at CPL 3 with CR0.AM and EFLAGS.AC, what is exempt, and which fault goes first.

import {
  addr,
  type Assembler,
  ax,
  bl,
  cr0,
  cx,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  esp,
  fs,
  mem,
  mem16,
  mem32,
  mem64,
  mem8,
} from "../../../guests/assembler/mod.ts";
import { defineGate, enablePaging, registers, type TortureCase, word } from "../torture/harness.ts";
import { access, AT, CR0, FLAG, PAGE, SELECTOR, TYPE, VECTOR } from "../torture/layout.ts";

const DATA = AT.FRAMES + 0x100;

interface AlignmentCase extends TortureCase {
  /** Sets CR0.AM before the body; true by default. */
  readonly mask?: boolean;
}

function alignmentCase({ mask = true, ...each }: AlignmentCase): TortureCase {
  return {
    level: 3,
    flags: FLAG.AC,
    ...each,
    setup(asm) {
      asm.mov(mem32(DATA), 0x4433_2211).mov(mem32(DATA + 4), 0x8877_6655);
      each.setup?.(asm);
      if (mask) asm.mov(eax, cr0).or(eax, CR0.AM).mov(cr0, eax);
    },
    show: [...registers("eax", "ebx", "esp"), word("m", DATA), ...(each.show ?? [])],
  };
}

export function alignmentCases(): TortureCase[] {
  return [...operands(), ...conditions(), ...stacks(), ...priorities()].map(alignmentCase);
}

/** One access of each kind, at an address that lies `offset` beyond a multiple of 16. */
function operands(): AlignmentCase[] {
  const bodies: Readonly<Record<string, (asm: Assembler, at: number) => unknown>> = {
    "byte": (asm, at) => asm.mov(bl, mem8(at)),
    "read word": (asm, at) => asm.mov(ax, mem16(at)),
    "write word": (asm, at) => asm.mov(mem16(at), ax),
    "read dword": (asm, at) => asm.mov(eax, mem(at)),
    "write dword": (asm, at) => asm.mov(mem(at), eax),
    "add dword": (asm, at) => asm.add(mem32(at), 1),
    "xchg word": (asm, at) => asm.xchg(ax, mem16(at)),
    "cmpxchg dword": (asm, at) => asm.cmpxchg(mem32(at), ebx),
    "cmpxchg8b": (asm, at) => asm.cmpxchg8b(mem64(at)),
    "bts with a bit string": (asm, at) => asm.mov(eax, 32).bts(mem32(at), eax),
    "movsd": (asm, at) => asm.mov(esi, DATA).mov(edi, at).movsd(),
    "rep movsw": (asm, at) => asm.mov(esi, at).mov(edi, DATA + 0x20).mov(ecx, 2).rep().movsw(),
    "rep stosd": (asm, at) => asm.mov(edi, at).mov(ecx, 2).rep().stosd(),
    "lodsd": (asm, at) => asm.mov(esi, at).lodsd(),
    "scasw": (asm, at) => asm.mov(edi, at).scasw(),
    "push from memory": (asm, at) => asm.push(mem32(at)),
    "pop to memory": (asm, at) => asm.push(1).pop(mem32(at)),
    "mov to a segment register": (asm, at) => asm.mov(es, mem16(at)),
    "lfs": (asm, at) => asm.lfs(ebx, mem(at)),
    "sgdt": (asm, at) => asm.sgdt(mem(at)),
    "fld m32": (asm, at) => asm.fninit().fld(mem32(at)),
    "fld m64": (asm, at) => asm.fninit().fld(mem64(at)),
    "fstp m64": (asm, at) => asm.fninit().fld1().fstp(mem64(at)),
    "fld m80": (asm, at) => asm.fninit().fld(mem(at, { size: 80 })),
    "fstp m80": (asm, at) => asm.fninit().fld1().fstp(mem(at, { size: 80 })),
    "fadd m64": (asm, at) => asm.fninit().fld1().fadd(mem64(at)),
    "fild m64": (asm, at) => asm.fninit().fild(mem64(at)),
    "fnstcw": (asm, at) => asm.fninit().fnstcw(mem16(at)),
    "fnstenv": (asm, at) => asm.fninit().fnstenv(mem(at)),
    "fnsave": (asm, at) => asm.fninit().fnsave(mem(at)),
    "bound": (asm, at) => asm.bound(eax, mem(at)),
  };
  return Object.entries(bodies).flatMap(([name, body]) =>
    [0, 1, 2, 4, 6, 8].map((offset): AlignmentCase => ({
      name: `${name} at ${offset}`,
      body: (asm) => body(asm, DATA + offset),
    }))
  );
}

/** What switches the checks on and off. */
function conditions(): AlignmentCase[] {
  const read = (asm: Assembler) => asm.mov(eax, mem(DATA + 1));
  return [
    { name: "without CR0.AM", mask: false, body: read },
    { name: "without EFLAGS.AC", flags: 0, body: read },
    { name: "at CPL 0", level: 0, body: read },
    { name: "at CPL 2", level: 2, body: read },
    { name: "popf sets AC", flags: 0, body: (asm) => read(read(asm).push(FLAG.FIXED | FLAG.AC).popf().nop()) },
    { name: "popf clears AC", body: (asm) => read(asm.push(FLAG.FIXED).popf()) },
    {
      name: "a gate to CPL 0 and back",
      setup: (asm) =>
        defineGate(asm, { vector: VECTOR.KERNEL }, {
          access: access(TYPE.TRAP_GATE32, 3),
          selector: SELECTOR.CODE,
          offset: addr("alignment.gate"),
        }),
      body: (asm) => read(asm.int(VECTOR.KERNEL)),
      routines: (asm) => asm.label("alignment.gate").mov(ebx, mem(DATA + 1)).iretd(),
    },
    {
      name: "retf to CPL 3",
      level: 0,
      body: (asm) =>
        read(
          asm.push(SELECTOR.DATA3).push(AT.RING_STACK[3]).push(SELECTOR.CODE3).push(addr("alignment.retf")).retf()
            .label(
              "alignment.retf",
            ),
        ),
    },
    { name: "a fault resumes with AC set", continues: [VECTOR.USER], body: (asm) => read(asm.int(VECTOR.USER)) },
    { name: "descriptors are the processor's own", body: (asm) => asm.mov(eax, SELECTOR.DATA3).mov(fs, ax) },
    {
      name: "linear addresses count",
      setup: (asm) => asm.mov(mem16(AT.LDT + 2), 1).mov(eax, SELECTOR.LDT).lldt(ax),
      body: (asm) =>
        asm.mov(eax, 7).mov(es, ax).mov(ebx, mem(DATA - 1, { segment: es })).mov(ebx, mem(DATA, { segment: es })),
    },
    {
      name: "instructions need no alignment",
      body: (asm) => asm.jmp("alignment.odd").align(4).nop().label("alignment.odd").nop(),
    },
  ];
}

/** The stack, misaligned by two. */
function stacks(): AlignmentCase[] {
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    "push": (asm) => asm.push(eax),
    "push word": (asm) => asm.push(ax),
    "pop": (asm) => asm.pop(eax),
    "pushad": (asm) => asm.pushad(),
    "popad": (asm) => asm.popad(),
    "pushf": (asm) => asm.pushf(),
    "call": (asm) => asm.call("alignment.call").label("alignment.call"),
    "ret": (asm) => asm.ret(),
    "enter": (asm) => asm.enter(8, 0),
    "leave": (asm) => asm.mov(ebp, esp).leave(),
    "int n switches to another stack": (asm) => asm.int(VECTOR.USER),
    "iretd": (asm) => asm.iretd(),
    "retf": (asm) => asm.retf(),
  };
  return Object.entries(bodies).map(([name, body]) => ({
    name: `misaligned stack: ${name}`,
    before: (asm: Assembler) => asm.sub(esp, 0x42),
    body,
    continues: [VECTOR.USER],
  }));
}

/** Segment limits and page faults go first. */
function priorities(): AlignmentCase[] {
  const window = (flags: number) => (asm: Assembler) => {
    asm.call("buildTables").mov(mem32(AT.WINDOW_TABLE), AT.FRAMES | PAGE.P | PAGE.US | PAGE.RW);
    asm.mov(mem32(AT.WINDOW_TABLE + 4), (AT.FRAMES + 0x1000) | flags);
    enablePaging(asm);
  };
  return [
    {
      name: "a limit goes first",
      setup: (asm) => asm.mov(eax, SELECTOR.LDT).lldt(ax),
      body: (asm) => asm.mov(eax, 0x1f).mov(es, ax).mov(ebx, mem(0xe, { segment: es })),
    },
    {
      name: "an access across two pages",
      setup: window(PAGE.P | PAGE.US),
      body: (asm) => asm.mov(eax, mem(AT.WINDOW + 0xffe)),
    },
    { name: "a word in one page", setup: window(0), body: (asm) => asm.mov(cx, mem16(AT.WINDOW + 0xffd)) },
    {
      name: "a null segment goes first",
      body: (asm) => asm.xor(edx, edx).mov(es, edx).mov(ebx, mem(1, { segment: es })),
    },
  ];
}
