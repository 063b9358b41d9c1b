// The torture guest's harness: runs one case after the other, each in an environment set up anew, and prints a line for each.
// Every exception and interrupt is reported as `vector:error@cs+offset/eflags,ss:esp`, the offset from the case's first
// instruction (`=` an address elsewhere), page faults with CR2; then the case's own observations. A case ends with an
// exception that it does not say to return from, or with the INT that follows its body.

import {
  addr,
  al,
  Assembler,
  ax,
  bl,
  bx,
  cl,
  cr0,
  cr2,
  cr3,
  cr4,
  cs,
  ds,
  dx,
  eax,
  ebp,
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
  type Immediate,
  mem,
  mem16,
  mem32,
  mem8,
  near,
  type SegmentRegister,
  ss,
} from "../../../guests/assembler/mod.ts";
import type { GuestImage } from "../../../guests/guest.ts";
import { DEBUG_EXIT_PORT, PIC, UART } from "../../../guests/hardware.ts";
import {
  access,
  AT,
  CODE_OF,
  CR0,
  DATA_OF,
  DESCRIPTOR_BYTES,
  FLAG,
  FRAMES_ZEROED,
  GATES,
  GDT_ENTRIES,
  GDT_LIMIT,
  IDT_LIMIT,
  LDT_LIMIT,
  PAGE,
  PAGE_BYTES,
  segment,
  SELECTOR,
  TSS,
  TSS16,
  TSS16_LIMIT,
  TSS_LIMIT,
  TYPE,
  VECTOR,
  WITH_ERROR_CODE,
} from "./layout.ts";

/** A value printed at the end of a case: a 32-bit word of memory, masked. */
export interface Observation {
  readonly label: string;
  readonly address: Immediate;
  readonly mask?: number;
}

/** One case: a line of the output. */
export interface TortureCase {
  readonly name: string;
  /** Prepares the environment, at CPL 0 with flat segments; may clobber all registers but ESP. */
  readonly setup?: (asm: Assembler) => unknown;
  /** Runs just before the body, at the case's level, with registers set to their patterns. */
  readonly before?: (asm: Assembler) => unknown;
  /** What is tested. Offsets are reported from its first byte. */
  readonly body: (asm: Assembler) => unknown;
  /** Privilege level of `before` and `body`; 0 by default. */
  readonly level?: 0 | 1 | 2 | 3;
  /** EFLAGS before the body, bit 1 added; clear by default. */
  readonly flags?: number;
  /** Vectors after whose report execution continues where the event was pushed. */
  readonly continues?: readonly number[];
  /** Runs in the handler after each report, at CPL 0 with flat segments; may clobber all registers but ESP. */
  readonly hook?: (asm: Assembler) => unknown;
  /** What offsets are reported from, where that is not the body's first byte. */
  readonly origin?: Immediate;
  /** Code and data elsewhere that the case needs. */
  readonly routines?: (asm: Assembler) => unknown;
  readonly show?: readonly Observation[];
}

const REGISTERS = { edi, esi, ebp, esp, ebx, edx, ecx, eax } as const;
/** Order in which POPA takes registers from memory. */
const POPA_ORDER = ["edi", "esi", "ebp", "esp", "ebx", "edx", "ecx", "eax"] as const;
type RegisterName = keyof typeof REGISTERS;

/** What each general register holds when a case's `before` or body starts. */
export const PATTERN: Readonly<Record<RegisterName, number>> = {
  edi: 0x7d7d_7d7d,
  esi: 0x6c6c_6c6c,
  ebp: 0x5b5b_5b5b,
  esp: AT.CASE_STACK,
  ebx: 0x4b4b_4b4b,
  edx: 0x3d3d_3d3d,
  ecx: 0x2c2c_2c2c,
  eax: 0x1a1a_1a1a,
};

/** Registers as the last event found them. */
export function registers(...names: readonly (RegisterName | "ds" | "es" | "fs" | "gs")[]): Observation[] {
  return names.map((name) => ({ label: name, address: addr(`saved.${name}`) }));
}

