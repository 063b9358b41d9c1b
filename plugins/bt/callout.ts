// Calls from inside a translation to the emulator (BT paper 3.3): one instruction is run by the interpreter, exactly, with the
// state written back and the step count true; then the translation goes on at the next instruction, if nothing has happened
// that the run loop must look at first. It goes on through the jump cache, which finds out whether what was translated is
// still there: the instruction may have changed code, mappings, the mode, the deadline.

import {
  Attention,
  decode,
  EAX,
  EDX,
  type Interpreter,
  Mode,
  type Operation,
  type Processor,
  state as S,
} from "../x86/mod.ts";
import type { ObservePort } from "../../core/mod.ts";
import type { SiteTrap, TrapCause } from "./adaptation.ts";
import * as L from "./layout.ts";
import type { TranslatorStatistics } from "./statistics.ts";
import type { ExitSites } from "./emit/exit_sites.ts";
import { completeExit, type ExitSite } from "./emit/exits.ts";

/** Causes by `Missed`. */
const CAUSES = [undefined, "page-table", "device"] as const satisfies readonly (TrapCause | undefined)[];
/** What a call-out returns to emitted code: chain to EIP; leave, everything is complete. */
const GO_ON = 0, LEAVE = 1;
/** The mode that code is translated for. */
export const TRANSLATED_MODE = Mode.code32 | Mode.stack32 | Mode.flat;
/** Largest budget that translated code is given. */
const MOST_BUDGET = 1 << 30;
const NO_PORT = -1;
const PAGE_BYTES = 4096;

export class CallOuts {
  /** The processor that runs in translated code. */
  cpu: Processor | undefined;
  /** What the last access that missed for good trapped for, while somebody listens and until he is told. */
  missedFor: TrapCause | undefined;
  /** Whether translated code was last left by a call-out. Whoever looks at it clears it. */
  hasLeft = false;
  readonly #numbers: Float64Array;
  /** Cycles of the guest's clock that its steps do not account for, and what they were computed from. */
  #idleCycles = 0;
  #offsetNs = -1;
  #portRevision = -1;

  constructor(
    readonly words: Int32Array,
    readonly sites: ExitSites,
    readonly interpreter: Interpreter,
    /** Whether an access to device memory is called out for. */
    readonly forDevices: boolean,
    readonly statistics: TranslatorStatistics,
    readonly siteTrapped: ObservePort<SiteTrap>,
  ) {
    this.#numbers = new Float64Array(words.buffer, words.byteOffset, words.length >> 1);
  }

  /** A processor is about to run, for a turn: what is kept of the one before goes. */
  begin(cpu: Processor): void {
    const { accessed, delivered } = cpu.hooks;
    if (this.cpu !== cpu) {
      this.cpu = cpu;
      this.#offsetNs = this.#portRevision = -1;
    }
    this.words[L.OBSERVED >> 2] = delivered.active ? 1 : 0;
    if (accessed.active) this.#portRevision = -1;
    this.noteOutside(cpu);
  }

  /** Other code than translated code has run: takes note of what may have changed that translated code relies on. */
  noteOutside(cpu: Processor): void {
    const { clock } = cpu.vm;
    const hasPassed = clock.offsetNs !== this.#offsetNs;
    if (hasPassed) {
      this.#offsetNs = clock.offsetNs;
      this.#idleCycles = clock.cycles() - clock.steps;
    }
    // Until when a port is steady is kept in steps.
    if (hasPassed || cpu.io.revision !== this.#portRevision) {
      this.#portRevision = cpu.io.revision;
      this.words.fill(NO_PORT, L.PORTS >> 2, (L.PORTS + L.PORT_ENTRIES * L.PORT_ENTRY_BYTES) >> 2);
    }
  }

  /** Gives translated code the steps that are left until the deadline. There must be one at least. */
  giveBudget({ vm: { clock } }: Processor): void {
    const left = clock.deadlineSteps - clock.steps;
    this.#setBudget(clock.steps, left < MOST_BUDGET ? left : MOST_BUDGET);
  }

  /** Makes the processor's own view true after translated code has run: the step count, and what follows from CPL. */
  takeBack(cpu: Processor): void {
    const { clock } = cpu.vm;
    clock.steps = this.#numbers[L.END_STEPS >> 3] - this.words[L.BUDGET >> 2];
    syncLevel(cpu);
  }

  /** An access has missed for good: takes note where it is the device memory that lies there that it means. */
  noteMiss({ mmu }: Processor): void {
    const cause = CAUSES[mmu.missed];
    this.missedFor = this.isWatched ? cause : undefined;
    if (this.forDevices) this.words[L.DEVICE_MISS >> 2] = cause === "device" ? 1 : 0;
  }

  /** Tells of the trap that the last miss has led to, if it is one of a site's. */
  tellTrap(cpu: Processor, eip: number): void {
    const cause = this.missedFor;
    if (cause === undefined) return;
    this.missedFor = undefined;
    if (this.isWatched) this.siteTrapped.emit({ processor: cpu, eip, cause });
  }

  /** Whether somebody listens to traps of sites. */
  get isWatched(): boolean {
    return this.siteTrapped.active;
  }

