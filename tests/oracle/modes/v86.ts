// Virtual-8086 mode (Intel SDM volume 3A, chapter 20) without its extensions: what is sensitive to IOPL, the I/O bitmap, what
// instructions do not exist, how events leave the mode and IRET enters it.

import {
  addr,
  al,
  type Assembler,
  ax,
  bx,
  cr0,
  cr4,
  cs,
  cx,
  di,
  ds,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esi,
  esp,
  far,
  fs,
  gs,
  mem,
  mem16,
  mem32,
  mem8,
  si,
  sp,
  ss,
} from "../../../guests/assembler/mod.ts";
import {
  defineDescriptor,
  defineGate,
  loadDataSegments,
  registers,
  type TortureCase,
  word,
} from "../torture/harness.ts";
import { access, AT, FLAG, segment, SELECTOR, TSS, TYPE, VECTOR } from "../torture/layout.ts";

/** Segments of the V86 program. Those of CS and SS end in RPL 3, by which the harness knows that the stack was switched. */
const CODE = (AT.LOW_CODE >> 4) | 3, STACK = 0x2203, DATA = 0x2100, EXTRA = 0x2300;
const CODE_AT = CODE << 4, DATA_AT = DATA << 4, STACK_AT = STACK << 4;
const STACK_TOP = 0x800, CODE_BYTES = 0x80;
const PORT = 0x80;
/** Where the frame lies that an event pushes: GS, FS, DS, ES, then as from any outer level. */
const FRAME = AT.RING_STACK[0];

interface V86Case {
  readonly name: string;
  readonly code: (asm: Assembler) => unknown;
  readonly iopl?: number;
  readonly flags?: number;
  readonly setup?: (asm: Assembler) => unknown;
  readonly continues?: readonly number[];
  readonly rest?: Partial<TortureCase>;
}

let count = 0;

function v86Case({ name, code, iopl = 0, flags = 0, setup, continues, rest = {} }: V86Case): TortureCase {
  const label = `v86.${count++}`;
  return {
    name: `${name}, iopl ${iopl}`,
    origin: 0,
    continues,
    setup(asm) {
      asm.mov(esi, addr(label)).mov(edi, CODE_AT).mov(ecx, CODE_BYTES / 4).rep().movsd();
      asm.mov(edi, DATA_AT).mov(eax, 0x5555_5555).mov(ecx, 8).rep().stosd();
      asm.mov(edi, STACK_AT + STACK_TOP - 16).xor(eax, eax).mov(ecx, 4).rep().stosd();
      setup?.(asm);
    },
    body(asm) {
      asm.push(EXTRA + 2).push(EXTRA + 1).push(DATA).push(EXTRA).push(STACK).push(STACK_TOP);
      asm.push(FLAG.FIXED | FLAG.VM | (iopl << 12) | flags).push(CODE).push(0).iretd();
    },
    routines(asm) {
      asm.align(16).bits(16).label(label);
      code(asm);
      asm.int(VECTOR.END).zeros(CODE_BYTES).bits(32);
    },
    ...rest,
    show: [
      word("gs", FRAME - 4, 0xffff),
      word("fs", FRAME - 8, 0xffff),
      word("ds", FRAME - 12, 0xffff),
      word("es", FRAME - 16, 0xffff),
      ...registers("eax", "ebx"),
      word("in", addr("saved.ds"), 0xffff),
      word("stack", STACK_AT + STACK_TOP - 4),
      ...(rest.show ?? []),
    ],
  };
}

export function v86Cases(): TortureCase[] {
  count = 0;
  return [...sensitive(), ...others(), ...ports(), ...events(), ...entries()].map(v86Case);
}

