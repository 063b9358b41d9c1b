// Page faults in the middle of instructions: accesses across a page's end, read-modify-writes, multiple pushes, string
// instructions, descriptor-table and stack accesses; and page faults during the delivery of other events. An instruction that
// faults leaves no trace of itself (Intel SDM volume 3A, 6.5 and 6.15, "Double Fault" and "Page-Fault Exception").

import {
  addr,
  al,
  type Assembler,
  ax,
  bx,
  cl,
  cr2,
  cx,
  ds,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  esp,
  far,
  fs,
  mem,
  mem16,
  mem32,
  mem64,
  mem8,
  ss,
} from "../../../guests/assembler/mod.ts";
import { defineDescriptor, defineGate, enablePaging, registers, type TortureCase, word } from "./harness.ts";
import {
  access,
  AT,
  DESCRIPTOR_BYTES,
  FLAG,
  GATES,
  GDT_ENTRIES,
  GDT_LIMIT,
  IDT_LIMIT,
  PAGE,
  PAGE_BYTES,
  PAGE_FLAGS,
  segment,
  SELECTOR,
  STATUS,
  TSS,
  TYPE,
  VECTOR,
} from "./layout.ts";

const OPEN = PAGE.P | PAGE.RW | PAGE.US;
const READ_ONLY = PAGE.P | PAGE.US;
/** The boundary between the window's first page, open, and its second, which each case gives its own flags. */
const END = AT.WINDOW + PAGE_BYTES;
const FRAME_END = AT.FRAMES + PAGE_BYTES;
const pte0 = word("pte0", AT.WINDOW_TABLE, PAGE_FLAGS), pte1 = word("pte1", AT.WINDOW_TABLE + 4, PAGE_FLAGS);
const around = [word("below", FRAME_END - 4), word("above", FRAME_END)];

/** Two pages: the first open, the second with `second` as its flags; words of known bytes on both sides of the boundary. */
function twoPages(second: number, first: number = OPEN): (asm: Assembler) => void {
  return (asm) => {
    asm.call("buildTables").mov(mem32(AT.WINDOW_TABLE), AT.FRAMES | first);
    asm.mov(mem32(AT.WINDOW_TABLE + 4), FRAME_END | second);
    asm.mov(mem32(FRAME_END - 8), 0x8888_8888).mov(mem32(FRAME_END - 4), 0x4444_4444);
    asm.mov(mem32(FRAME_END), 0x0101_0101).mov(mem32(FRAME_END + 4), 0x0202_0202);
    enablePaging(asm);
  };
}

export function restartCases(): TortureCase[] {
  return [...crossings(), ...onePage(), ...stacks(), ...strings(), ...fetches(), ...deliveries()];
}

/** Instructions whose operand lies across the boundary, two bytes on each side. */
const crossingBodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
  "mov read": (asm) => asm.mov(eax, mem(END - 2)),
  "mov write": (asm) => asm.mov(mem32(END - 2), 0x7777_7777),
  "mov16 write": (asm) => asm.mov(mem16(END - 1), 0x7777),
  sete: (asm) => asm.sete(mem8(END)),
  "push from memory": (asm) => asm.push(mem32(END - 2)),
  "pop to memory": (asm) => asm.pop(mem32(END - 2)),
  movsd: (asm) => asm.mov(esi, AT.FRAMES).mov(edi, END - 2).movsd(),
  "movsd from": (asm) => asm.mov(esi, END - 2).mov(edi, AT.FRAMES).movsd(),
  stosd: (asm) => asm.mov(edi, END - 2).stosd(),
  lodsd: (asm) => asm.mov(esi, END - 2).lodsd(),
  cmpsd: (asm) => asm.mov(esi, AT.FRAMES).mov(edi, END - 2).cmpsd(),
  scasd: (asm) => asm.mov(edi, END - 2).scasd(),
  "lds": (asm) => asm.lds(eax, mem(END - 4)),
  bound: (asm) => asm.bound(eax, mem(END - 4)),
  sgdt: (asm) => asm.sgdt(mem(END - 2)),
  lgdt: (asm) => asm.lgdt(mem(END - 2)),
  "jmp far": (asm) => asm.jmpFar(mem(END - 4, { size: 48 })),
  "jmp near": (asm) => asm.jmp(mem32(END - 2)),
  "call near": (asm) => asm.call(mem32(END - 2)),
  "mul": (asm) => asm.mul(mem32(END - 2)),
  "div": (asm) => asm.div(mem32(END - 2)),
  "mov to sreg": (asm) => asm.mov(fs, mem16(END - 1)),
  "lmsw": (asm) => asm.lmsw(mem16(END - 1)),
  "fld m64": (asm) => asm.fld(mem64(END - 4)),
  "fstp m64": (asm) => asm.fninit().fld1().fstp(mem64(END - 4)),
  "fnstenv": (asm) => asm.fninit().fnstenv(mem(END - 4)),
  "fnsave": (asm) => asm.fninit().fnsave(mem(END - 8)),
  "frstor": (asm) => asm.fninit().frstor(mem(END - 8)),
};