/** A word of memory. */
export function word(label: string, address: Immediate, mask?: number): Observation {
  return { label, address, mask };
}

/** Assembles the cases of one section. Throws where two have the same name. */
export function buildCases(cases: readonly TortureCase[]): GuestImage {
  const asm = new Assembler({ origin: AT.IMAGE });
  const names = new Set<string>();
  start(asm);
  for (const each of cases) {
    if (names.has(each.name)) throw new Error(`two torture cases are named "${each.name}"; expected one`);
    names.add(each.name);
    emitCase(asm, each);
  }
  finish(asm);
  routines(asm);
  const { bytes, origin, labels } = asm.assemble();
  if (origin + bytes.length > AT.GDT) throw new Error(`torture image of ${bytes.length} bytes runs into its tables`);
  return { loads: [{ address: origin, bytes }], entry: origin, mode: "protected", symbols: labels };
}

// What cases are written with.

/** Writes the two words of a GDT descriptor. */
export function defineDescriptor(asm: Assembler, selector: number, words: readonly [number, number]): void {
  asm.mov(mem32(AT.GDT + (selector & ~7)), words[0]).mov(mem32(AT.GDT + (selector & ~7) + 4), words[1]);
}

/** Sets a GDT descriptor's base to the address of a label; clobbers eax and edi. */
export function setBase(asm: Assembler, selector: number, base: Immediate): void {
  asm.mov(eax, base).mov(edi, AT.GDT + (selector & ~7)).call("setBase");
}

/** Writes a gate into the IDT, or into a GDT slot; clobbers eax, ecx and edi. */
export function defineGate(
  asm: Assembler,
  where: { readonly vector: number } | { readonly selector: number },
  gate: {
    readonly access: number;
    readonly selector: number;
    readonly offset: Immediate;
    readonly parameters?: number;
  },
): void {
  const at = "vector" in where ? AT.IDT + where.vector * DESCRIPTOR_BYTES : AT.GDT + (where.selector & ~7);
  asm.mov(edi, at).mov(eax, gate.offset).mov(ecx, gate.selector << 16);
  asm.mov(edx, (gate.access << 8) | (gate.parameters ?? 0)).call("writeGate");
}

/** Turns 32-bit paging on over the harness's tables; clobbers eax. The tables are built by `call buildTables` before. */
export function enablePaging(
  asm: Assembler,
  { cr0: cr0Bits = CR0.WP, cr4: cr4Bits = 0, directory = AT.PAGE_DIRECTORY }: {
    readonly cr0?: number;
    readonly cr4?: number;
    readonly directory?: number;
  } = {},
): void {
  asm.mov(eax, cr4Bits).mov(cr4, eax).mov(eax, directory).mov(cr3, eax);
  asm.mov(eax, cr0Bits | CR0.PG | CR0.ET | CR0.PE).mov(cr0, eax);
}

/** Loads data-segment registers from a selector; clobbers eax. */
export function loadDataSegments(asm: Assembler, selector: number, which: readonly SegmentRegister[]): void {
  asm.mov(eax, selector);
  for (const register of which) asm.mov(register, ax);
}

// One case.