/** Instructions that need IOPL 3, and their effect with it. */
function sensitive(): V86Case[] {
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    cli: (asm) => asm.cli(),
    sti: (asm) => asm.sti(),
    pushf: (asm) => asm.pushfw().pop(bx),
    pushfd: (asm) => asm.pushfd().pop(ebx),
    popf: (asm) => asm.push(0x7fd7 & ~FLAG.TF).popfw(),
    popfd: (asm) => asm.push(0x25_7ed7).popfd(),
    "popfd without VM": (asm) => asm.o32().push(FLAG.FIXED).popfd(),
    "int n": (asm) => asm.int(VECTOR.USER),
    "int n, gate of DPL 0": (asm) => asm.int(VECTOR.KERNEL),
    int3: (asm) => asm.int3(),
    into: (asm) => asm.mov(al, 0x7f).add(al, 1).into(),
    iret: (asm) => asm.push(0x7ed7).push(CODE).push(0x10).iretw().zeros(0x20),
    iretd: (asm) =>
      asm.bytes([0x66, 0x68, 0xd7, 0x7e, 0x24, 0, 0x66, 0x68, 3, 0x10, 0, 0, 0x66, 0x6a, 0x20]).iretd().zeros(0x20),
    "iretd beyond 64 KiB": (asm) => asm.bytes([0x66, 0x6a, 2, 0x66, 0x6a, 3, 0x66, 0x68, 0, 0, 1, 0]).iretd(),
  };
  return Object.entries(bodies).flatMap(([name, code]) =>
    [0, 2, 3].map((iopl): V86Case => ({ name, code, iopl, flags: FLAG.IF, continues: [VECTOR.USER] }))
  );
}

/** Instructions that behave as in real mode, that CPL 3 forbids, or that do not exist. */
function others(): V86Case[] {
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    "mov ds takes any selector": (asm) => asm.mov(ax, 0x2101).mov(ds, ax).mov(bx, mem16(0)),
    "mov from segment registers": (asm) => asm.mov(bx, cs).mov(ax, ss),
    "mov ss": (asm) => asm.mov(ax, 0x2100).mov(ss, ax).mov(sp, 16).pop(bx).mov(ax, STACK).mov(ss, ax),
    "write through cs": (asm) => asm.mov(mem16(0x60, { segment: cs }), 0x1234).mov(bx, mem16(0x60, { segment: cs })),
    "read beyond 64 KiB": (asm) => asm.mov(ebx, mem(eax)),
    "word at ffff": (asm) => asm.mov(bx, 0xffff).mov(ax, mem16(bx)),
    "word at ffff of the stack": (asm) => asm.mov(bx, 0xffff).mov(ax, mem16(bx, { segment: ss })),
    "push at 1": (asm) => asm.mov(sp, 1).push(ax),
    "jmp far": (asm) => asm.jmpFar(far(CODE + 0x1, 0)).zeros(0x20),
    "call and ret far": (asm) => asm.callFar(far(CODE, 0x10)).mov(ax, 0x77).int(VECTOR.END).zeros(8).retf(),
    "lds": (asm) => asm.mov(mem16(2), 0x2000).lds(bx, mem(0)),
    "sgdt": (asm) => asm.sgdt(mem(0)).mov(ax, mem16(0)),
    "smsw": (asm) => asm.smsw(bx),
    "str": (asm) => asm.str(bx),
    "sldt": (asm) => asm.sldt(bx),
    "lldt": (asm) => asm.lldt(ax),
    "ltr": (asm) => asm.ltr(ax),
    "verr": (asm) => asm.verr(ax),
    "lar": (asm) => asm.lar(bx, ax),
    "lsl": (asm) => asm.lsl(bx, ax),
    "arpl": (asm) => asm.arpl(ax, bx),
    "lgdt": (asm) => asm.lgdt(mem(0)),
    "lidt": (asm) => asm.lidt(mem(0)),
    "lmsw": (asm) => asm.lmsw(ax),
    "clts": (asm) => asm.clts(),
    "hlt": (asm) => asm.hlt(),
    "mov cr0": (asm) => asm.mov(eax, cr0),
    "mov to cr4": (asm) => asm.mov(cr4, eax),
    "mov dr": (asm) => asm.bytes([0x0f, 0x21, 0xc0]),
    "invlpg": (asm) => asm.invlpg(mem(0)),
    "wbinvd": (asm) => asm.wbinvd(),
    "rdmsr": (asm) => asm.rdmsr(),
    "wrmsr": (asm) => asm.wrmsr(),
    "sysexit": (asm) => asm.sysexit(),
    "rdtsc": (asm) => asm.rdtsc().mov(ax, 1).mov(dx, 2).mov(eax, 3),
    "ud2": (asm) => asm.ud2(),
    "bound": (asm) => asm.bound(ax, mem(0)),
    "div by zero": (asm) => asm.xor(bx, bx).div(bx),
    "rep movsb wraps at 64 KiB": (asm) => asm.mov(si, 0xfffe).mov(di, 0x10).mov(cx, 4).rep().movsb().mov(bx, si),
    "sysenter without a segment": (asm) => asm.sysenter(),
    "pushad": (asm) => asm.pushad(),
    "enter and leave": (asm) => asm.enter(4, 1).leave().mov(bx, sp),
  };
  return Object.entries(bodies).flatMap(([name, code]) => {
    const iopls = ["hlt", "clts", "str", "mov ds takes any selector"].includes(name) ? [0, 3] : [3];
    return iopls.map((iopl): V86Case => ({
      name,
      code,
      iopl,
      flags: 0,
      rest: { show: [word("m", DATA_AT), word("sp", addr("saved.oldEsp"))] },
    }));
  });
}

