// A small machine for comparing engines: paging on, code and data pages of every kind of right, and exception handlers that
// log a fault and go on at the next slot of code. Two arenas with different engines are put into one state, run for the
// same number of steps, and compared word by word (design, law 1).

import { assertEquals } from "@std/assert";
import { Host, type Vm } from "../../../core/mod.ts";
import bt from "../../../plugins/bt/mod.ts";
import { Translator } from "../../../plugins/bt/engine.ts";
import memory, { guest, type GuestMemory } from "../../../plugins/memory/mod.ts";
import x86, { bus, engine, processor, state as S } from "../../../plugins/x86/mod.ts";
import { setNullSegment, setSegment } from "../../../plugins/x86/descriptors.ts";
import type { Processor } from "../../../plugins/x86/mod.ts";
import { vmConfig } from "../../core/fake_executor.ts";
import { DATA_WORDS, imageOfSystem, jump, L, SEGMENTS, selectorOf } from "./arena_layout.ts";

export interface TranslatorChoice {
  readonly threshold: number;
  readonly unitInstructions: number;
  readonly regionUnits: number;
  readonly cacheKib: number;
  /** Defaults to the plugin's. */
  readonly regroupSteps?: number;
  readonly regroupEntries?: number;
  readonly regroupUnitEntries?: number;
}

/** The state in which a case begins: registers, and code over the code pages. */
export interface Start {
  readonly cpl: 0 | 3;
  readonly bits: 16 | 32;
  readonly registers: readonly number[];
  readonly eflags: number;
  /** Selectors of FS and GS, indices of the descriptors in `SEGMENTS`; 0 for null. */
  readonly fs: number;
  readonly gs: number;
  /** Offset in the code pages at which the code begins. */
  readonly entry: number;
  readonly code: Uint8Array;
}

export class Arena {
  readonly host: Host;
  readonly vm: Vm;
  readonly memory: GuestMemory;

  /** An arena with the translator, or with the interpreter. */
  constructor(translator?: TranslatorChoice) {
    this.host = new Host({ memoryMib: 2, seed: 1, quantumNs: 1e6 });
    this.host.load({ plugin: memory }, { plugin: x86 });
    if (translator !== undefined) this.host.load({ plugin: bt, options: { ...translator } });
    this.vm = this.host.add(vmConfig("arena"));
    this.memory = this.host.service(guest)(this.vm);
  }

  get cpu(): Processor {
    return this.host.service(processor)(this.vm);
  }

  /** The translator's figures, where there is one. */
  get translator(): Translator | undefined {
    const inForce = this.host.service(engine);
    return inForce instanceof Translator ? inForce : undefined;
  }

  /** Puts everything into a case's state. Pages that are as they shall be are left alone, and so is code made from them. */
  begin(start: Start): void {
    const image = imageOf(start);
    for (let ppn = 0; ppn < this.memory.pages; ppn++) {
      const present = this.#words(ppn);
      if (present === undefined && isBlank[ppn]) continue;
      const wanted = image.subarray(ppn * L.PAGE / 4, (ppn + 1) * L.PAGE / 4);
      if (!sameWords(present, wanted)) this.memory.write(ppn * L.PAGE, bytesOf(wanted));
    }
    this.vm.exit = undefined;
    this.vm.state = "ready";
    this.vm.clock.restore({ steps: 0, offsetNs: 0, deadlines: {} });
    setRegisters(this.cpu, start);
  }

  /** Runs until so many steps in all are complete, or the machine has ended. */
  runTo(steps: number): void {
    this.host.runTo(this.vm, steps);
  }

  raiseNmi(): void {
    this.host.service(bus).raiseNmi(this.vm);
  }

  /** Pages as words; a page never touched is undefined. */
  #words(ppn: number): Int32Array | undefined {
    const page = this.memory.peek(ppn);
    return page === undefined ? undefined : new Int32Array(page.buffer, page.byteOffset, L.PAGE / 4);
  }

  /** What differs from another arena, in words for a person; `deep` looks at memory, FPU and TLB too. */
  differences(other: Arena, deep: boolean): string[] {
    const found: string[] = [];
    const note = (what: string, a: number | string, b: number | string) => {
      const text = (value: number | string) => typeof value === "number" ? (value >>> 0).toString(16) : value;
      if (a !== b) found.push(`${what}: ${text(a)} and ${text(b)}`);
    };
    const one = this.cpu, two = other.cpu;
    note("steps", String(this.vm.clock.steps), String(other.vm.clock.steps));
    note("exit", this.vm.exit?.reason ?? "none", other.vm.exit?.reason ?? "none");
    note("EFLAGS", one.eflags(), two.eflags());
    for (let word = 0; word < S.STATE_WORDS; word++) {
      if (word === S.FLAG_AUX || word === S.FLAG_RESULT || word === S.FLAGS_OTHER) continue;
      if (one.r[word] !== two.r[word]) note(`state word ${word}`, one.r[word], two.r[word]);
    }
    if (!deep) return found;
    for (let ppn = 0; ppn < this.memory.pages; ppn++) {
      const mine = this.#words(ppn), theirs = other.#words(ppn);
      if (sameWords(mine, theirs ?? noWords) && sameWords(theirs, mine ?? noWords)) continue;
      for (let word = 0; word < L.PAGE / 4; word++) {
        const a = mine?.[word] ?? 0, b = theirs?.[word] ?? 0;
        if (a !== b) note(`physical ${(ppn * L.PAGE + word * 4).toString(16)}`, a, b);
      }
    }
    note("FPU", JSON.stringify(one.fpu.save()), JSON.stringify(two.fpu.save()));
    note("TLB", JSON.stringify(one.mmu.save()), JSON.stringify(two.mmu.save()));
    return found;
  }
}