function emitCase(asm: Assembler, each: TortureCase): void {
  const { name, level = 0, flags = 0, continues = [], show = [] } = each;
  const label = asm.uniqueLabel("case");
  const body = `${label}.body`, end = `${label}.end`, hook = `${label}.hook`;
  const data = (suffix: string, emit: () => void) => {
    asm.section("data", () => {
      asm.label(`${label}.${suffix}`);
      emit();
    });
    return addr(`${label}.${suffix}`);
  };
  asm.mov(esi, data("name", () => asm.string(name).db(0))).call("beginCase");
  each.setup?.(asm);
  asm.mov(mem32(addr("resumeEip")), addr(end)).mov(mem32(addr("origin")), each.origin ?? addr(body));
  for (const vector of continues) asm.mov(mem8(addr("continues", vector)), 1);
  if (each.hook !== undefined) asm.mov(mem32(addr("hook")), addr(hook));
  if (level === 0) {
    asm.mov(esp, addr("patterns")).popad().mov(esp, AT.CASE_STACK);
    asm.push(flags | FLAG.FIXED).popf();
  } else {
    loadDataSegments(asm, DATA_OF[level], [ds, es, fs, gs]);
    asm.mov(esp, addr("patterns")).popad().mov(esp, AT.CASE_STACK);
    asm.push(DATA_OF[level]).push(AT.RING_STACK[level]).push(flags | FLAG.FIXED).push(CODE_OF[level]);
    asm.push(addr(`${label}.before`)).iretd().label(`${label}.before`);
  }
  each.before?.(asm);
  asm.label(body);
  each.body(asm);
  asm.bits(32).int(VECTOR.END).label(end);
  asm.mov(
    esi,
    data("show", () => {
      for (const { label: text, address, mask = 0xffff_ffff } of show) {
        const shown = asm.uniqueLabel("shown");
        asm.section("texts", () => asm.label(shown).string(text).db(0));
        asm.dd(addr(shown), address, mask);
      }
      asm.dd(0);
    }),
  ).call("endCase");
  if (each.hook !== undefined) {
    const { hook: emitHook } = each;
    asm.section("routines", () => {
      asm.label(hook);
      emitHook(asm);
      asm.ret();
    });
  }
  if (each.routines !== undefined) {
    const { routines: emitRoutines } = each;
    asm.section("routines", () => emitRoutines(asm));
  }
}

/** Start-up: interrupt controllers masked, serial port set, nothing else assumed but flat segments. */
function start(asm: Assembler): void {
  asm.cli().cld().mov(esp, AT.HARNESS_STACK);
  asm.mov(al, 0xff).out(PIC.MASTER_DATA, al).out(PIC.SLAVE_DATA, al);
  // The fastest rate, because Bochs takes its time: divisor 1.
  asm.mov(dx, UART.LCR).mov(al, LCR_DIVISOR_LATCH).out(dx, al).mov(dx, UART.THR).mov(al, 1).out(dx, al);
  asm.mov(dx, UART.LCR).mov(al, UART.LCR_8N1).out(dx, al);
  // The descriptors are in place before the first case asks for them.
  asm.call("writeTables").lgdt(mem(addr("gdtPointer"))).jmpFar(far(SELECTOR.CODE, addr("started")));
  asm.label("started").lidt(mem(addr("idtPointer")));
}

const LCR_DIVISOR_LATCH = 0x80;

function finish(asm: Assembler): void {
  asm.mov(esi, addr("theEnd")).call("printString");
  // The last characters leave the transmitter before the machine ends.
  asm.mov(dx, UART.LSR).label("finish.drain").in(al, dx).test(al, LSR_TEMT).jz("finish.drain");
  asm.xor(eax, eax).out(DEBUG_EXIT_PORT, al);
  // Bochs ends when it reads this word from its own port.
  asm.mov(dx, BOCHS_PORT);
  for (const letter of "Shutdown") asm.mov(al, letter.charCodeAt(0)).out(dx, al);
  asm.label("off").cli().hlt().jmp("off");
  asm.section("data", () => asm.label("theEnd").string("end\n").db(0));
}

const BOCHS_PORT = 0x8900;
/** LSR: transmitter empty, its shift register too. */
const LSR_TEMT = 0x40;

function routines(asm: Assembler): void {
  asm.section("routines");
  printing(asm);
  environment(asm);
  caseFrame(asm);
  pageTables(asm);
  handlers(asm);
  variables(asm);
}