/** Those that read the operand before they write it. Which access faults, where both would, is the processor's own affair. */
const updates: Readonly<Record<string, (asm: Assembler) => unknown>> = {
  add: (asm) => asm.add(mem32(END - 2), 0x7777_7777),
  inc: (asm) => asm.inc(mem32(END - 1)),
  xchg: (asm) => asm.xchg(eax, mem(END - 3)),
  xadd: (asm) => asm.xadd(mem32(END - 2), ecx),
  cmpxchg: (asm) => asm.cmpxchg(mem32(END - 2), ecx),
  cmpxchg8b: (asm) => asm.cmpxchg8b(mem64(END - 4)),
  bts: (asm) => asm.bts(mem32(END - 2), 31),
  shl: (asm) => asm.shl(mem32(END - 2), 1),
  rcl: (asm) => asm.rcl(mem32(END - 2), 7),
  shld: (asm) => asm.shld(mem32(END - 2), ebx, 4),
  neg: (asm) => asm.neg(mem32(END - 2)),
  not: (asm) => asm.not(mem32(END - 2)),
};

function crossings(): TortureCase[] {
  const shown = [
    ...registers("eax", "ecx", "edx", "esi", "edi", "esp"),
    word("fs", addr("saved.fs"), 0xffff),
    ...around,
  ];
  const flags = FLAG.CF | FLAG.OF | FLAG.PF;
  return [
    ...Object.entries(crossingBodies).flatMap(([what, body]): TortureCase[] => [
      {
        name: `${what} across the end to an absent page`,
        flags,
        setup: twoPages(0),
        body,
        show: [...shown, pte0, pte1],
      },
      ...runsAway.has(what) ? [] : [{
        name: `${what} across the end to a read-only page`,
        flags,
        setup: twoPages(READ_ONLY),
        body,
        show: [...shown, pte0, pte1],
      }],
    ]),
    ...Object.entries(updates).map(([what, body]) => ({
      name: `${what} across the end to a read-only page`,
      flags,
      setup: twoPages(READ_ONLY),
      body,
      show: shown,
    })),
  ];
}

/** Instructions that a readable page lets complete, to nowhere sensible. */
const runsAway: ReadonlySet<string> = new Set([
  "jmp near",
  "jmp far",
  "call near",
  "lgdt",
  "lmsw",
  "mov to sreg",
  "lds",
  "bound",
]);

/** Read-modify-writes of a read-only page, and operands that fault in order. */
function onePage(): TortureCase[] {
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    or: (asm) => asm.or(mem32(AT.WINDOW), 0),
    adc8: (asm) => asm.adc(mem8(AT.WINDOW), 1),
    sbb16: (asm) => asm.sbb(mem16(AT.WINDOW), ax),
    "shl by 0": (asm) => asm.mov(cl, 0).shl(mem32(AT.WINDOW), cl),
    "cmpxchg unequal": (asm) => asm.cmpxchg(mem32(AT.WINDOW), ecx),
    "cmpxchg8b unequal": (asm) => asm.cmpxchg8b(mem64(AT.WINDOW)),
    "bts already set": (asm) => asm.bts(mem32(AT.WINDOW), eax),
    bt: (asm) => asm.bt(mem32(AT.WINDOW), 3),
    xadd8: (asm) => asm.xadd(mem8(AT.WINDOW), al),
    "cmp only reads": (asm) => asm.cmp(mem32(AT.WINDOW), 5),
    "test only reads": (asm) => asm.test(mem32(AT.WINDOW), 5),
    setne: (asm) => asm.setne(mem8(AT.WINDOW)),
    "rol by 32": (asm) => asm.mov(cl, 32).rol(mem32(AT.WINDOW), cl),
    "shrd by 0": (asm) => asm.mov(cl, 0).shrd(mem32(AT.WINDOW), eax, cl),
    "lock inc": (asm) => asm.lock().inc(mem32(AT.WINDOW)),
    smsw: (asm) => asm.smsw(mem16(AT.WINDOW)),
    "mov from sreg": (asm) => asm.mov(mem16(AT.WINDOW), ds),
    sldt: (asm) => asm.sldt(mem16(AT.WINDOW)),
    str: (asm) => asm.str(mem16(AT.WINDOW)),
    arpl: (asm) => asm.arpl(mem16(AT.WINDOW), bx),
    "arpl without change": (asm) => asm.arpl(mem16(AT.WINDOW), cx),
    "pop to memory": (asm) => asm.push(ebx).pop(mem32(AT.WINDOW)),
    "movs to": (asm) => asm.mov(esi, AT.FRAMES).mov(edi, AT.WINDOW).movsb(),
  };
  return Object.entries(bodies).map(([what, body]) => ({
    name: `${what} on a read-only page`,
    flags: STATUS,
    setup(asm: Assembler) {
      twoPages(OPEN, READ_ONLY)(asm);
      // What ARPL finds: a selector of RPL 2, against BX's 3 and CX's 0.
      asm.mov(mem32(AT.FRAMES), 0x1a1a_1a1a);
    },
    before: (asm: Assembler) => asm.mov(cx, 0),
    body,
    show: [
      ...registers("eax", "ecx", "esi", "edi", "esp"),
      word("pte0", AT.WINDOW_TABLE, PAGE_FLAGS & ~PAGE.A),
      word("m", AT.FRAMES),
    ],
  }));
}