const noWords = new Int32Array(L.PAGE / 4);

function sameWords(present: Int32Array | undefined, wanted: Int32Array): boolean {
  if (present === undefined) present = noWords;
  for (let i = 0; i < wanted.length; i++) if (present[i] !== wanted[i]) return false;
  return true;
}

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

const system = imageOfSystem();
const image = new Int32Array(system.length);
/** The pages that are zeros at the start of every case. */
const isBlank = Array.from({ length: system.length * 4 / L.PAGE }, (_, ppn) => {
  const isIn = (start: number, bytes: number) => ppn * L.PAGE >= start && ppn * L.PAGE < start + bytes;
  return !isIn(L.CODE, L.CODE_BYTES) && !isIn(L.DATA, DATA_WORDS.length * 4) &&
    system.subarray(ppn * L.PAGE / 4, (ppn + 1) * L.PAGE / 4).every((word) => word === 0);
});

/** Guest-physical memory at the start of a case; valid until the next call. */
function imageOf({ code, entry }: Start): Int32Array {
  image.set(system);
  image.set(DATA_WORDS, L.DATA / 4);
  // A jump of its own comes first, so that a translator may have the rest from the start.
  if (entry !== 0) bytesOf(image).set(jump(L.CODE, L.CODE + entry), L.CODE);
  bytesOf(image).set(code.subarray(0, L.CODE_BYTES - entry), L.CODE + entry);
  return image;
}

function setRegisters(cpu: Processor, start: Start): void {
  const { r } = cpu;
  const isUser = start.cpl === 3;
  r.fill(0);
  start.registers.forEach((value, register) => r[register] = value);
  r[S.FLAGS_OTHER] = 2;
  r[S.CR0] = S.CR0_PE | S.CR0_PG | S.CR0_WP | S.CR0_ET | S.CR0_NE;
  r[S.CR4] = S.CR4_OSFXSR | S.CR4_OSXMMEXCPT | S.CR4_PSE | S.CR4_PGE;
  r[S.CR3] = L.PAGE_DIRECTORY;
  r[S.DR6] = 0xffff0ff0 | 0;
  r[S.DR7] = 0x400;
  r[S.MXCSR] = S.MXCSR_AT_POWER_ON;
  r[S.GDTR_BASE] = L.GDT;
  r[S.GDTR_LIMIT] = SEGMENTS.length * 8 - 1;
  r[S.IDTR_BASE] = L.IDT;
  r[S.IDTR_LIMIT] = 256 * 8 - 1;
  const load = (segment: number, index: number) => {
    if (index === 0) return setNullSegment(cpu, segment, 0);
    const [low, high] = SEGMENTS[index];
    setSegment(cpu, segment, selectorOf(index, start.cpl), { low, high, address: L.GDT + index * 8 });
  };
  const code = start.bits === 16 ? [L.CODE16_SYSTEM, L.CODE16_USER] : [L.CODE_SYSTEM, L.CODE_USER];
  const data = isUser ? L.DATA_USER : L.DATA_SYSTEM;
  load(1, code[isUser ? 1 : 0]);
  for (const segment of [0, 2, 3]) load(segment, data);
  load(4, start.fs);
  load(5, start.gs);
  setNullSegment(cpu, S.LDTR, 0);
  load(S.TR, L.TASK);
  r[S.EIP] = L.CODE;
  cpu.fpu.reset();
  cpu.setCpl(start.cpl);
  cpu.mmu.flush(false);
  cpu.setEflags(start.eflags, -1);
  cpu.updateMode();
  cpu.updateAttention();
}

/**
 * Runs a case in the interpreter and in a translator side by side, `stride` steps at a time, and finds them equal at every stop, in
 * memory, FPU and TLB as well at the end. Returns the translator's arena.
 */
export function runInStep(start: Start, choice: TranslatorChoice, stride: number, mostSteps: number): Arena {
  const reference = new Arena(), translated = new Arena(choice);
  reference.begin(start);
  translated.begin(start);
  for (let steps = stride; steps <= mostSteps; steps += stride) {
    reference.runTo(steps);
    translated.runTo(steps);
    assertEquals(reference.differences(translated, steps + stride > mostSteps), [], `after ${steps} steps`);
  }
  return translated;
}