function printing(asm: Assembler): void {
  asm.align(16).label("putChar").push(edx).push(eax).mov(dx, UART.LSR).label("putChar.wait");
  asm.in(al, dx).test(al, UART.LSR_THRE).jz("putChar.wait");
  asm.pop(eax).mov(dx, UART.THR).out(dx, al).pop(edx).ret();

  // printString: the text at esi, up to a zero byte.
  asm.align(16).label("printString").push(eax).push(esi).label("printString.next");
  asm.mov(al, mem8(esi)).inc(esi).test(al, al).jz("printString.done").call("putChar").jmp("printString.next");
  asm.label("printString.done").pop(esi).pop(eax).ret();

  // printNumber: eax in hexadecimal without leading zeros.
  asm.align(16).label("printNumber").pushad().mov(ebx, eax).mov(ecx, 28).label("printNumber.skip");
  asm.mov(eax, ebx).shr(eax, cl).test(eax, eax).jnz("printNumber.digit").sub(ecx, 4).jns("printNumber.skip");
  asm.xor(ecx, ecx).label("printNumber.digit").mov(eax, ebx).shr(eax, cl).and(eax, 0xf);
  asm.mov(al, mem8(eax, { disp: addr("digits") })).call("putChar").sub(ecx, 4).jns("printNumber.digit").popad().ret();

  // printInline: the character at the return address, then on.
  asm.align(16).label("printInline").xchg(esi, mem32(esp)).push(eax).mov(al, mem8(esi)).inc(esi).call("putChar");
  asm.pop(eax).xchg(esi, mem32(esp)).ret();
  asm.section("data", () => asm.label("digits").string("0123456789abcdef"));
}

function printCharacter(asm: Assembler, character: string): void {
  asm.call("printInline").string(character);
}

/** Writes GDT, IDT, LDT, TSSs from their templates and zeroes the frames. */
function environment(asm: Assembler): void {
  asm.align(16).label("writeTables").cld();
  asm.mov(esi, addr("gdtTemplate")).mov(edi, AT.GDT).mov(ecx, GDT_ENTRIES * 2).rep().movsd();
  asm.mov(eax, addr("gate16")).mov(edi, AT.GDT + SELECTOR.GATE16_CODE).call("setBase");
  // Interrupt gates to the stubs, which lie 16 bytes apart; what is beyond has no gates.
  asm.mov(edi, AT.IDT).mov(eax, addr("stubs")).mov(edx, addr("gateAccess")).label("writeTables.gate");
  asm.mov(ebx, eax).and(ebx, 0xffff).or(ebx, SELECTOR.CODE << 16).mov(mem(edi), ebx);
  asm.mov(ebx, eax).mov(bl, 0).mov(mem(edi, { disp: 4 }), ebx);
  asm.mov(bl, mem8(edx)).mov(mem8(edi, { disp: 4 }), 0).mov(mem8(edi, { disp: 5 }), bl);
  asm.mov(ebx, eax).shr(ebx, 16).mov(mem16(edi, { disp: 6 }), bx);
  asm.add(edi, DESCRIPTOR_BYTES).add(eax, STUB_BYTES).inc(edx).cmp(edi, AT.IDT + GATES * DESCRIPTOR_BYTES);
  asm.jb("writeTables.gate").xor(eax, eax).mov(ecx, (256 - GATES) * 2).rep().stosd();
  asm.mov(edi, AT.TSS).mov(ecx, 0x80 / 4).rep().stosd().mov(edi, AT.TSS16).mov(ecx, 0x40 / 4).rep().stosd();
  for (const level of [0, 1, 2] as const) {
    asm.mov(mem32(AT.TSS + TSS.ESP0 + level * 8), AT.RING_STACK[level]);
    asm.mov(mem32(AT.TSS + TSS.SS0 + level * 8), DATA_OF[level]);
  }
  asm.mov(mem16(AT.TSS + TSS.IO_MAP_BASE), TSS_LIMIT + 1);
  asm.mov(mem16(AT.TSS16 + TSS16.SP0), AT.LOW_DATA & 0xffff).mov(mem16(AT.TSS16 + TSS16.SS0), SELECTOR.DATA16);
  asm.mov(edi, AT.LDT).mov(esi, addr("ldtTemplate")).mov(ecx, (LDT_LIMIT + 1) / 4).rep().movsd();
  asm.mov(edi, AT.FRAMES).xor(eax, eax).mov(ecx, FRAMES_ZEROED * PAGE_BYTES / 4).rep().stosd();
  for (const top of [AT.CASE_STACK, ...AT.RING_STACK]) asm.mov(edi, top - 0x80).mov(ecx, 0x100 / 4).rep().stosd();
  asm.ret();

  // setBase: the base of the descriptor at edi becomes eax.
  asm.align(16).label("setBase").mov(mem16(edi, { disp: 2 }), ax).shr(eax, 16).mov(mem8(edi, { disp: 4 }), al);
  asm.shr(eax, 8).mov(mem8(edi, { disp: 7 }), al).ret();

  // writeGate: a gate at edi to offset eax, the selector in ecx's upper half, access and parameters in edx.
  asm.align(16).label("writeGate").mov(ebx, eax).and(ebx, 0xffff).or(ebx, ecx).mov(mem(edi), ebx);
  asm.and(eax, 0xffff_0000).or(eax, edx).mov(mem(edi, { disp: 4 }), eax).ret();

  asm.section("data", () => {
    asm.align(8).label("gdtTemplate");
    for (const words of gdtTemplate()) asm.dd(...words);
    asm.label("ldtTemplate");
    for (const words of ldtTemplate) asm.dd(...words);
    asm.label("gateAccess").bytes(Array.from({ length: GATES }, (_, vector) => gateAccess(vector)));
    asm.align(4).label("gdtPointer").dw(GDT_LIMIT).dd(AT.GDT);
    asm.align(4).label("idtPointer").dw(IDT_LIMIT).dd(AT.IDT);
  });
}

