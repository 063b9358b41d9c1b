// Guests that do one hostile thing for ever: flat protected-mode programs, interrupts off.

import {
  addr,
  al,
  Assembler,
  cr0,
  cr3,
  cr4,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  edx,
  esi,
  mem,
  mem32,
  mem8,
} from "../../guests/assembler/mod.ts";
import type { FlatImage } from "../../plugins/boot/mod.ts";

const ORIGIN = 0x10_0000, FREE = 0x20_0000, MEMORY_BYTES = 4 << 20, PAGE = 4096;
const SERIAL = 0x3f8, PIT_CONTROL = 0x43, PIT_COUNTER = 0x40, APIC = 0xfee0_0000;
const APIC_PRIORITY = APIC + 0x80,
  APIC_TIMER = APIC + 0x320,
  APIC_COUNT = APIC + 0x380,
  APIC_DIVIDE = APIC + 0x3e0,
  PERIODIC = 1 << 17;
const PAGE_DIRECTORY = 0x1_0000, PAGE_TABLE = 0x1_1000, ALL = 7;

function loop(write: (asm: Assembler) => void): FlatImage {
  const asm = new Assembler({ origin: ORIGIN, bits: 32 });
  write(asm);
  return { loads: [{ address: ORIGIN, bytes: asm.assemble().bytes }], entry: ORIGIN, mode: "protected" };
}

/** Identity paging of the guest's memory by one table. */
function paging(asm: Assembler): void {
  asm.mov(edi, PAGE_TABLE).mov(eax, ALL).mov(ecx, 1024);
  asm.label("entry").mov(mem32(edi), eax).add(eax, PAGE).add(edi, 4).dec(ecx).jnz("entry");
  asm.mov(mem32(PAGE_DIRECTORY), PAGE_TABLE | ALL).mov(eax, PAGE_DIRECTORY).mov(cr3, eax);
  asm.mov(eax, cr0).or(eax, 0x8000_0000).mov(cr0, eax);
}

export const hostileLoops = {
  /** Prints one endless line. */
  "floods the serial port": loop((asm) => {
    asm.mov(dx, SERIAL).mov(al, 0x41).label("again").out(dx, al).jmp("again");
  }),
  /** Arms the fastest timers there are, over and over, and lets them run. */
  "arms timers": loop((asm) => {
    asm.mov(mem32(APIC_DIVIDE), 0xb).mov(mem32(APIC_TIMER), PERIODIC | 0x40);
    asm.label("again").mov(mem32(APIC_COUNT), 1).mov(al, 0x34).out(PIT_CONTROL, al).mov(al, 2).out(PIT_COUNTER, al);
    asm.mov(al, 0).out(PIT_COUNTER, al).mov(ecx, 20).label("wait").dec(ecx).jnz("wait").jmp("again");
  }),
  /** Calls ever new code, often enough to have it translated: some at every 64 bytes, another constant each time round. */
  "makes code": loop((asm) => {
    asm.xor(ebx, ebx).label("again").mov(edi, FREE);
    // ADD EBX, EDX; RET, with the constant between.
    asm.label("place").mov(mem8(edi), 0xb8).mov(mem(edi, { disp: 1 }), ebx).mov(mem32(edi, { disp: 5 }), 0xc3da_0190);
    asm.mov(ecx, 120).label("call").call(edi).dec(ecx).jnz("call");
    asm.inc(ebx).add(edi, 64).cmp(edi, FREE + (1 << 20)).jb("place").jmp("again");
  }),
  /** Makes ever new instructions that store to a device, and runs each until it is translated and may be adapted. */
  "makes instructions trap": loop((asm) => {
    asm.label("again").mov(edi, FREE);
    // MOV [task priority], EAX; RET.
    asm.label("place").mov(mem8(edi), 0xa3).mov(mem32(edi, { disp: 1 }), APIC_PRIORITY).mov(
      mem8(edi, { disp: 5 }),
      0xc3,
    );
    asm.xor(eax, eax).mov(ecx, 140).label("call").call(edi).dec(ecx).jnz("call");
    asm.add(edi, 64).cmp(edi, FREE + (1 << 20)).jb("place").jmp("again");
  }),
  /** Writes to the code that it runs next, each time round. */
  "changes its code": loop((asm) => {
    asm.label("again").mov(mem8(addr("place")), al).db(0xb3).label("place").db(0).inc(eax).jmp("again");
  }),
  /** Changes page tables, flushes and touches, so that nothing stays translated. */
  "shoots translations down": loop((asm) => {
    paging(asm);
    asm.label("again").mov(esi, FREE);
    asm.label("page").mov(eax, esi).shr(eax, 12).mov(edx, mem32({ index: eax, scale: 4, disp: PAGE_TABLE }));
    asm.xor(edx, 0x200).mov(mem32({ index: eax, scale: 4, disp: PAGE_TABLE }), edx).invlpg(mem(esi));
    asm.inc(mem32(esi)).mov(eax, cr3).mov(cr3, eax).add(esi, PAGE).cmp(esi, MEMORY_BYTES).jb("page").jmp("again");
  }),
  /** Makes pages equal, so that they are shared, and different again. */
  "shares and breaks pages": loop((asm) => {
    asm.xor(ebx, ebx).label("again").inc(ebx).mov(edi, FREE);
    asm.label("page").mov(eax, ebx).shr(eax, 6).and(eax, 1).mov(mem32(edi), eax).add(edi, PAGE).cmp(edi, MEMORY_BYTES);
    asm.jb("page").jmp("again");
  }),
  /** Touches pages beyond its balloon's wish and memory that is not there. */
  "walks off its memory": loop((asm) => {
    asm.mov(eax, cr4).or(eax, 0x10).mov(cr4, eax).label("again").mov(esi, FREE);
    asm.label("page").inc(mem32(esi)).add(esi, PAGE - 4).jnz("page").jmp("again");
  }),
} as const satisfies Readonly<Record<string, FlatImage>>;
