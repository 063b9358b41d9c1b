// Where translated code finds the running processor: fixed places in the area of machine memory behind the frames, which
// no VM's pmap names. One memory, not two: V8 keeps the base and size of only one in registers. The state block and
// the TLBs' host halves have their place here while a VM runs (Processor.moveTo).

import { Mmu } from "../x86/mod.ts";

/** The state block (plugins/x86/state.ts), in bytes. */
export const STATE = 0;
/** Steps left until the deadline, as a signed word. */
export const BUDGET = 1024;
/**
 * What the jump cache's entries are told apart by: the mode (MODE_MASK), and above it the VM, so that each VM's first entry into
 * a translation that it shares is seen; and the offset of the instruction-TLB bank in use.
 */
export const MODE = 1028, INSTRUCTION_BANK = 1032;
/**
 * What floating-point and vector code may assume, as a set of the bits below; computed at every entry from the dispatcher.
 * It is no part of a translation's key: kernel code would be translated once for each process's MXCSR.
 */
export const FP_STATE = 1036;
/** x87 and MMX may run (CR0.EM and CR0.TS clear); SSE may run (CR4.OSFXSR too). */
export const FP_X87 = 1, FP_SSE = 2;
/** MXCSR: every exception masked, round to nearest, neither FTZ nor DAZ, and the precision flag is set already. */
export const FP_SSE_FAST = 4;
/** Four words: where the flags' locals are left at a rare exit. */
export const FLAG_SCRATCH = 1040;
/**
 * The flags between two translations, beside the state block's FLAG_RESULT and FLAG_AUX: the right operand, and what they come
 * from (emit/flag_kinds.ts). Outside translated code they are always computed.
 */
export const FLAG_RIGHT = 1080, FLAG_KIND = 1084;

/** Two 64-bit floats: the step count at which the budget will be used up, and the guest clock's cycles then. */
export const END_STEPS = 1056, END_CYCLES = 1064;
/** Not zero where the access that has just missed is one to device memory that shall be called out for (callout.ts). */
export const DEVICE_MISS = 1072;
/** Not zero while somebody listens to the events that the guest is delivered. */
export const OBSERVED = 1076;
/** Blocks that cold code has entered, and steps that it has taken, since the dispatcher last looked. */
export const COLD_ENTRIES = 1280, COLD_STEPS = 1292;
/** Sixteen bytes: where cold code puts an instruction together that goes on in another page. */
export const CROSSING = 1296;
/**
 * Bytes that ports read as, directly mapped by the port's number: the port, or -1; the byte; and a 64-bit float, the step count
 * from which it may read otherwise.
 */
export const PORTS = 1536, PORT_ENTRIES = 16, PORT_ENTRY_BYTES = 16;

/** Not zero where the instruction of an adapted site has to be completed (adaptation.ts); in place of a device's register. */
export const AFTER_ACCESS = 1284, SCRATCH = 1288;

const BYTES_PER_ENTRY = 16;
/** Both banks of the data TLB's host half, then those of the instruction TLB. */
export const DATA_TLB = 4096, DATA_BANK_BYTES = Mmu.ENTRIES * BYTES_PER_ENTRY;
export const INSTRUCTION_TLB = DATA_TLB + 2 * DATA_BANK_BYTES;
export const INSTRUCTION_BANK_BYTES = Mmu.INSTRUCTION_ENTRIES * BYTES_PER_ENTRY;

/**
 * The jump cache: EIP, the word MODE, MPN, then slot and entry in one word. What another has taken the place of lies beside it, where
 * the index differs in its last bit.
 */
export const JUMP_CACHE = INSTRUCTION_TLB + 2 * INSTRUCTION_BANK_BYTES, JUMP_CACHE_ENTRIES = 1 << 15;
/** A word for each slot of the table: how often its region was entered, modulo 2^32. */
export const ENTRIES = JUMP_CACHE + JUMP_CACHE_ENTRIES * 16, TABLE_SLOTS = 1 << 15;
/** The table's last slot has the interpreter of cold code. */
export const COLD_SLOT = TABLE_SLOTS, ALL_SLOTS = TABLE_SLOTS + 1;
/** And where its region was last left to: an EIP. */
export const LEFT_TO = ENTRIES + TABLE_SLOTS * 4;
/** By number of an adapted site: accesses to plain memory since it was adapted (adaptation.ts). */
export const ADAPTED_COUNTS = LEFT_TO + TABLE_SLOTS * 4, ADAPTED_SITES = 1024;
/**
 * How many entries into regions there are, by the machine address, half-words: where there is none, cold code need not look for
 * one. Places are shared, by all whose counters (below) have the same lower bits.
 */
export const TRANSLATED = ADAPTED_COUNTS + ADAPTED_SITES * 4, TRANSLATED_PLACES = 1 << 16;
/** All of it: what machine memory has behind its frames (plugins/memory). */
export const HYPERVISOR_BYTES = 40 * 65536;
/**
 * At its end: the table of cold code's forms (cold/forms.ts), and before it how often blocks were entered, a word each: upper
 * bits of the machine address, then the count (cold/counts.ts).
 */
export const COUNT_BITS = 15, COUNTERS = 1 << 17, COUNT_MASK = (1 << COUNT_BITS) - 1;
export const FORMS = HYPERVISOR_BYTES - 4096, COUNTS = FORMS - COUNTERS * 4;

/** Words of a TLB entry's host half. */
export const TLB_READ = 0, TLB_ADDEND = 4, TLB_WRITE = 8, TLB_MPN = 12;

/** Index of an EIP in the jump cache. */
export function jumpCacheIndex(eip: number): number {
  return (eip ^ (eip >>> 12)) & (JUMP_CACHE_ENTRIES - 1);
}

/** Index of a slot's count of entries in the area's words. */
export function entriesWord(slot: number): number {
  return (ENTRIES >> 2) + slot;
}

/** Index of the word that says where a slot's region was last left to. */
export function leftToWord(slot: number): number {
  return (LEFT_TO >> 2) + slot;
}

/** Bit of a translation's mode beyond those of the processor's `Mode`: CPL 3. */
export const MODE_USER = 8, MODE_MASK = 15;

/** The word MODE for a VM. */
export function modeWord(mode: number, vmId: number): number {
  return mode | (vmId << 4);
}

/** Index of a block's counter, by the machine address of its first byte. */
export function counterIndex(address: number): number {
  return (address ^ (address >>> 13)) & (COUNTERS - 1);
}