function gateAccess(vector: number): number {
  const open = vector === VECTOR.BP || vector === VECTOR.OF || (vector >= VECTOR.END && vector < VECTOR.KERNEL);
  return access(TYPE.INTERRUPT_GATE32, open ? 3 : 0);
}

function gdtTemplate(): [number, number][] {
  const table: [number, number][] = Array.from({ length: GDT_ENTRIES }, () => [0, 0]);
  const set = (selector: number, words: [number, number]) => (table[selector >> 3] = words);
  const accessed = (type: number, dpl: number) => access(type | 1, dpl);
  for (const level of [0, 1, 2, 3] as const) {
    set(CODE_OF[level], segment({ access: accessed(TYPE.CODE_XR, level) }));
    set(DATA_OF[level], segment({ access: accessed(TYPE.DATA_RW, level) }));
  }
  set(SELECTOR.TSS, segment({ base: AT.TSS, limit: TSS_LIMIT, access: access(TYPE.TSS32), big: false }));
  set(SELECTOR.LDT, segment({ base: AT.LDT, limit: LDT_LIMIT, access: access(TYPE.LDT), big: false }));
  set(SELECTOR.TSS16, segment({ base: AT.TSS16, limit: TSS16_LIMIT, access: access(TYPE.TSS16), big: false }));
  set(SELECTOR.GATE16_CODE, segment({ access: accessed(TYPE.CODE_XR, 0) }));
  set(SELECTOR.CONFORMING, segment({ access: accessed(TYPE.CODE_XR_CONFORMING, 0) }));
  set(SELECTOR.CODE16, segment({ limit: 0xffff, access: accessed(TYPE.CODE_XR, 0), big: false }));
  set(SELECTOR.DATA16, segment({ limit: 0xffff, access: accessed(TYPE.DATA_RW, 0), big: false }));
  return table;
}

/** The LDT: flat data of ring 3, flat code of ring 3, data that is not present, data of 16 bytes. */
const ldtTemplate = [
  segment({ access: access(TYPE.DATA_RW, 3) }),
  segment({ access: access(TYPE.CODE_XR, 3) }),
  segment({ access: access(TYPE.DATA_RW, 3) & ~0x80 }),
  segment({ base: AT.FRAMES, limit: 0xf, access: access(TYPE.DATA_RW, 3) }),
];