  /**
   * The import of every region. `status` is a site's number, negated where the site asks for a call-out, for its
   * instruction or for the one that follows its unit; otherwise an access to device memory does. Returns GO_ON or LEAVE.
   */
  readonly call = (status: number): number => {
    const { cpu, words } = this;
    if (cpu === undefined) return LEAVE;
    const site = this.sites.at(Math.abs(status));
    completeExit(words, site);
    this.takeBack(cpu);
    const { clock } = cpu.vm;
    this.statistics.callouts++;
    if (status > 0) {
      words[L.DEVICE_MISS >> 2] = 0;
      this.statistics.deviceCallouts++;
      this.tellTrap(cpu, site.eip);
    } else this.statistics.noteEmulated(site);
    // A step has been taken for the instruction that a site names, and for no other.
    const isUnnamed = status < 0 && site.instruction === undefined;
    if ((status > 0 || isUnnamed) && clock.steps >= clock.deadlineSteps) return this.#leave(status, clock.steps);
    const operation = isUnnamed ? undefined : site.operation ??= this.#prepare(cpu, site);
    const completed = operation === undefined
      ? this.interpreter.runInstruction(cpu)
      : this.interpreter.runOperation(cpu, operation);
    if (!completed || !this.#mayGoOn(cpu)) return this.#leave(status, clock.steps);
    this.noteOutside(cpu);
    if (site.instruction?.row.handler === "in") this.#notePort(cpu, site.instruction);
    noteState(words, cpu);
    this.giveBudget(cpu);
    cpu.blockSteps = clock.steps;
    cpu.index = 0;
    return GO_ON;
  };

  /**
   * The site's instruction, or the one that lies there: as long as there are translations of it, it stays as it is. Undefined
   * where it goes on in the next page.
   */
  #prepare(cpu: Processor, { eip, instruction }: ExitSite): Operation | undefined {
    const mpn = cpu.mmu.fetchFrame(eip);
    const at = mpn * PAGE_BYTES + (eip & PAGE_BYTES - 1);
    const found = instruction ?? decode(cpu.bytes, at, (mpn + 1) * PAGE_BYTES, 32);
    if (found === "truncated") return undefined;
    if (typeof found === "string") throw new Error(`no instruction at the exit ${eip >>> 0} of a translation`);
    return this.interpreter.prepare(found, TRANSLATED_MODE);
  }

  #leave(status: number, steps: number): number {
    if (status > 0) this.statistics.exitsDevice++;
    else this.statistics.exitsCallout++;
    this.hasLeft = true;
    this.#setBudget(steps, 0);
    return LEAVE;
  }

  #setBudget(steps: number, budget: number): void {
    const end = steps + budget;
    this.words[L.BUDGET >> 2] = budget;
    this.#numbers[L.END_STEPS >> 3] = end;
    this.#numbers[L.END_CYCLES >> 3] = end + this.#idleCycles;
  }

  #mayGoOn(cpu: Processor): boolean {
    const { clock } = cpu.vm;
    if (clock.steps >= clock.deadlineSteps || (cpu.mode & TRANSLATED_MODE) !== TRANSLATED_MODE) return false;
    if (cpu.attention === Attention.event) endShadow(cpu);
    return cpu.attention === 0 && cpu.tlb === cpu.mmu.data.host;
  }

  /** Keeps what a port reads as, while it is steady. Where somebody listens to I/O, every read has to be told. */
  #notePort(cpu: Processor, { row, immediate }: NonNullable<ExitSite["instruction"]>): void {
    if (row.operands[0] !== "al" || cpu.hooks.accessed.active) return;
    const port = row.operands[1] === "Ib" ? immediate & 0xff : cpu.r[EDX] & 0xffff;
    const { clock } = cpu.vm;
    // The instruction that has read it is complete.
    const untilNs = cpu.io.steadyUntilNs(port, clock.offsetNs + clock.stepsToNs(clock.steps - 1));
    if (untilNs === 0) return;
    const at = L.PORTS + (port & (L.PORT_ENTRIES - 1)) * L.PORT_ENTRY_BYTES;
    this.words[at >> 2] = port;
    this.words[(at >> 2) + 1] = cpu.r[EAX] & 0xff;
    this.#numbers[(at >> 3) + 1] = clock.nsToSteps(untilNs);
  }
}

/**
 * Ends the shadow of STI, or of a load of SS, where nothing waits for its end: one more instruction completes before anybody
 * can see it, since the deadline is ahead.
 */
function endShadow(cpu: Processor): void {
  if (cpu.r[S.PENDING] !== 0) return;
  cpu.r[S.INTERRUPT_SHADOW] = S.Shadow.none;
  cpu.updateAttention();
}

/** Brings what the processor derives from CPL up to date: translated code changes CPL in the state block alone. */
export function syncLevel(cpu: Processor): void {
  const bank = cpu.r[S.CPL] === 3 ? cpu.mmu.userBank : 0;
  if (cpu.bank !== bank) cpu.setCpl(cpu.r[S.CPL]);
}

/** Writes down what chaining and floating-point code go by (layout.ts). */
export function noteState(words: Int32Array, cpu: Processor): void {
  const { r } = cpu;
  const isUser = r[S.CPL] === 3;
  words[L.MODE >> 2] = L.modeWord(cpu.mode | (isUser ? L.MODE_USER : 0), cpu.vm.id);
  words[L.INSTRUCTION_BANK >> 2] = isUser ? L.INSTRUCTION_BANK_BYTES : 0;
  words[L.FP_STATE >> 2] = floatingPointState(r);
}

/** MXCSR's mask of every exception and its precision flag; these and the bits that must be clear (SDM 1, 10.2.3). */
const MXCSR_FAST = 0x1fa0, MXCSR_FAST_MASK = 0xffe0;

/** FP_STATE of layout.ts. */
function floatingPointState(r: Int32Array): number {
  if ((r[S.CR0] & (S.CR0_EM | S.CR0_TS)) !== 0) return 0;
  if ((r[S.CR4] & S.CR4_OSFXSR) === 0) return L.FP_X87;
  return L.FP_X87 | L.FP_SSE | ((r[S.MXCSR] & MXCSR_FAST_MASK) === MXCSR_FAST ? L.FP_SSE_FAST : 0);
}
