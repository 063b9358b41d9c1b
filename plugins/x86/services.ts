// What the x86 plugin offers to devices, boot and engines: I/O ports, device memory, the interrupt line, CPUID leaves,
// and access to a VM's processor. Consumer-side interfaces only: a device knows no more of the processor than this.

import { decide, observe, reduce, service, type Vm } from "../../core/mod.ts";
import type { Interpreter } from "./interpreter/engine.ts";
import type { CodeFrames } from "./code_frames.ts";
import type { Processor } from "./processor.ts";

/** Size of an I/O or device-memory access in bytes. */
export type AccessSize = 1 | 2 | 4;

/** A device behind I/O ports. `read` returns an unsigned value of `size` bytes. Called with the exact step count. */
export interface PortDevice {
  read(port: number, size: AccessSize): number;
  write(port: number, size: AccessSize, value: number): void;
  /**
   * Until which guest time, in ns, reading a byte from a port again does nothing and gives what it gave at `readNs`, unless the
   * guest writes to some port before: Infinity where no time changes it. Until then a translator may answer reads itself.
   * Asked right after the read; where this is left out, every read reaches the device.
   */
  steadyUntilNs?(port: number, readNs: number): number;
}

/** A device behind guest-physical addresses; `offset` counts from the start of its range. */
export interface MemoryDevice {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
}

/** The interrupt controller that drives the processor's INTR pin. */
export interface InterruptController {
  /** The processor acknowledges: returns the vector, and updates the controller as INTA cycles do. */
  acknowledge(): number;
}

/** Registration of devices, per VM. Overlapping ranges are an error that names both. */
export interface Bus {
  /** Claims `count` ports from `first`. Unclaimed ports read as all ones and ignore writes. */
  ports(vm: Vm, first: number, count: number, name: string, device: PortDevice): void;
  releasePorts(vm: Vm, first: number, count: number): void;
  /** Claims a page-aligned range of guest-physical addresses, over RAM if it lies there. */
  memory(vm: Vm, base: number, sizeBytes: number, name: string, device: MemoryDevice): void;
  releaseMemory(vm: Vm, name: string): void;
  interruptController(vm: Vm, controller: InterruptController): void;
  /** Level of the INTR pin. */
  setInterrupt(vm: Vm, level: boolean): void;
  /** Raises a non-maskable interrupt. */
  raiseNmi(vm: Vm): void;
  /** Stops the processor after the present instruction: no event starts it but `resume`. */
  suspend(vm: Vm): void;
  /** Resets a suspended processor and starts it in real mode, at a physical address below 1 MiB. */
  resume(vm: Vm, address: number): void;
}

/** CPUID result registers. */
export interface CpuidResult {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/**
 * Keeps translations over changes of address space, for one VM (`Mmu.setKeeper`). It may decide by what it is told here alone:
 * then it is part of the machine as the TLB is, the same under every engine. Of global entries it is not told.
 */
export interface TranslationKeeper {
  /** Whether `stored` looks at what was stored; otherwise it may be called just before the store. */
  readonly looksAtStores: boolean;
  /** CR3 was loaded: whatever is left in the TLBs, or put there, must agree with the guest's tables, or be global. */
  rootLoaded(): void;
  /** Paging has changed: every translation is void, global or not, and leaves the TLBs after this. */
  cleared(): void;
  /** A walk has filled an entry; physical addresses of the directory's and the table's entry (-1: a large page). */
  filled(linear: number, directoryEntry: number, tableEntry: number): void;
  /** A page fault is raised: the guest's own tables do not allow an access. */
  faulted(): void;
  /** The processor has stored `size` bytes at `offset` of a page in `Mmu.traced`. Walks that set A and D bits do not count. */
  stored(ppn: number, offset: number, size: number): void;
}

/** An engine: executes a VM's instructions until the clock's deadline, a halt, an exit or a pending event. */
export interface Engine {
  readonly name: string;
  /** Runs from the processor's present state. On return the state is architectural and `clock.steps` exact. */
  execute(vm: Vm): void;
  /** Runs exactly one instruction, whatever asks for attention; false where it faulted and the fault was delivered. */
  step(vm: Vm): boolean;
}

export const bus = service<Bus>("x86.bus");
/** The processor of a VM: registers and memory as the guest sees them, for boot, tools and tests. */
export const processor = service<(vm: Vm) => Processor>("x86.processor");
/** Which frames hold code: engines mark what they decode or translate, and are told of stores to it. */
export const codeFrames = service<CodeFrames>("x86.codeFrames");
/** The interpreter, which translators fall back to; its block cache tells them what is hot. */
export const interpreter = service<Interpreter>("x86.interpreter");
export const engine = service<Engine>("x86.engine");

/** A CPUID leaf, which plugins may change or add: leaf and subleaf beside it. */
export const cpuid = reduce<CpuidResult, { readonly vm: Vm; readonly leaf: number; readonly subleaf: number }>(
  "x86.cpuid",
);
/** An RDMSR or WRMSR that the processor does not know: an answer makes it known. `value` is [low, high]. */
export const readMsr = decide<{ readonly vm: Vm; readonly msr: number }, readonly [number, number]>("x86.readMsr");
export const writeMsr = decide<
  { readonly vm: Vm; readonly msr: number; readonly low: number; readonly high: number },
  true
>("x86.writeMsr");
/** A sensitive or privileged instruction was emulated. Emitted only while somebody listens. */
export const trapped = observe<{ readonly vm: Vm; readonly mnemonic: string }>("x86.trapped");
/**
 * `fault` an exception, `interrupt` external, `software` INT n, INT3 or INTO. `eip` is the one that was pushed: that of the
 * faulting instruction, or of the next one.
 */
export interface DeliveredEvent {
  readonly vm: Vm;
  readonly vector: number;
  readonly kind: "fault" | "interrupt" | "software";
  readonly eip: number;
  /** Undefined where the vector pushes none. */
  readonly errorCode: number | undefined;
}
/** An exception or interrupt was delivered to the guest. */
export const delivered = observe<DeliveredEvent>("x86.delivered");

/** An access of the guest to a device. `address` is a port or guest-physical; `value` is what was read or written. */
export interface DeviceAccess {
  readonly vm: Vm;
  readonly space: "port" | "memory";
  readonly address: number;
  readonly size: AccessSize;
  readonly value: number;
  readonly isWrite: boolean;
}
/** The guest read or wrote a port or a device's memory. Emitted only while somebody listens. */
export const accessed = observe<DeviceAccess>("x86.accessed");

/** What happened to the guest's TLB: an entry filled by a walk, a walk that faulted, entries dropped. `rights`: see tlb.ts. */
export type TranslationEvent =
  | {
    readonly vm: Vm;
    readonly what: "fill";
    readonly linear: number;
    readonly ppn: number;
    readonly rights: number;
    readonly isFetch: boolean;
  }
  | { readonly vm: Vm; readonly what: "fault"; readonly linear: number; readonly errorCode: number }
  | { readonly vm: Vm; readonly what: "flush"; readonly keepGlobal: boolean }
  | { readonly vm: Vm; readonly what: "flush-page"; readonly linear: number };
/** Address translation by the guest's tables. Emitted only while somebody listens. */
export const translated = observe<TranslationEvent>("x86.translated");