function caseFrame(asm: Assembler): void {
  // beginCase: prints the name at esi and sets the environment up anew.
  asm.align(16).label("beginCase").call("printString").call("writeTables");
  asm.xor(eax, eax).mov(cr2, eax).lldt(ax).mov(mem32(addr("hook")), eax).mov(mem32(addr("events")), eax);
  asm.mov(edi, addr("continues")).mov(ecx, 256 / 4).rep().stosd();
  asm.mov(edi, addr("saved.edi")).mov(ecx, SAVED.length).rep().stosd();
  asm.mov(eax, SELECTOR.TSS).ltr(ax).ret();

  // endCase: everything the case may have changed goes back, then its observations are printed.
  asm.align(16).label("endCase").mov(eax, CR0.PE | CR0.ET).mov(cr0, eax).xor(eax, eax).mov(cr3, eax).mov(cr4, eax);
  asm.push(FLAG.FIXED).popf().lgdt(mem(addr("gdtPointer"))).lidt(mem(addr("idtPointer")));
  asm.mov(ebx, esi).label("endCase.next").mov(esi, mem(ebx)).test(esi, esi).jz("endCase.done");
  printCharacter(asm, " ");
  asm.call("printString");
  printCharacter(asm, "=");
  asm.mov(esi, mem(ebx, { disp: 4 })).mov(eax, mem(esi)).and(eax, mem(ebx, { disp: 8 })).call("printNumber");
  asm.add(ebx, 12).jmp("endCase.next").label("endCase.done");
  printCharacter(asm, "\n");
  asm.ret();
}

/** buildTables: the first 4 MiB mapped to themselves for all, the window's pages to FRAMES, all entries accessed and dirty. */
function pageTables(asm: Assembler): void {
  const open = PAGE.P | PAGE.RW | PAGE.US | PAGE.A | PAGE.D;
  asm.align(16).label("buildTables").mov(edi, AT.PAGE_DIRECTORY).xor(eax, eax).mov(ecx, PAGE_BYTES / 4).rep().stosd();
  asm.mov(edi, AT.WINDOW_TABLE).mov(ecx, PAGE_BYTES / 4).rep().stosd();
  asm.mov(mem32(AT.PAGE_DIRECTORY), AT.IDENTITY_TABLE | open);
  asm.mov(mem32(AT.PAGE_DIRECTORY + 4), AT.WINDOW_TABLE | PAGE.P | PAGE.RW | PAGE.US);
  asm.mov(edi, AT.IDENTITY_TABLE).mov(eax, open).label("buildTables.page").mov(mem(edi), eax);
  asm.add(eax, PAGE_BYTES).add(edi, 4).cmp(edi, AT.IDENTITY_TABLE + PAGE_BYTES).jb("buildTables.page").ret();
  // buildPaeTables: the same with PAE, the first 4 MiB by two large pages.
  asm.align(16).label("buildPaeTables").mov(edi, AT.PAE_POINTERS).xor(eax, eax);
  asm.mov(ecx, 3 * PAGE_BYTES / 4).rep().stosd();
  asm.mov(mem32(AT.PAE_POINTERS), AT.PAE_DIRECTORY | PAGE.P);
  asm.mov(mem32(AT.PAE_DIRECTORY), open | PAGE.PS).mov(mem32(AT.PAE_DIRECTORY + 8), 0x20_0000 | open | PAGE.PS);
  asm.mov(mem32(AT.PAE_DIRECTORY + 16), AT.PAE_WINDOW_TABLE | PAGE.P | PAGE.RW | PAGE.US).ret();
}

const STUB_BYTES = 16;
/** More events than any case means to have: the next one ends it. */
const MOST_EVENTS = 24;