/** I/O goes by the bitmap, whatever IOPL says. */
function ports(): V86Case[] {
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    "out byte": (asm) => asm.out(PORT, al),
    "out word": (asm) => asm.out(PORT, ax),
    "out dword": (asm) => asm.out(PORT, eax),
    "in byte": (asm) => asm.mov(dx, PORT).in(al, dx).mov(al, 1),
    "outsb": (asm) => asm.mov(dx, PORT).mov(si, 0).outsb(),
    "rep insb of nothing": (asm) => asm.mov(dx, PORT).xor(cx, cx).mov(di, 0).rep().insb(),
  };
  const TSS_WITH_MAP = TSS.IO_MAP_BASE + 2 + PORT / 8 + 2;
  const maps: Readonly<Record<string, { bits: number; limit: number }>> = {
    "none": { bits: 0, limit: 0x67 },
    "open": { bits: 0, limit: TSS_WITH_MAP },
    "the next port closed": { bits: 2, limit: TSS_WITH_MAP },
    "closed": { bits: 1, limit: TSS_WITH_MAP },
    "ending a byte early": { bits: 0, limit: TSS_WITH_MAP - 2 },
  };
  return Object.entries(bodies).flatMap(([name, code]) =>
    Object.entries(maps).flatMap(([map, { bits, limit }]) =>
      [0, 3].map((iopl): V86Case => ({
        name: `${name}, map ${map}`,
        code,
        iopl,
        setup(asm) {
          asm.mov(mem16(AT.TSS + TSS.IO_MAP_BASE), 0x68).mov(mem16(AT.TSS + 0x68 + PORT / 8), bits);
          defineDescriptor(asm, SELECTOR.TSS, segment({ base: AT.TSS, limit, access: access(TYPE.TSS32), big: false }));
          asm.mov(eax, SELECTOR.TSS).ltr(ax);
        },
      }))
    )
  );
}

/** Through which gates events may leave the mode. */
function events(): V86Case[] {
  const gates: Readonly<Record<string, { selector: number; type: number; offset: string }>> = {
    "a trap gate": { selector: SELECTOR.CODE, type: TYPE.TRAP_GATE32, offset: "v86.handler" },
    "a 16-bit gate": { selector: SELECTOR.GATE16_CODE, type: TYPE.INTERRUPT_GATE16, offset: "" },
    "code of DPL 1": { selector: SELECTOR.CODE1, type: TYPE.INTERRUPT_GATE32, offset: "v86.handler" },
    "code of DPL 3": { selector: SELECTOR.CODE3, type: TYPE.INTERRUPT_GATE32, offset: "v86.handler" },
    "conforming code": { selector: SELECTOR.CONFORMING, type: TYPE.INTERRUPT_GATE32, offset: "v86.handler" },
    "data": { selector: SELECTOR.DATA, type: TYPE.INTERRUPT_GATE32, offset: "v86.handler" },
  };
  const routines = (asm: Assembler) => asm.label("v86.handler").mov(ebx, ss).mov(edx, fs).int(VECTOR.END);
  let first = true;
  return Object.entries(gates).flatMap(([name, { selector, type, offset }]) =>
    [VECTOR.USER + 1, VECTOR.UD].map((vector): V86Case => {
      const isFirst = first;
      first = false;
      const made = v86Label(isFirst ? routines : undefined);
      return {
        name: `vector ${vector.toString(16)} through ${name}`,
        code: (asm) => vector === VECTOR.UD ? asm.ud2() : asm.int(vector),
        iopl: 3,
        flags: FLAG.IF | FLAG.DF,
        setup(asm) {
          made(asm);
          defineGate(asm, { vector }, {
            access: access(type, 3),
            selector,
            offset: offset === "" ? 0 : addr(offset),
          });
        },
        rest: { show: [...registers("edx"), word("eflags", FRAME - 28), word("cs", FRAME - 32)] },
      };
    })
  );
}

