// Real mode, entered from protected mode and left again: delivery through the vector table, 64 KiB limits, segments as real
// mode loads them, and segments that keep what protected mode gave them (Intel SDM volume 3A, sections 9.9 and 20.1).
//
// The cases' code is an image of its own below 1 MiB. Its handlers note vector, frame and registers at NOTE and go back to
// protected mode, where the case ends with the usual INT and shows the note.

import {
  addr,
  al,
  Assembler,
  ax,
  bp,
  bx,
  cr0,
  cs,
  cx,
  di,
  ds,
  eax,
  ebx,
  ecx,
  edi,
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
import type { GuestImage } from "../../../guests/guest.ts";
import { buildCases, defineDescriptor, type TortureCase, word } from "./harness.ts";
import { access, AT, CR0, FLAG, segment, SELECTOR, TYPE, VECTOR } from "./layout.ts";

const CODE_SEGMENT = AT.LOW_CODE >> 4, DATA_SEGMENT = AT.LOW_DATA >> 4;
const LOW_CODE16 = SELECTOR.FREE;
/** The note's offset in the code segment, its words, and where the address to go back to lies. */
const NOTE = 0xf000, BACK = 0xf040;
const noteWords = ["vector", "ip", "cs", "flags", "sp", "ss", "ds", "ax", "bx", "cx", "si", "di", "after"] as const;
const noteAt = (name: typeof noteWords[number]) => NOTE + 4 * noteWords.indexOf(name);
const STACK_TOP = 0x7000;
const VECTORS = 0x60;
const SMALL_STACK = 0x30_0000;

type Body = (asm: Assembler) => unknown;

interface RealCase {
  readonly name: string;
  readonly body: Body;
  /** FLAGS before the body. */
  readonly flags?: number;
  /** Data segments of 4 GiB in protected mode before the switch, which real mode keeps. */
  readonly unreal?: boolean;
  /** Limit of the vector table. */
  readonly idtLimit?: number;
  /** Runs in protected mode, flat, before the switch. */
  readonly setup?: Body;
  /** Words of memory to show besides the note. */
  readonly shown?: readonly number[];
}

const cases: readonly RealCase[] = [
  { name: "int pushes flags, CS and IP", flags: FLAG.IF | FLAG.CF, body: (asm) => asm.int(VECTOR.USER) },
  { name: "int3", body: (asm) => asm.int3() },
  { name: "into", flags: FLAG.OF, body: (asm) => asm.into() },
  { name: "div by zero", body: (asm) => asm.mov(bx, 0).div(bx) },
  { name: "bound", body: (asm) => asm.mov(ax, 5).bound(ax, mem(0x100)) },
  { name: "ud2", body: (asm) => asm.ud2() },
  { name: "aam 0", body: (asm) => asm.aam(0) },
  { name: "arpl", body: (asm) => asm.arpl(ax, bx) },
  { name: "lar", body: (asm) => asm.lar(ax, bx) },
  { name: "verr", body: (asm) => asm.verr(ax) },
  { name: "sldt", body: (asm) => asm.sldt(ax) },
  { name: "lldt", body: (asm) => asm.lldt(ax) },
  { name: "ltr", body: (asm) => asm.ltr(ax) },
  { name: "sysenter", body: (asm) => asm.sysenter() },
  { name: "sysexit", body: (asm) => asm.sysexit() },
  { name: "smsw", body: (asm) => asm.smsw(ax).and(ax, 1) },
  { name: "lmsw of 0 stays", body: (asm) => asm.mov(ax, 0).lmsw(ax).smsw(bx).and(bx, 0xf) },
  { name: "mov from cr0", body: (asm) => asm.mov(eax, cr0).and(eax, 1) },
  { name: "lock nop", body: (asm) => asm.lock().nop() },
  { name: "mov cs", body: (asm) => asm.bytes([0x8e, 0xc8]) },
  { name: "byte at ffff", body: (asm) => asm.mov(al, mem8(0xffff)) },
  { name: "word at ffff", body: (asm) => asm.mov(ax, mem16(0xffff)) },
  { name: "word at fffe", body: (asm) => asm.mov(ax, mem16(0xfffe)) },
  { name: "double word at fffd", body: (asm) => asm.mov(eax, mem32(0xfffd)) },
  { name: "word at ffff of ss", body: (asm) => asm.mov(ax, mem16(0xffff, { segment: ss })) },
  {
    name: "write to cs",
    body: (asm) => asm.mov(mem16(0xe000, { segment: cs }), 5).mov(bx, mem16(0xe000, { segment: cs })),
  },
  { name: "32-bit address beyond 64K", body: (asm) => asm.mov(ebx, 0x1_0000).mov(al, mem8(ebx)) },
  {
    name: "32-bit address of ss beyond 64K",
    body: (asm) => asm.mov(ebx, 0x1_0000).mov(al, mem8(ebx, { segment: ss })),
  },
  { name: "[bx+si] wraps", body: (asm) => asm.mov(bx, 0xfff0).mov(si, 0x110).mov(al, mem8(bx, { index: si })) },
  { name: "push at sp 0 wraps", body: (asm) => asm.mov(sp, 0).push(ax).mov(bx, sp).mov(sp, STACK_TOP) },
  { name: "pop at sp fffe wraps", body: (asm) => asm.mov(sp, 0xfffe).pop(ax).mov(bx, sp).mov(sp, STACK_TOP) },
  { name: "push keeps the upper half of ESP", body: (asm) => asm.mov(esp, 0x1234_6000).push(ax).mov(eax, esp) },
  { name: "pushad", body: (asm) => asm.pushad().pop(eax).mov(bx, sp) },
  { name: "popaw", body: (asm) => asm.push(1).push(2).push(3).push(4).push(5).push(6).push(7).push(8).popa() },
  { name: "pushf and popf", body: (asm) => asm.push(0x7ed7).popf().pushf().pop(ax) },
  { name: "pushfd and popfd", body: (asm) => asm.o32().push(0x0024_7ed7).popfd().pushfd().pop(eax) },
  { name: "enter and leave", body: (asm) => asm.enter(8, 2).mov(bx, sp).leave() },
  {
    name: "iret restores flags",
    body: (asm) => asm.push(0x0ed7).push(CODE_SEGMENT).push(addr("real.iret")).iret().label("real.iret"),
  },
  {
    name: "iretd beyond 64K",
    body: (asm) => asm.o32().push(2).o32().push(CODE_SEGMENT).o32().bytes([0x68, 0, 0, 1, 0]).iretd(),
  },
  {
    name: "far call and return",
    body: (asm) =>
      asm.callFar(far(CODE_SEGMENT, addr("real.called"), 16)).jmp("real.on").label("real.called").mov(bx, sp).retf()
        .label("real.on"),
  },
  {
    name: "far jump to another segment of the same code",
    body: (asm) =>
      asm.jmpFar(far(CODE_SEGMENT - 0x100, addr("real.shifted", 0x1000), 16)).label("real.shifted").mov(bx, cs),
  },
  { name: "far jump of 32 bits beyond 64K", body: (asm) => asm.jmpFar(far(CODE_SEGMENT, 0x1_0000, 32)) },
  { name: "near jump of 32 bits beyond 64K", body: (asm) => asm.mov(eax, 0x1_0000).jmp(eax) },
  { name: "retf n", body: (asm) => asm.push(1).push(CODE_SEGMENT).push(addr("real.retf")).retf(2).label("real.retf") },
  { name: "mov ds sets the base", body: (asm) => asm.mov(ax, 0).mov(ds, ax).mov(bx, mem16(VECTOR.USER * 4 + 2)) },
  { name: "lds and les", body: (asm) => asm.lds(bx, mem(0x104)).les(si, mem(0x104, { segment: cs })) },
  { name: "hma", body: (asm) => asm.mov(ax, 0xffff).mov(es, ax).mov(bx, mem16(0x10, { segment: es })).and(bx, 0) },
  { name: "rep movsb wraps si and di", body: (asm) => asm.mov(si, 0xfffe).mov(di, 0xfffd).mov(cx, 4).rep().movsb() },
  { name: "rep stosw over ffff", body: (asm) => asm.mov(di, 0xfffd).mov(cx, 3).rep().stosw() },
  { name: "a32 rep stosb beyond 64K", body: (asm) => asm.mov(edi, 0xfffe).mov(ecx, 4).a32().rep().stosb() },
  { name: "lodsd at fffc", body: (asm) => asm.mov(si, 0xfffc).lodsd() },
  { name: "xlat wraps", body: (asm) => asm.mov(bx, 0xffff).mov(al, 2).xlatb() },
  { name: "single step", body: (asm) => asm.push(FLAG.TF | FLAG.FIXED).popf().nop().nop() },
  { name: "int clears TF and IF", flags: FLAG.IF, body: (asm) => asm.int(VECTOR.USER) },
  { name: "int beyond the table's limit", idtLimit: 0x3f * 4 + 3, body: (asm) => asm.int(VECTOR.USER) },
  { name: "int at the table's limit", idtLimit: VECTOR.USER * 4 + 3, body: (asm) => asm.int(VECTOR.USER) },
  { name: "int whose vector crosses the limit", idtLimit: VECTOR.USER * 4 + 2, body: (asm) => asm.int(VECTOR.USER) },
  {
    name: "jump to ffff",
    body: (asm) => asm.mov(mem8(0xffff, { segment: cs }), 0xb8).mov(bx, 0xffff).jmp(bx),
  },
  {
    name: "one byte at ffff, then IP beyond",
    body: (asm) => asm.mov(mem8(0xffff, { segment: cs }), 0x90).mov(bx, 0xffff).jmp(bx),
  },
  {
    name: "unreal: beyond 64K through ds",
    unreal: true,
    setup: (asm) => asm.mov(mem32(AT.FRAMES), 0x5566_7788),
    body: (asm) => asm.mov(ebx, AT.FRAMES - AT.LOW_DATA).mov(ax, mem16(ebx)),
  },
  {
    name: "unreal: a load of ds keeps its limit",
    unreal: true,
    setup: (asm) => asm.mov(mem32(AT.FRAMES), 0x5566_7788),
    body: (asm) => asm.mov(ax, 0).mov(ds, ax).mov(ebx, AT.FRAMES).mov(ax, mem16(ebx)),
  },
  {
    name: "unreal: rep stosd above 1 MiB",
    unreal: true,
    body: (asm) => asm.mov(edi, AT.FRAMES - AT.LOW_DATA).mov(ecx, 2).mov(eax, 0x1234_5678).a32().rep().stosd(),
    shown: [AT.FRAMES + 4],
  },
  {
    name: "unreal: word at ffff",
    unreal: true,
    body: (asm) => asm.mov(ax, mem16(0xffff)),
  },
  {
    name: "segments cached from protected mode",
    setup: (asm) => {
      defineDescriptor(
        asm,
        SELECTOR.FREE + 8,
        segment({ base: SMALL_STACK, limit: 0xff, access: access(TYPE.DATA_RW) }),
      );
      asm.mov(mem32(SMALL_STACK), 0x3344_5566).mov(eax, SELECTOR.FREE + 8).mov(gs, ax);
    },
    body: (asm) => asm.mov(ax, mem16(0, { segment: gs })).mov(bx, gs).mov(cx, mem16(0xff, { segment: gs })),
  },
  {
    name: "segments cached from protected mode, read-only",
    setup: (asm) => {
      defineDescriptor(
        asm,
        SELECTOR.FREE + 8,
        segment({ base: SMALL_STACK, limit: 0xff, access: access(TYPE.DATA_RO) }),
      );
      asm.mov(mem32(SMALL_STACK), 0x3344_5566).mov(eax, SELECTOR.FREE + 8).mov(gs, ax);
    },
    body: (asm) => asm.mov(ax, mem16(0, { segment: gs })),
  },
];

/** The section's image: the harness above 1 MiB, the cases' code below. */
export function buildRealMode(): GuestImage {
  const low = lowImage();
  const image = buildCases(cases.map((each, i): TortureCase => ({
    name: `real ${each.name}`,
    setup(asm) {
      each.setup?.(asm);
      prepare(asm, each);
    },
    body(asm) {
      asm.mov(eax, label(low, `case${i}`)).jmpFar(far(LOW_CODE16, label(low, "enter")));
      asm.label(`real.back.${i}`).mov(eax, SELECTOR.DATA);
      for (const register of [ds, es, fs, gs, ss]) asm.mov(register, ax);
      asm.mov(esp, AT.CASE_STACK).lidt(mem(addr("idtPointer")));
    },
    before: (asm) => asm.mov(mem32(AT.LOW_CODE + BACK), addr(`real.back.${i}`)),
    show: [
      ...noteWords.map((name) => word(name, AT.LOW_CODE + noteAt(name), wide.has(name) ? 0xffff_ffff : 0xffff)),
      ...(each.shown ?? []).map((address) => word("m", address)),
    ],
  })));
  return { ...image, loads: [...image.loads, { address: AT.LOW_CODE, bytes: low.bytes }] };
}

/** Registers noted in full. */
const wide: ReadonlySet<string> = new Set(["ax", "bx"]);

interface LowImage {
  readonly bytes: Uint8Array;
  readonly labels: ReadonlyMap<string, number>;
}

function label({ labels }: LowImage, name: string): number {
  const offset = labels.get(name);
  if (offset === undefined) throw new Error(`the low image has no label ${name}`);
  return offset;
}

/** In protected mode: the vector table, known data around the segment's ends, descriptors for the switch. */
function prepare(asm: Assembler, { unreal = false, idtLimit = 0x3ff, flags = 0 }: RealCase): void {
  defineDescriptor(
    asm,
    LOW_CODE16,
    segment({ base: AT.LOW_CODE, limit: 0xffff, access: access(TYPE.CODE_XR), big: false, pages: false }),
  );
  const data = unreal
    ? segment({ base: AT.LOW_DATA, access: access(TYPE.DATA_RW), big: false })
    : segment({ base: AT.LOW_DATA, limit: 0xffff, access: access(TYPE.DATA_RW), big: false, pages: false });
  defineDescriptor(asm, SELECTOR.FREE + 16, data);
  // The real-mode vector table at 0: stubs lie 8 bytes apart from offset 0 of the code segment.
  asm.xor(edi, edi).mov(eax, CODE_SEGMENT << 16).label(`real.vector.${prepared}`).mov(mem(edi), eax).add(eax, 8);
  asm.add(edi, 4).cmp(edi, VECTORS * 4).jb(`real.vector.${prepared++}`);
  asm.mov(edi, AT.LOW_CODE + NOTE).xor(eax, eax).mov(ecx, 20).rep().stosd();
  asm.mov(edi, AT.LOW_DATA).mov(ecx, 0x80).rep().stosd().mov(edi, AT.LOW_DATA + 0xff80).mov(ecx, 0x40).rep().stosd();
  asm.mov(mem32(AT.LOW_DATA), 0x0403_0201).mov(mem32(AT.LOW_DATA + 0xfffc), 0x8887_8685);
  asm.mov(mem32(AT.LOW_DATA + 0x100), 0x0009_0006).mov(mem32(AT.LOW_DATA + 0x104), 0x0777_0888);
  // What runs past the end of the code segment finds INT there.
  asm.mov(mem16(AT.LOW_DATA + 2), 0xcd | (VECTOR.USER << 8));
  asm.mov(mem16(AT.LOW_CODE + BACK + 4), SELECTOR.CODE).mov(mem16(AT.LOW_CODE + BACK + 8), idtLimit);
  asm.mov(mem32(AT.LOW_CODE + BACK + 10), 0).mov(mem16(AT.LOW_CODE + BACK + 16), flags | FLAG.FIXED);
}

let prepared = 0;

/** Handlers, the way into real mode and back, and the cases' code, all in one 64 KiB segment. */
function lowImage(): LowImage {
  const asm = new Assembler({ origin: 0, bits: 16 });
  for (let vector = 0; vector < VECTORS; vector++) asm.align(8).pushw(vector).jmp("note");
  asm.align(16).label("note");
  const at = (name: typeof noteWords[number]) => mem16(noteAt(name), { segment: cs });
  const at32 = (name: typeof noteWords[number]) => mem32(noteAt(name), { segment: cs });
  asm.mov(at32("ax"), eax).mov(at32("bx"), ebx).mov(at("cx"), cx).mov(at("si"), si).mov(at("di"), di);
  asm.mov(at("ds"), ds).pushf().pop(ax).mov(at("after"), ax);
  asm.pop(ax).mov(at("vector"), ax).pop(ax).mov(at("ip"), ax).pop(ax).mov(at("cs"), ax).pop(ax).mov(at("flags"), ax);
  asm.mov(at("sp"), sp).mov(at("ss"), ss).mov(eax, cr0).or(eax, CR0.PE).mov(cr0, eax);
  asm.jmpFar(mem(BACK, { size: 48, segment: cs }));

  // enter: in 16-bit protected mode, the case's offset in AX.
  asm.align(16).label("enter").mov(bx, SELECTOR.FREE + 16);
  for (const register of [ds, es, fs, ss]) asm.mov(register, bx);
  asm.lidt(mem(BACK + 8, { segment: cs })).mov(bx, ax).mov(eax, cr0).and(eax, ~CR0.PE).mov(cr0, eax);
  asm.jmpFar(far(CODE_SEGMENT, addr("real"), 16)).label("real");
  asm.mov(ax, DATA_SEGMENT);
  for (const register of [ds, es, fs, ss]) asm.mov(register, ax);
  asm.mov(esp, STACK_TOP).mov(di, bx).push(mem16(BACK + 16, { segment: cs })).popf();
  asm.mov(eax, 0x1a1a_1a1a).mov(ebx, 0x4b4b_4b4b).mov(ecx, 0x2c2c_2c2c).mov(esi, 0x6c6c_6c6c).mov(bp, 0x5b5b);
  asm.jmp(di);
  cases.forEach(({ body }, i) => {
    asm.align(16).label(`case${i}`);
    body(asm.bits(16));
    asm.bits(16).int(VECTOR.END);
  });
  const { bytes, labels } = asm.assemble();
  if (bytes.length > NOTE) throw new Error(`the low image of ${bytes.length} bytes runs into its note`);
  return { bytes, labels };
}