function handlers(asm: Assembler): void {
  asm.align(STUB_BYTES).label("stubs");
  for (let vector = 0; vector < GATES; vector++) {
    asm.align(STUB_BYTES);
    if (!WITH_ERROR_CODE.has(vector)) asm.push(0);
    asm.push(vector).jmp(near("event"));
  }

  // event: the stack has vector, error code and the processor's frame of 32-bit words. Nothing may be assumed of the data
  // segments, nor of the stack but that it has room.
  asm.align(16).label("event").push(ds);
  saveRegisters(asm);
  asm.mov(eax, mem(esi, { segment: ss })).mov(mem(addr("saved.ds")), ax);
  for (const [i, name] of ["vector", "error", "eip", "cs", "eflags"].entries()) {
    asm.mov(eax, mem(esi, { disp: 4 + 4 * i, segment: ss })).mov(mem(addr(`saved.${name}`)), eax);
  }
  asm.lea(eax, mem(esi, { disp: 24 })).mov(mem(addr("saved.oldEsp")), eax).mov(eax, ss);
  asm.mov(mem16(addr("saved.oldSs")), ax);
  asm.test(mem8(addr("saved.cs")), 3).jz("report");
  asm.mov(eax, mem(esi, { disp: 24, segment: ss })).mov(mem(addr("saved.oldEsp")), eax);
  asm.mov(eax, mem(esi, { disp: 28, segment: ss })).mov(mem16(addr("saved.oldSs")), ax).jmp("report");

  sixteenBitHandlers(asm);
  report(asm);
}

/** Saves the registers, DS having been pushed; leaves the offset of the stack's top in esi. */
function saveRegisters(asm: Assembler): void {
  asm.mov(ds, mem16(addr("flatSelector"), { segment: cs }));
  for (const name of POPA_ORDER) asm.mov(mem32(addr(`saved.${name}`)), REGISTERS[name]);
  for (const [name, register] of Object.entries({ es, fs, gs, ss })) asm.mov(mem16(addr(`saved.${name}`)), register);
  const label = asm.uniqueLabel("bigStack");
  asm.cld().mov(esi, esp).mov(eax, ss).lar(ecx, eax).test(ecx, STACK_BIG).jnz(label).and(esi, 0xffff).label(label);
}

/** SS.B as LAR returns it. */
const STACK_BIG = 1 << 22;

/** What 16-bit gates lead to: frames of 16-bit words, reported as vectors f1 (no error code) and f2 (with one). */
function sixteenBitHandlers(asm: Assembler): void {
  asm.align(16).label("gate16").jmpFar(far(SELECTOR.CODE, addr("event16"))).align(16);
  asm.jmpFar(far(SELECTOR.CODE, addr("event16.error"))).align(16);
  for (const [label, vector, errorBytes] of [["event16", 0xf1, 0], ["event16.error", 0xf2, 2]] as const) {
    asm.align(16).label(label).push(ds);
    saveRegisters(asm);
    asm.mov(eax, mem(esi, { segment: ss })).mov(mem16(addr("saved.ds")), ax);
    asm.mov(mem32(addr("saved.vector")), vector).mov(mem32(addr("saved.error")), 0);
    if (errorBytes > 0) {
      asm.movzx(eax, mem16(esi, { disp: 4, segment: ss })).mov(mem(addr("saved.error")), eax).add(esi, errorBytes);
    }
    asm.call("frame16").jmp("report");
  }
  asm.align(16).label("frame16");
  for (const [i, name] of ["eip", "cs", "eflags"].entries()) {
    asm.movzx(eax, mem16(esi, { disp: 4 + 2 * i, segment: ss })).mov(mem(addr(`saved.${name}`)), eax);
  }
  asm.lea(eax, mem(esi, { disp: 10 })).mov(mem(addr("saved.oldEsp")), eax).mov(eax, ss);
  asm.mov(mem16(addr("saved.oldSs")), ax).test(mem8(addr("saved.cs")), 3).jz("frame16.same");
  asm.movzx(eax, mem16(esi, { disp: 10, segment: ss })).mov(mem(addr("saved.oldEsp")), eax);
  asm.mov(eax, mem(esi, { disp: 12, segment: ss })).mov(mem16(addr("saved.oldSs")), ax);
  asm.label("frame16.same").ret();
}