/** Emits a routine with the first of several cases. */
function v86Label(routines: ((asm: Assembler) => unknown) | undefined): (asm: Assembler) => void {
  return (asm) => {
    if (routines !== undefined) asm.section("routines", () => void routines(asm));
  };
}

/** IRET into the mode, from where it may and may not; and returns to it by the harness's own IRET. */
function entries(): V86Case[] {
  const frame = (asm: Assembler, flags: number, eip = 0) => {
    asm.push(EXTRA + 2).push(EXTRA + 1).push(DATA).push(EXTRA).push(STACK).push(STACK_TOP).push(flags).push(CODE).push(
      eip,
    );
  };
  const enter = (name: string, rest: Partial<TortureCase>): V86Case => ({
    name,
    code: (asm) => asm.nop(),
    iopl: 3,
    rest: { origin: undefined, ...rest },
  });
  return [
    enter("iretd with EIP beyond 64 KiB", {
      body(asm) {
        frame(asm, FLAG.FIXED | FLAG.VM | FLAG.IOPL3, 0x1_0000);
        asm.iretd();
      },
    }),
    enter("iretd at CPL 3 does not enter", {
      level: 3,
      body: (asm) =>
        asm.push(FLAG.FIXED | FLAG.VM).push(SELECTOR.CODE3).push(addr("v86.stays")).iretd().label("v86.stays"),
    }),
    enter("iretw does not enter", {
      body: (asm) => asm.push(FLAG.FIXED | FLAG.VM).o16().iretw(),
    }),
    enter("iretd with all flags enters", {
      origin: 0,
      body(asm) {
        frame(asm, 0x27_7ed7 & ~FLAG.NT | FLAG.IOPL3);
        asm.iretd();
      },
    }),
    {
      name: "events come and go",
      code: (asm) => asm.mov(ax, 1).int(VECTOR.USER).mov(ax, es).int3().mov(bx, gs).nop(),
      iopl: 3,
      continues: [VECTOR.USER, VECTOR.BP],
    },
    {
      name: "sysenter leaves for CPL 0",
      code: (asm) => asm.sysenter(),
      iopl: 3,
      flags: FLAG.IF,
      setup(asm) {
        v86Label((routine) => {
          routine.label("v86.sysenter").pushfd().pop(ebx).mov(edx, ss);
          loadDataSegments(routine, SELECTOR.DATA, [ds, es]);
          routine.int(VECTOR.END);
        })(asm);
        for (const [msr, value] of [[0x174, SELECTOR.CODE], [0x175, AT.CASE_STACK - 0x100]] as const) {
          asm.mov(ecx, msr).mov(eax, value).xor(edx, edx).wrmsr();
        }
        asm.mov(ecx, 0x176).mov(eax, addr("v86.sysenter")).xor(edx, edx).wrmsr();
      },
      rest: { show: registers("edx", "esp", "es", "fs") },
    },
    {
      name: "single step",
      code: (asm) => asm.nop().nop(),
      iopl: 3,
      flags: FLAG.TF,
      continues: [VECTOR.DB],
    },
    {
      name: "a data breakpoint by linear address",
      code: (asm) => asm.mov(mem8(4), 1).nop(),
      iopl: 3,
      continues: [VECTOR.DB],
      setup: (asm) =>
        asm.mov(eax, DATA_AT + 4).bytes([0x0f, 0x23, 0xc0]).mov(eax, 0x1_0002).bytes([0x0f, 0x23, 0xf8]).mov(
          mem32(AT.FRAMES),
          esp,
        ),
      rest: {
        hook: (asm) =>
          asm.cmp(mem32(addr("saved.vector")), VECTOR.DB).bytes([0x74, 5]).xor(eax, eax).bytes([0x0f, 0x23, 0xf8]),
      },
    },
  ];
}