/** Multiple pushes and pops with the stack across the boundary; the stack pointer moves only when all have been done. */
function stacks(): TortureCase[] {
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    pushad: (asm) => asm.mov(esp, END + 16).pushad(),
    pushaw: (asm) => asm.mov(esp, END + 6).pushaw(),
    popad: (asm) => asm.mov(esp, END - 16).popad(),
    "push at the page's start": (asm) => asm.mov(esp, END).push(eax),
    "push across": (asm) => asm.mov(esp, END + 2).push(eax),
    "pop across": (asm) => asm.mov(esp, END - 2).pop(eax),
    "pop to where ESP then points": (asm) => asm.mov(esp, END - 4).pop(mem32(esp)),
    "push esp": (asm) => asm.mov(esp, END + 2).push(esp),
    call: (asm) => asm.mov(esp, END + 2).call(AT.WINDOW),
    "call far": (asm) => asm.mov(esp, END + 4).callFar(far(SELECTOR.CODE3, AT.WINDOW)),
    enter: (asm) => asm.mov(esp, END + 2).enter(16, 0),
    "enter nested": (asm) => asm.mov(ebp, AT.FRAMES + 0x100).mov(esp, END + 8).enter(16, 4),
    "enter with a frame on the absent page": (asm) => asm.mov(esp, END - 8).mov(ebp, END + 2 * PAGE_BYTES).enter(16, 2),
    "enter whose frame ends in an absent page": (asm) => asm.mov(esp, END + PAGE_BYTES).enter(0x800, 0),
    leave: (asm) => asm.mov(ebp, END - 2).leave(),
    ret: (asm) => asm.mov(esp, END - 2).ret(),
    "ret far": (asm) => asm.mov(esp, END - 4).retf(),
    iret: (asm) => asm.mov(esp, END - 8).iretd(),
    popf: (asm) => asm.mov(esp, END - 2).popf(),
    pushf: (asm) => asm.mov(esp, END + 2).pushf(),
    "push sreg": (asm) => asm.mov(esp, END + 1).push(fs),
    "pop sreg": (asm) => asm.mov(esp, END - 1).pop(fs),
  };
  // At CPL 3, because at CPL 0 the page fault itself could not be pushed.
  return Object.entries(bodies).flatMap(([what, body]) =>
    ([["upper", twoPages(0)], ["lower", twoPages(OPEN, 0)]] as const).map(([which, pages]) => ({
      name: `${what} over the end of a page, the ${which} one absent`,
      level: 3 as const,
      flags: FLAG.CF | FLAG.ZF,
      setup: pages,
      before: (asm: Assembler) => asm.xor(edi, edi).stc(),
      body,
      show: [...registers("eax", "ebp", "ebx", "edx"), pte0, pte1, ...around],
    }))
  );
}