/** What `report` does not return from with 16-bit frames: their vectors. */
const FIRST_16_BIT = 0xf0;

function report(asm: Assembler): void {
  const flat = [ss, es, fs, gs];
  asm.align(16).label("report");
  loadDataSegments(asm, SELECTOR.DATA, flat);
  asm.mov(esp, AT.HARNESS_STACK - 0x800);
  printCharacter(asm, " ");
  for (const [name, after] of [["vector", ":"], ["error", "@"], ["cs", ""]] as const) {
    asm.mov(eax, mem32(addr(`saved.${name}`))).call("printNumber");
    if (after !== "") printCharacter(asm, after);
  }
  asm.mov(eax, mem(addr("saved.eip"))).sub(eax, mem(addr("origin"))).cmp(eax, NEAR_BYTES).jb("report.near");
  printCharacter(asm, "=");
  asm.mov(eax, mem(addr("saved.eip"))).call("printNumber").jmp("report.flags").label("report.near");
  printCharacter(asm, "+");
  asm.call("printNumber").label("report.flags");
  printCharacter(asm, "/");
  // RF has cases of its own: QEMU does not push it with faults, and every line would differ.
  asm.mov(eax, mem(addr("saved.eflags"))).and(eax, ~FLAG.RF).call("printNumber");
  printCharacter(asm, ",");
  asm.movzx(eax, mem16(addr("saved.oldSs"))).call("printNumber");
  printCharacter(asm, ":");
  asm.mov(eax, mem(addr("saved.oldEsp"))).call("printNumber");
  asm.cmp(mem32(addr("saved.vector")), VECTOR.PF).jne("report.told");
  printCharacter(asm, "[");
  asm.mov(eax, cr2).call("printNumber");
  printCharacter(asm, "]");
  asm.label("report.told").mov(eax, mem(addr("hook"))).test(eax, eax).jz("report.hooked").call(eax);
  asm.label("report.hooked").inc(mem32(addr("events"))).cmp(mem32(addr("events")), MOST_EVENTS).ja("report.abort");
  asm.mov(eax, mem(addr("saved.vector"))).cmp(eax, FIRST_16_BIT).jae("report.abort");
  asm.cmp(mem8(eax, { disp: addr("continues") }), 0).jne("report.continue");
  asm.label("report.abort").mov(esp, AT.HARNESS_STACK).jmp(mem32(addr("resumeEip")));

  asm.label("report.continue");
  for (const [name, register] of Object.entries({ es, fs, gs })) asm.mov(register, mem16(addr(`saved.${name}`)));
  for (const name of POPA_ORDER) if (name !== "esp") asm.mov(REGISTERS[name], mem32(addr(`saved.${name}`)));
  asm.lss(esp, mem(addr("saved.esp"))).pop(ds).lea(esp, mem(esp, { disp: 8 })).iretd();
}

/** Offsets from a case's origin below this are told as such. */
const NEAR_BYTES = 0x800;

/** The handler's variables; SS follows ESP for LSS. */
const SAVED = [
  ...["edi", "esi", "ebp", "ebx", "edx", "ecx", "eax", "esp", "ss", "ds", "es", "fs", "gs"],
  ...["vector", "error", "eip", "cs", "eflags", "oldEsp", "oldSs"],
];

function variables(asm: Assembler): void {
  asm.section("data").align(4);
  for (const name of SAVED) asm.label(`saved.${name}`).dd(0);
  for (const name of ["resumeEip", "origin", "hook", "events"]) asm.label(name).dd(0);
  asm.label("flatSelector").dd(SELECTOR.DATA);
  asm.label("continues").zeros(256);
  asm.label("patterns").dd(...POPA_ORDER.map((name) => PATTERN[name]));
}
