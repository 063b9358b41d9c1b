// Guest `oscillator`: one instruction stores, for a while, where a hypervisor may have to be asked (an entry of a page table, a
// register of a device), and for as long in plain memory, by turns. What a policy that adapts instructions to what they access
// must not be driven round and round by (BT paper, 3.3).

import { type Assembler, cr0, cr3, eax, ebp, ebx, ecx, edi, edx, mem, mem32 } from "./assembler/mod.ts";
import { checks, checksum } from "./checks.ts";
import { defineGuest } from "./guest.ts";
import { CR0, LOCAL_APIC, PAGE, PAGE_SIZE } from "./hardware.ts";
import { buildProtected, FREE_MEMORY, print } from "./runtime.ts";

/** Physical layout: a directory, tables for the first 8 MiB as they are, for the window, and for the device; frames; a buffer. */
const DIRECTORY = FREE_MEMORY, IDENTITY_TABLES = DIRECTORY + PAGE_SIZE, IDENTITY_TABLE_COUNT = 2;
const WINDOW_TABLE = IDENTITY_TABLES + IDENTITY_TABLE_COUNT * PAGE_SIZE, DEVICE_TABLE = WINDOW_TABLE + PAGE_SIZE;
const TABLES_END = DEVICE_TABLE + PAGE_SIZE;
const FRAMES = 0x30_0000, BUFFER = 0x40_0000, BUFFER_WORDS = 1024;
/** Linear address of pages that show the frames in changing order. */
const WINDOW = 0x4000_0000, WINDOW_PAGES = 16;

const ENTRY_BYTES = 4, ENTRIES = PAGE_SIZE / ENTRY_BYTES, PAGE_SHIFT = Math.log2(PAGE_SIZE), DIRECTORY_SHIFT = 22;
const KERNEL = PAGE.PRESENT | PAGE.WRITABLE;
/** Spreads numbers over 32 bits. */
const FACTOR = 0x9e37_79b1;
/** Bits of the task priority that it holds. */
const PRIORITY_SHIFT = 4, PRIORITIES = 16;

/** What the instruction stores to in the first half of a swing. */
const TARGETS = { table: storeToTable, device: storeToDevice } as const;
type Target = keyof typeof TARGETS;

export const oscillator = defineGuest({
  name: "oscillator",
  summary: "one instruction that traps for a while and does not for as long, by turns",
  description:
    "Turns paging on. Each swing, the one store instruction at the label `store` changes entries of a page table, whose pages " +
    "are then read (or, with to=device, a register of the local APIC), and as often words of plain memory. " +
    "Prints `oscillator: N swings, checksum X`.",
  memoryMib: 8,
  options: {
    swings: { default: 100, min: 1, describe: "times that the instruction turns to traps and back" },
    accesses: { default: 10_000, min: 1, describe: "stores in each half of a swing" },
    to: { default: "table", describe: "what the first half stores to: table or device" },
  },
  build: ({ swings, accesses, to }) => {
    if (!isTarget(to)) throw new Error(`guest oscillator, option to: ${to}; expected table or device`);
    return buildProtected((asm) => {
      checks(asm, "oscillator");
      asm.section("routines", () => asm.align(16).label("store").mov(mem(edi), eax).ret());
      buildTables(asm);
      asm.mov(eax, DIRECTORY).mov(cr3, eax).mov(eax, cr0).or(eax, CR0.PG).mov(cr0, eax);
      markFrames(asm);
      asm.mov(ebp, swings).label("swing");
      repeat(asm, accesses, TARGETS[to]);
      repeat(asm, accesses, storeToMemory);
      asm.dec(ebp).jnz("swing");
      print(asm, "oscillator: ");
      asm.mov(eax, swings).call("printDecimal");
      print(asm, " swings, checksum ");
      asm.mov(eax, checksum).call("printHex");
      print(asm, "\n");
    });
  },
});

function isTarget(name: string): name is Target {
  return Object.hasOwn(TARGETS, name);
}

function buildTables(asm: Assembler): void {
  asm.mov(edi, DIRECTORY).mov(ecx, (TABLES_END - DIRECTORY) / ENTRY_BYTES).xor(eax, eax).rep().stosd();
  asm.mov(edi, IDENTITY_TABLES).mov(ecx, IDENTITY_TABLE_COUNT * ENTRIES).mov(eax, KERNEL);
  asm.label("identity").stosd().add(eax, PAGE_SIZE).loop("identity");
  const tables = [[0, IDENTITY_TABLES], [1 << DIRECTORY_SHIFT, IDENTITY_TABLES + PAGE_SIZE], [WINDOW, WINDOW_TABLE]];
  for (const [linear, table] of [...tables, [LOCAL_APIC.TASK_PRIORITY, DEVICE_TABLE]]) {
    asm.mov(mem32(DIRECTORY + (linear >>> DIRECTORY_SHIFT) * ENTRY_BYTES), table | KERNEL);
  }
  const devicePage = LOCAL_APIC.TASK_PRIORITY & -PAGE_SIZE;
  asm.mov(mem32(DEVICE_TABLE + (devicePage >>> PAGE_SHIFT & ENTRIES - 1) * ENTRY_BYTES), devicePage | KERNEL);
}

/** The first word of every frame tells which it is. */
function markFrames(asm: Assembler): void {
  for (let frame = 0; frame < WINDOW_PAGES; frame++) asm.mov(mem32(FRAMES + frame * PAGE_SIZE), markOf(frame));
}

function markOf(frame: number): number {
  return Math.imul(frame + 1, FACTOR);
}

/** Emits `body` for ECX from `count` down to 1; it leaves in EAX what is folded into the checksum, and keeps ECX and EBP. */
function repeat(asm: Assembler, count: number, body: (asm: Assembler) => void): void {
  const label = asm.uniqueLabel("again");
  asm.mov(ecx, count).label(label);
  body(asm);
  asm.call("fold").dec(ecx).jnz(label);
}

/** Window page ECX mod 16 shows frame 5 ECX + EBP mod 16 from now on, and is read. */
function storeToTable(asm: Assembler): void {
  asm.mov(ebx, ecx).and(ebx, WINDOW_PAGES - 1).lea(edi, mem({ index: ebx, scale: ENTRY_BYTES, disp: WINDOW_TABLE }));
  asm.lea(eax, mem(ecx, { index: ecx, scale: 4 })).add(eax, ebp).and(eax, WINDOW_PAGES - 1).shl(eax, PAGE_SHIFT);
  asm.add(eax, FRAMES | KERNEL).call("store");
  asm.shl(ebx, PAGE_SHIFT).invlpg(mem(ebx, { disp: WINDOW })).mov(eax, mem(ebx, { disp: WINDOW }));
}

/** The task priority becomes ECX mod 16, and is read. */
function storeToDevice(asm: Assembler): void {
  asm.mov(edi, LOCAL_APIC.TASK_PRIORITY).mov(eax, ecx).and(eax, PRIORITIES - 1).shl(eax, PRIORITY_SHIFT);
  asm.call("store").mov(eax, mem(edi));
}

function storeToMemory(asm: Assembler): void {
  asm.mov(edx, ecx).and(edx, BUFFER_WORDS - 1).lea(edi, mem({ index: edx, scale: 4, disp: BUFFER }));
  asm.imul(eax, ecx, FACTOR).add(eax, ebp).call("store").mov(eax, mem(edi));
}