/** Repeated string instructions that fault part of the way: as many iterations as were possible have been done. */
function strings(): TortureCase[] {
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    "rep movsb": (asm) => asm.mov(esi, AT.WINDOW).mov(edi, END - 5).rep().movsb(),
    "rep movsd": (asm) => asm.mov(esi, AT.WINDOW).mov(edi, END - 10).rep().movsd(),
    "rep movsd source": (asm) => asm.mov(esi, END - 8).mov(edi, AT.WINDOW).rep().movsd(),
    "rep stosb": (asm) => asm.mov(edi, END - 3).rep().stosb(),
    "rep stosd": (asm) => asm.mov(edi, END - 8).rep().stosd(),
    "rep stosw down": (asm) => asm.std().mov(edi, END + 4).rep().stosw(),
    "rep lodsd": (asm) => asm.mov(esi, END - 12).rep().lodsd(),
    "repe cmpsb": (asm) => asm.mov(esi, END - 4).mov(edi, END - 4).repe().cmpsb(),
    "repne scasb": (asm) => asm.mov(edi, END - 4).mov(al, 0).repne().scasb(),
    "rep outsb": (asm) => asm.mov(edx, 0x80).mov(esi, END - 2).rep().outsb(),
    "rep insb": (asm) => asm.mov(edx, 0x3ff).mov(edi, END - 2).rep().insb(),
    "rep movsb of none": (asm) => asm.mov(ecx, 0).mov(esi, END).mov(edi, END).rep().movsb(),
  };
  const shown = [...registers("eax", "ecx", "esi", "edi"), pte0, pte1, ...around];
  return Object.entries(bodies).flatMap(([what, body]): TortureCase[] => [
    { name: `${what} into an absent page`, setup: twoPages(0), before: (asm) => asm.mov(ecx, 8), body, show: shown },
    {
      name: `${what} into an absent page, which the handler then maps`,
      continues: [VECTOR.PF],
      setup: twoPages(0),
      hook: (asm) => asm.mov(mem32(AT.WINDOW_TABLE + 4), FRAME_END | OPEN).mov(eax, cr2).invlpg(mem(eax)),
      before: (asm) => asm.mov(ecx, 8),
      body,
      show: shown,
    },
  ]);
}

/** Instruction fetches across a page's end. */
function fetches(): TortureCase[] {
  return ([["absent", 0], ["supervisor", PAGE.P | PAGE.RW]] as const).flatMap(([kind, flags]) =>
    ([0, 3] as const).map((level): TortureCase => ({
      name: `fetch across the end to ${kind === "absent" ? "an absent" : "a supervisor"} page at CPL ${level}`,
      level,
      setup(asm) {
        twoPages(flags)(asm);
        // MOV EAX, 0x0090f4f4 in the last three bytes and the first two of the next page, then INT.
        asm.mov(mem32(FRAME_END - 4), 0xf4f4_b890).mov(mem32(FRAME_END), 0x40cd_0090);
      },
      body: (asm) => asm.jmp(END - 4),
      show: [...registers("eax"), pte0, pte1],
    }))
  ).concat([
    {
      name: "an instruction that ends with its page does not touch the next",
      setup(asm) {
        twoPages(0)(asm);
        asm.mov(mem32(FRAME_END - 4), 0x40cd_9090);
      },
      body: (asm) => asm.jmp(END - 4),
      show: [pte0, pte1],
    },
    {
      name: "fetch of a prefix too many at a page's end",
      setup(asm) {
        twoPages(0)(asm);
        asm.mov(edi, FRAME_END - 16).mov(al, 0x66).mov(ecx, 16).rep().stosb();
      },
      body: (asm) => asm.jmp(END - 16),
      show: [pte0, pte1],
    },
  ]);
}

/** Page faults while an event is delivered. */
function deliveries(): TortureCase[] {
  /** Copies the IDT so that the gate of `firstAbove` is the first on the upper page, and loads it from there. */
  const splitIdt = (asm: Assembler, firstAbove: number) => {
    const below = firstAbove * DESCRIPTOR_BYTES;
    asm.mov(esi, AT.IDT).mov(edi, FRAME_END - below).mov(ecx, GATES * 2).rep().movsd();
    asm.mov(mem16(AT.FRAMES), IDT_LIMIT).mov(mem32(AT.FRAMES + 2), END - below).lidt(mem(AT.FRAMES));
  };
  /** The inner stack of CPL 0 is absent; faults are handled at CPL 1, where the stack is put right and INT reports it. */
  const absentInnerStack = (asm: Assembler) => {
    twoPages(0)(asm);
    asm.mov(mem32(AT.TSS + TSS.ESP0), END + 0x40);
    for (const vector of [VECTOR.PF, VECTOR.DF]) {
      defineGate(asm, { vector }, {
        access: access(TYPE.INTERRUPT_GATE32),
        selector: SELECTOR.CODE1,
        offset: addr("restart.ring1"),
      });
    }
  };
  const frame = (...words: string[]) => words.map((label, i) => word(label, AT.RING_STACK[1] - 4 * (words.length - i)));
  return [
    {
      name: "a page fault whose gate is on an absent page becomes a double fault",
      setup(asm) {
        twoPages(0)(asm);
        splitIdt(asm, VECTOR.PF);
      },
      body: (asm) => asm.mov(eax, mem(END)),
      show: [pte0, pte1],
    },
    {
      name: "an invalid opcode whose gate is on an absent page becomes a page fault",
      setup(asm) {
        twoPages(OPEN)(asm);
        splitIdt(asm, VECTOR.NM);
        asm.mov(mem32(AT.WINDOW_TABLE), 0).invlpg(mem(AT.WINDOW));
      },
      body: (asm) => asm.ud2(),
      show: [pte0, pte1],
    },
    {
      name: "a general protection fault whose gate is on an absent page becomes a page fault",
      setup(asm) {
        twoPages(0)(asm);
        asm.mov(mem32(AT.WINDOW_TABLE + 8), (FRAME_END + PAGE_BYTES) | OPEN);
        // Gates up to #TS on the open page, those from #NP to #GP beyond; #PF is a page further, so that it can be delivered.
        asm.mov(esi, AT.IDT + VECTOR.PF * DESCRIPTOR_BYTES).mov(edi, FRAME_END + PAGE_BYTES).mov(ecx, 8).rep().movsd();
        asm.mov(mem16(AT.FRAMES), IDT_LIMIT);
        asm.mov(mem32(AT.FRAMES + 2), END + PAGE_BYTES - VECTOR.PF * DESCRIPTOR_BYTES).lidt(mem(AT.FRAMES));
      },
      body: (asm) => asm.mov(ax, SELECTOR.FREE).mov(ds, ax),
      show: [pte0, pte1],
    },
    {
      name: "an invalid opcode at CPL 3 whose inner stack is absent becomes a page fault",
      level: 3,
      origin: addr("restart.ring1"),
      setup: absentInnerStack,
      body: (asm) => asm.ud2(),
      routines(asm) {
        asm.label("restart.ring1").push(ss).pop(ds).mov(mem32(AT.TSS + TSS.ESP0), AT.RING_STACK[0]).int(VECTOR.USER);
      },
      show: [...frame("error", "eip", "cs", "eflags", "esp", "ss").filter(({ label }) => label !== "eip"), pte1],
    },
    {
      name: "a page fault at CPL 3 whose inner stack is absent becomes a double fault",
      level: 3,
      origin: addr("restart.ring1"),
      setup: absentInnerStack,
      body: (asm) => asm.mov(eax, mem(AT.WINDOW + 2 * PAGE_BYTES)),
      show: [...frame("error", "eip", "cs", "eflags", "esp", "ss").filter(({ label }) => label !== "eip"), pte1],
    },
    {
      name: "a descriptor on an absent page",
      setup(asm) {
        twoPages(0)(asm);
        asm.mov(mem16(AT.FRAMES), 0xff).mov(mem32(AT.FRAMES + 2), END - SELECTOR.FREE);
        asm.mov(esi, AT.GDT).mov(edi, FRAME_END - SELECTOR.FREE).mov(ecx, SELECTOR.FREE / 4).rep().movsd();
        asm.lgdt(mem(AT.FRAMES));
      },
      before: (asm) => asm.mov(ax, SELECTOR.FREE),
      body: (asm) => asm.mov(ds, ax),
      show: [...registers("eax"), pte0, pte1],
    },
    {
      name: "setting a descriptor's accessed bit on a read-only page",
      level: 3,
      setup(asm) {
        defineDescriptor(asm, SELECTOR.FREE, segment({ access: access(TYPE.DATA_RW, 3) }));
        asm.mov(esi, AT.GDT).mov(edi, AT.FRAMES).mov(ecx, GDT_ENTRIES * 2).rep().movsd();
        twoPages(0, PAGE.P)(asm);
        asm.mov(mem16(AT.FRAMES + 0xf00), GDT_LIMIT).mov(mem32(AT.FRAMES + 0xf02), AT.WINDOW);
        asm.lgdt(mem(AT.FRAMES + 0xf00));
      },
      body: (asm) => asm.mov(ax, SELECTOR.FREE | 3).mov(fs, ax),
      show: [word("fs", addr("saved.fs"), 0xffff), word("descriptor", AT.FRAMES + SELECTOR.FREE + 4), pte0],
    },
  ];
}
