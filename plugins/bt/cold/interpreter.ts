// Cold code is interpreted in WebAssembly, straight from the guest's bytes: what runs a few times is neither decoded into
// objects nor translated (BT paper 3.2 translates on demand; measured: decoded objects missed the caches, 80 ns an instruction).
// One function runs from EIP on, an instruction at a time, through flat 32-bit code, and goes on in a translation where a block
// begins that has one; what it has no handler for, and every fault and slow access, is left to the interpreter proper, before
// anything has changed. It reads an instruction's bytes whole before it looks at operands, and holds nothing of code from one
// instruction to the next but the frame of its page.

import { ESP, state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { STORED_WORD } from "../emit/flag_kinds.ts";
import { BINARY, QUATERNARY, TERNARY, UNARY } from "../emit/imports.ts";
import { COUNT_SHIFT, pushEntry, REGION_TYPE } from "../runtime.ts";
import { Access, FunctionBody, HYPERVISOR, I32, I64, MACHINE, Op } from "../wasm.ts";
import {
  GROUP,
  GROUPS,
  HANDLERS,
  IMMEDIATE_16,
  IMMEDIATE_32,
  IMMEDIATE_8,
  LOCKABLE,
  MODRM,
  NARROW_MAP,
  NUMBER_MASK,
  OFFSET,
  REPEAT_MAP,
  SIZE_MASK,
  SIZE_SHIFT,
  TWO_BYTE_MAP,
  WRITES,
} from "./forms.ts";
import { Alu } from "./alu.ts";
import { MOST_ENTRIES } from "./counts.ts";
import { operations } from "./operations.ts";

/** What the function returns: the dispatcher looks for a translation at EIP; the interpreter runs the instruction there. */
export const LOOK = 0, INTERPRET = -1;
/** What `known` returns where there is no translation: one should be made, or the fetch fails; it is not worth it yet. */
export const NOT_KNOWN = -1, STILL_COLD = -2;
/**
 * Its imports. The slow path of accesses: linear address, kind and machine address of the code, to machine address or -1.
 * That of translations: EIP to the jump cache's word. What flags come from, to FLAG_AUX.
 */
export const COLD_IMPORTS = [
  { name: "coldMiss", type: TERNARY },
  { name: "known", type: UNARY },
  { name: "aux", type: QUATERNARY },
  { name: "loadSegment", type: BINARY },
  { name: "verifyWritable", type: UNARY },
  { name: "interruptReturn", type: UNARY },
  { name: "systemEnter", type: UNARY },
] as const;
const MISS = 0, KNOWN = 1, AUX = 2;
/** These do it all on the state block and return 0, or 1 where it is left to the interpreter and nothing has changed. */
export const ColdTransfer = { loadSegment: 3, verifyWritable: 4, interruptReturn: 5, systemEnter: 6 } as const;

const PAGE_SHIFT = 12, PAGE_MASK = 0xfffff000 | 0;
const LAST_OFFSET = 4095;
/** Entries between two looks at code that keeps changing. */
const LOOK_ENTRIES = 16;
/** Of an instruction. */
const MOST_BYTES = 15;
/** So many prefixes leave an instruction shorter than any that is too long. */
const MOST_PREFIXES = 3;

/** The locals that handlers work with. */
export interface ColdLocals {
  /** EIP of the instruction, machine address of its next byte, and that of EIP 0 in this page. */
  readonly eip: number;
  readonly at: number;
  readonly addend: number;
  readonly opcode: number;
  readonly mod: number;
  readonly reg: number;
  readonly rm: number;
  /** Linear address of the memory operand, and the segment base in it. */
  readonly address: number;
  readonly base: number;
  readonly immediate: number;
  /** Machine address of the operand, which may be a register of the state block. */
  readonly place: number;
  /** For the ALU: operation, operands, where the result goes, and by how much operands must be shifted to be 32 bits wide. */
  readonly operation: number;
  readonly left: number;
  readonly right: number;
  readonly target: number;
  readonly narrow: number;
  /** For whatever else. */
  readonly value: number;
  readonly other: number;
  /** Where the next instruction is; not zero where a block begins there. */
  readonly next: number;
  readonly isEntry: number;
}

/**
 * Labels that handlers go to: the instruction is left to the interpreter; it is complete; `value` is its result, of a size that
 * `narrow` says, and has to be put to `target`; the ALU; EIP is in `next`.
 */
export interface ColdLabels {
  readonly interpret: number;
  readonly done: number;
  readonly put: number;
  readonly alu: number;
  readonly jumped: number;
}

export interface ColdOptions {
  /** Where the hypervisor's area begins. */
  readonly area: number;
  /** Entries of a block before it is translated. */
  readonly threshold: number;
  /** Whether it goes on to translations itself, or leaves that to the dispatcher. */
  readonly chaining: boolean;
}

/** The function: its parameter is not zero where the block at EIP is being entered; it returns a region's exit status, too. */
export function coldFunction(options: ColdOptions): FunctionBody {
  return new ColdInterpreter(options).body;
}

export class ColdInterpreter {
  readonly body = new FunctionBody(1);
  readonly v: ColdLocals;
  labels: ColdLabels = { interpret: 0, done: 0, put: 0, alu: 0, jumped: 0 };
  readonly #budget: number;
  readonly #page: number;
  readonly #isStale: number;
  /** Of STI: 1 until the next instruction begins, 2 until it is complete. */
  readonly #shadow: number;
  readonly #bank: number;
  readonly #form: number;
  readonly #entry: number;
  readonly #word: number;
  /** Blocks entered, and the budget at the beginning. */
  readonly #entries: number;
  readonly #start: number;
  /** Words of 64 bits for products and quotients. */
  readonly wide: number;
  readonly wider: number;

  readonly area: number;

  constructor(readonly options: ColdOptions) {
    this.area = options.area;
    const f = this.body;
    const local = () => f.local(I32);
    this.v = {
      eip: local(),
      at: local(),
      addend: local(),
      opcode: local(),
      mod: local(),
      reg: local(),
      rm: local(),
      address: local(),
      base: local(),
      immediate: local(),
      place: local(),
      operation: local(),
      left: local(),
      right: local(),
      target: local(),
      narrow: local(),
      value: local(),
      other: local(),
      next: local(),
      isEntry: local(),
    };
    this.#budget = local();
    this.#page = local();
    this.#isStale = local();
    this.#shadow = local();
    this.#bank = local();
    this.#form = local();
    this.#entry = local();
    this.#entries = local();
    this.#start = local();
    this.#word = local();
    this.wide = f.local(I64);
    this.wider = f.local(I64);
    this.#emit();
  }

  #emit(): void {
    const f = this.body, { v } = this;
    const ENTERED = 0;
    this.#completeFlags();
    f.get(ENTERED).set(v.isEntry);
    this.word(L.BUDGET).tee(this.#budget).set(this.#start);
    this.word(L.STATE + S.EIP * 4).set(v.eip);
    this.#takeBank();
    const interpret = f.block();
    const again = f.loop();
    f.constant(1).set(this.#isStale);
    const look = f.block();
    const next = f.loop();
    f.get(this.#budget).constant(0).op(Op.i32LeS).brIf(look);
    this.#findPage(look);
    f.get(v.isEntry).if();
    f.constant(0).set(v.isEntry);
    this.#countEntry(look);
    f.end();
    f.get(v.eip).get(v.addend).op(Op.i32Add).set(v.at);
    f.constant(0).tee(v.base).set(v.opcode);
    const jumped = f.block();
    const done = f.block();
    const put = f.block();
    const alu = f.block();
    const decode = f.loop();
    this.#decode(interpret, decode);
    this.labels = { interpret, done, put, alu, jumped };
    this.#dispatch(decode);
    f.end();
    f.end();
    const compute = new Alu(this);
    compute.emit();
    f.end();
    compute.put();
    f.end();
    f.get(v.at).get(v.addend).op(Op.i32Sub).set(v.next);
    f.end();
    f.get(v.next).set(v.eip);
    f.get(this.#budget).constant(1).op(Op.i32Sub).set(this.#budget);
    f.br(next);
    f.end();
    f.end();
    // The instruction in a shadow is complete.
    f.get(this.#shadow).constant(1).op(Op.i32And).set(this.#shadow);
    if (this.options.chaining) this.#look(again);
    this.#leave(LOOK);
    f.end();
    f.end();
    this.#leave(INTERPRET);
    f.constant(0);
  }

  /** Computes the flags that a translation has left uncomputed. */
  #completeFlags(): void {
    const f = this.body;
    this.word(L.FLAG_KIND).if();
    this.setState(S.FLAG_AUX, () => {
      this.word(L.FLAG_KIND);
      this.word(L.STATE + S.FLAG_AUX * 4);
      this.word(L.FLAG_RIGHT);
      this.word(L.STATE + S.FLAG_RESULT * 4).call(AUX);
    });
    f.constant(0).constant(STORED_WORD).memory(Access.i32Store, HYPERVISOR, L.FLAG_KIND);
    f.end();
  }

  /** Goes on where there is a translation that the jump cache or the instruction TLB lacked; or here, if there is none. */
  #look(again: number): void {
    const f = this.body, { eip, isEntry } = this.v;
    f.get(this.#budget).constant(0).op(Op.i32GtS).get(this.#shadow).op(Op.i32Eqz).op(Op.i32And).if();
    f.get(eip).call(KNOWN).tee(this.#word).constant(0).op(Op.i32GeS).if();
    this.#goOnAtWord();
    f.end();
    f.get(this.#word).constant(NOT_KNOWN).op(Op.i32Ne).if();
    f.constant(0).set(isEntry).get(this.#entries).constant(1).op(Op.i32Add).set(this.#entries).br(again);
    f.end().end();
  }

  /** Enters the translation that the word names, if the budget is enough. */
  #goOnAtWord(): void {
    const f = this.body, word = this.#word;
    f.get(word).constant(COUNT_SHIFT).op(Op.i32ShrU).get(this.#budget).op(Op.i32LeS).if();
    this.#writeBack();
    pushEntry(f, word).returnCallIndirect(REGION_TYPE);
    f.end();
  }

  /** Pushes a word of the hypervisor's area. */
  word(offset: number): FunctionBody {
    return this.body.constant(0).memory(Access.i32Load, HYPERVISOR, offset);
  }

  /** Pushes a general register by number. */
  register(number: number): FunctionBody {
    return this.word(L.STATE + number * 4);
  }

  /** Stores what `push` pushes into a word of the state block. */
  setState(word: number, push: () => void): void {
    const f = this.body;
    f.constant(0);
    push();
    f.memory(Access.i32Store, HYPERVISOR, L.STATE + word * 4);
  }

  /** Pushes the machine address of the 32-bit register whose number is in a local. */
  registerPlace(local: number): FunctionBody {
    const f = this.body;
    f.get(local).constant(2).op(Op.i32Shl);
    return f.constant((this.area + L.STATE) | 0).op(Op.i32Add);
  }

  /** The same of an 8-bit register: AL, CL, DL, BL, then AH, CH, DH, BH. */
  registerPlace8(local: number): FunctionBody {
    const f = this.body;
    f.get(local).constant(3).op(Op.i32And).constant(2).op(Op.i32Shl);
    f.get(local).constant(2).op(Op.i32ShrU).op(Op.i32Add);
    return f.constant((this.area + L.STATE) | 0).op(Op.i32Add);
  }

  /** Pushes the 32-bit register whose number is in a local. */
  registerOf(local: number): FunctionBody {
    return this.body.get(local).constant(2).op(Op.i32Shl).memory(Access.i32Load, HYPERVISOR, L.STATE);
  }

  /** Pops a value into the 32-bit register whose number is in a local. */
  setRegisterOf(local: number): FunctionBody {
    const f = this.body, { other } = this.v;
    f.set(other).get(local).constant(2).op(Op.i32Shl);
    return f.get(other).memory(Access.i32Store, HYPERVISOR, L.STATE);
  }

  /** Pushes the steps that are left, this instruction's own included. */
  budget(): FunctionBody {
    return this.body.get(this.#budget);
  }

  /** Takes what `push` pushes from the budget: iterations, but for the last. */
  pay(push: () => void): void {
    const f = this.body;
    f.get(this.#budget);
    push();
    f.op(Op.i32Sub).set(this.#budget);
  }

  /** Goes on at the EIP in the state block, where a block begins, perhaps at another CPL. */
  goOnAtState(): void {
    const f = this.body, { next, isEntry } = this.v;
    this.#takeBank();
    f.constant(1).tee(this.#isStale).set(isEntry);
    this.word(L.STATE + S.EIP * 4).set(next).br(this.labels.jumped);
  }

  #takeBank(): void {
    this.word(L.INSTRUCTION_BANK).set(this.#bank);
  }

  /** Interrupts are held back until the next instruction is complete. */
  beginShadow(): void {
    this.body.constant(1).tee(this.#shadow).set(this.#isStale);
  }

  /** Pushes whether an access of this instruction has gone the slow way. */
  hasMissed(): FunctionBody {
    return this.body.get(this.#isStale);
  }

  /** Pushes the EIP after the instruction. */
  nextEip(): FunctionBody {
    const { at, addend } = this.v;
    return this.body.get(at).get(addend).op(Op.i32Sub);
  }

  #leave(status: number): void {
    this.#writeBack();
    this.setState(S.INTERRUPT_SHADOW, () => this.body.get(this.#shadow).constant(0).op(Op.i32Ne));
    this.body.constant(status).op(Op.return);
  }

  #writeBack(): void {
    const f = this.body;
    const add = (at: number, push: () => void) => {
      f.constant(0);
      this.word(at);
      push();
      f.op(Op.i32Add).memory(Access.i32Store, HYPERVISOR, at);
    };
    this.setState(S.EIP, () => f.get(this.v.eip));
    f.constant(0).get(this.#budget).memory(Access.i32Store, HYPERVISOR, L.BUDGET);
    add(L.COLD_ENTRIES, () => f.get(this.#entries));
    add(L.COLD_STEPS, () => f.get(this.#start).get(this.#budget).op(Op.i32Sub));
  }

  /** Makes sure that the page of EIP is the one at hand, from the instruction TLB; what that lacks is the dispatcher's. */
  #findPage(look: number): void {
    const f = this.body, { eip, addend } = this.v;
    f.get(eip).get(this.#page).op(Op.i32Sub).constant(LAST_OFFSET).op(Op.i32GtU).get(this.#isStale).op(Op.i32Or);
    f.unlikely().if();
    this.#lookUpPage(eip);
    f.get(eip).constant(PAGE_MASK).op(Op.i32And).tee(this.#page).op(Op.i32Ne).brIf(look);
    f.get(this.#entry).memory(Access.i32Load, HYPERVISOR, L.INSTRUCTION_TLB + L.TLB_MPN).constant(12).op(Op.i32Shl);
    f.get(this.#page).op(Op.i32Sub).set(addend);
    // A shadow makes the page stale for the two instructions that have to look at it.
    f.get(this.#shadow).constant(1).op(Op.i32And).constant(1).op(Op.i32Shl).tee(this.#shadow).set(this.#isStale);
    f.end();
  }

  /** At the beginning of a block: goes on in its translation, looks where there may or should be one; else counts the entry. */
  #countEntry(look: number): void {
    const f = this.body, { eip, addend, value, at } = this.v;
    const counted = f.block();
    f.get(eip).get(eip).constant(12).op(Op.i32ShrU).op(Op.i32Xor).constant(L.JUMP_CACHE_ENTRIES - 1).op(Op.i32And);
    f.constant(4).op(Op.i32Shl).tee(this.#entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE).get(eip);
    f.op(Op.i32Eq).if();
    f.get(this.#entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE + 4);
    this.word(L.MODE).op(Op.i32Eq).if();
    if (!this.options.chaining) f.br(look);
    f.get(this.#entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE + 8);
    f.get(eip).get(addend).op(Op.i32Add).constant(PAGE_SHIFT).op(Op.i32ShrU).op(Op.i32Ne).brIf(look);
    f.get(this.#entry).memory(Access.i32Load, HYPERVISOR, L.JUMP_CACHE + 12).set(this.#word);
    this.#goOnAtWord();
    // The turn ends before the way through it would: on to that end.
    f.br(counted).end().end();
    f.get(eip).get(addend).op(Op.i32Add).tee(at).constant(13).op(Op.i32ShrU).get(at).op(Op.i32Xor);
    f.constant(L.COUNTERS - 1).op(Op.i32And).constant(2).op(Op.i32Shl).tee(this.#entry);
    f.memory(Access.i32Load, HYPERVISOR, L.COUNTS).tee(value);
    // Another address has the place: there may be a translation all the same.
    f.get(at).op(Op.i32Xor).constant(L.COUNT_BITS).op(Op.i32ShrU).if();
    f.get(this.#entry).constant(1).op(Op.i32ShrU).constant((L.TRANSLATED_PLACES - 1) * 2).op(Op.i32And);
    f.memory(Access.i32Load16U, HYPERVISOR, L.TRANSLATED).brIf(look);
    f.get(at).constant(~L.COUNT_MASK).op(Op.i32And).set(value).end();
    f.get(value).constant(L.COUNT_MASK).op(Op.i32And).constant(1).op(Op.i32Add).tee(at);
    f.constant(this.options.threshold).op(Op.i32GeU).unlikely().if();
    this.#lookNowAndThen(look);
    f.end();
    f.get(this.#entry).get(value).constant(1).op(Op.i32Add).memory(Access.i32Store, HYPERVISOR, L.COUNTS);
    f.get(this.#entries).constant(1).op(Op.i32Add).set(this.#entries);
    f.end();
  }

  /**
   * Beyond the threshold, where code keeps changing (rewrites.ts), looks at every few entries only: that the page has been left
   * alone for long enough need not be noticed at once. What is translated already is always looked for.
   */
  #lookNowAndThen(look: number): void {
    const f = this.body, { at: count } = this.v, { threshold } = this.options;
    if (threshold < LOOK_ENTRIES) return void f.br(look);
    f.get(count).constant(LOOK_ENTRIES - 1).op(Op.i32And).op(Op.i32Eqz);
    f.get(count).constant(threshold).op(Op.i32Eq).op(Op.i32Or);
    f.get(count).constant(MOST_ENTRIES).op(Op.i32GeU).op(Op.i32Or).brIf(look);
  }

  /** Everything up to the handler: form, ModR/M byte, effective address, immediate, the operand's place. */
  #decode(interpret: number, decode: number): void {
    const f = this.body, { at, opcode, mod, reg, rm, address, base, immediate, place } = this.v;
    const form = this.#form,
      take = (bytes: 1 | 2 | 4) => {
        const access = bytes === 1 ? Access.i32Load8S : bytes === 2 ? Access.i32Load16S : Access.i32Load;
        f.get(at).memory(access, MACHINE, 0);
        f.get(at).constant(bytes).op(Op.i32Add).set(at);
      };
    const has = (bits: number) => f.get(form).constant(bits).op(Op.i32And);
    const loadForm = () => this.#loadForm();
    f.get(at).memory(Access.i32Load8U, MACHINE, 0).get(opcode).op(Op.i32Or).tee(opcode);
    f.get(at).constant(1).op(Op.i32Add).set(at);
    loadForm();
    has(MODRM).if();
    f.get(at).memory(Access.i32Load8U, MACHINE, 0).tee(rm).constant(6).op(Op.i32ShrU).set(mod);
    f.get(at).constant(1).op(Op.i32Add).set(at);
    f.get(rm).constant(3).op(Op.i32ShrU).constant(7).op(Op.i32And).set(reg);
    f.get(rm).constant(7).op(Op.i32And).set(rm);
    this.#loadFormOfGroup();
    f.get(mod).constant(3).op(Op.i32Ne).if();
    this.#addressOfModRm(take);
    f.end();
    f.else();
    has(OFFSET).if();
    // Without a ModR/M byte, the register is the accumulator.
    take(4);
    f.get(base).op(Op.i32Add).set(address).constant(0).tee(mod).set(reg);
    f.end();
    f.end();
    has(IMMEDIATE_8).if();
    has(IMMEDIATE_16).constant(IMMEDIATE_16).op(Op.i32Eq).if();
    take(2);
    f.set(immediate);
    f.else();
    take(1);
    f.set(immediate);
    f.end();
    f.else();
    has(IMMEDIATE_32).if();
    take(4);
    f.set(immediate);
    f.end();
    f.end();
    // What crosses the page is put together first; up to here it has only been looked at.
    f.get(at).constant(1).op(Op.i32Sub).get(this.v.addend).op(Op.i32Sub).get(this.#page).op(Op.i32Sub);
    f.constant(LAST_OFFSET).op(Op.i32GtU).unlikely().if();
    this.#putTogether(interpret);
    f.br(decode).end();
    has(SIZE_MASK << SIZE_SHIFT).if();
    f.get(mod).constant(3).op(Op.i32Eq).if();
    has(1 << SIZE_SHIFT).if(I32);
    this.registerPlace8(rm);
    f.else();
    this.registerPlace(rm);
    f.end().set(place);
    f.else();
    this.translate(
      address,
      () => f.get(form).constant(SIZE_SHIFT).op(Op.i32ShrU).constant(SIZE_MASK).op(Op.i32And),
      () => has(WRITES).constant(8).op(Op.i32ShrU),
      interpret,
    );
    f.set(place).end().end();
  }

  /**
   * Copies an instruction that goes on in the next page, whose frame must be at hand, to a place of its own, to be decoded there:
   * for this once, it is its page.
   */
  #putTogether(interpret: number): void {
    const f = this.body, { at, eip, addend, base, opcode, value } = this.v, page = this.#page, entry = this.#entry;
    const place = (this.area + L.CROSSING) | 0;
    f.get(page).constant(LAST_OFFSET + 1).op(Op.i32Add).set(value);
    this.#lookUpPage(value);
    f.get(value).op(Op.i32Ne).brIf(interpret);
    // So many bytes are in the first page.
    f.get(value).get(eip).op(Op.i32Sub).set(value);
    f.constant(place).get(eip).get(addend).op(Op.i32Add).get(value).memoryCopy();
    f.constant(place).get(value).op(Op.i32Add);
    f.get(entry).memory(Access.i32Load, HYPERVISOR, L.INSTRUCTION_TLB + L.TLB_MPN).constant(PAGE_SHIFT).op(Op.i32Shl);
    f.constant(MOST_BYTES).get(value).op(Op.i32Sub).memoryCopy();
    f.get(eip).set(page);
    f.constant(place).tee(at).get(eip).op(Op.i32Sub).set(addend);
    f.constant(1).set(this.#isStale).constant(0).tee(base).set(opcode);
  }

  /** Sets `entry` to that of the instruction TLB for the linear address in a local, and pushes the page that it has. */
  #lookUpPage(linear: number): void {
    const f = this.body;
    f.get(linear).constant(8).op(Op.i32ShrU).constant(L.INSTRUCTION_BANK_BYTES - 16).op(Op.i32And);
    f.get(this.#bank).op(Op.i32Add).tee(this.#entry).memory(Access.i32Load, HYPERVISOR, L.INSTRUCTION_TLB);
  }

  /** Sets the form from the table, by the opcode on the stack. */
  #loadForm(): void {
    this.body.constant(1).op(Op.i32Shl).memory(Access.i32Load16U, HYPERVISOR, L.FORMS).set(this.#form);
  }

  /** Where the form is a group's, sets that of its member `reg`. */
  #loadFormOfGroup(): void {
    const f = this.body, form = this.#form;
    f.get(form).constant(GROUP).op(Op.i32And).if();
    f.get(form).constant(NUMBER_MASK).op(Op.i32And).constant(3).op(Op.i32Shl).get(this.v.reg).op(Op.i32Or);
    f.constant(GROUPS).op(Op.i32Add);
    this.#loadForm();
    f.end();
  }

  /** Sets `address` from the ModR/M byte, for operands in memory (SDM 2A, tables 2-2 and 2-3). */
  #addressOfModRm(take: (bytes: 1 | 4) => void): void {
    const f = this.body, { at, mod, rm, address, base, value } = this.v;
    const RM_SIB = 4, NO_INDEX = 4, DISPLACEMENT_ONLY = 5;
    f.get(base).set(address);
    const add = () => f.get(address).op(Op.i32Add).set(address);
    // Both ways push a displacement or have added a register.
    const addBaseOrDisplacement = (local: number) => {
      f.get(local).constant(DISPLACEMENT_ONLY).op(Op.i32Eq).get(mod).op(Op.i32Eqz).op(Op.i32And).if(I32);
      take(4);
      f.else();
      this.registerOf(local).end();
      add();
    };
    f.get(rm).constant(RM_SIB).op(Op.i32Eq).if();
    f.get(at).memory(Access.i32Load8U, MACHINE, 0).set(value);
    f.get(at).constant(1).op(Op.i32Add).set(at);
    f.get(value).constant(3).op(Op.i32ShrU).constant(7).op(Op.i32And).tee(rm).constant(NO_INDEX).op(Op.i32Ne).if();
    this.registerOf(rm).get(value).constant(6).op(Op.i32ShrU).op(Op.i32Shl);
    add();
    f.end();
    f.get(value).constant(7).op(Op.i32And).set(rm);
    f.end();
    addBaseOrDisplacement(rm);
    f.get(mod).constant(1).op(Op.i32Eq).if();
    take(1);
    add();
    f.end();
    f.get(mod).constant(2).op(Op.i32Eq).if();
    take(4);
    add();
    f.end();
  }

  /**
   * Pushes the machine address of an access, through the TLB or its slow path, whose failure leaves the instruction to the
   * interpreter. `pushSize` pushes 1, 2 or 4, `pushWrite` 0 or 8. The slow path may move frames: that of the code, too.
   */
  translate(address: number, pushSize: () => void, pushWrite: () => void, interpret: number): void {
    const f = this.body, { at } = this.v, entry = this.#entry;
    f.get(address).constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And);
    f.constant(L.DATA_BANK_BYTES).constant(0).get(this.#bank).op(Op.select).op(Op.i32Add).tee(entry);
    pushWrite();
    f.op(Op.i32Add).memory(Access.i32Load, HYPERVISOR, L.DATA_TLB);
    f.get(address).constant(-1).op(Op.i32Add);
    pushSize();
    f.op(Op.i32Add).constant(PAGE_MASK).op(Op.i32And).op(Op.i32Eq).likely().if(I32);
    f.get(entry).memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + L.TLB_ADDEND).get(address).op(Op.i32Add);
    f.else();
    f.get(address);
    pushSize();
    pushWrite();
    f.op(Op.i32Or).get(at).call(MISS).tee(entry).constant(-1).op(Op.i32Eq).brIf(interpret);
    f.constant(1).set(this.#isStale);
    f.get(entry);
    f.end();
  }

  /** As `translate`, of four bytes at the address in a local. */
  translateWord(address: number, isWrite: boolean): void {
    const f = this.body;
    this.translate(address, () => f.constant(4), () => f.constant(isWrite ? 8 : 0), this.labels.interpret);
  }

  /** Pushes the word on the stack onto the guest's. */
  pushWord(): void {
    const f = this.body, { address, value } = this.v;
    f.set(value);
    this.register(ESP).constant(4).op(Op.i32Sub).set(address);
    this.translateWord(address, true);
    f.get(value).memory(Access.i32Store, MACHINE, 0);
    this.setState(ESP, () => f.get(address));
  }

  /** Pushes the word that the guest's stack pointer, in `address` afterwards, points to. */
  topWord(): void {
    const { address } = this.v;
    this.register(ESP).set(address);
    this.translateWord(address, false);
    this.body.memory(Access.i32Load, MACHINE, 0);
  }

  /** Goes to the handler; prefixes go back to the label `decode`. */
  #dispatch(decode: number): void {
    const f = this.body, { v, labels } = this;
    const handlers = operations(this);
    const blocks = HANDLERS.map(() => f.block()).reverse();
    f.get(this.#form).constant(NUMBER_MASK).op(Op.i32And).brTable(blocks, labels.interpret);
    for (const name of HANDLERS) {
      f.end();
      if (name === "unknown") f.br(labels.interpret);
      else if (name === "twoByte") f.constant(TWO_BYTE_MAP).set(v.opcode).br(decode);
      else if (name === "segmentPrefix") this.#segmentPrefix(decode);
      else if (name === "idlePrefix") this.#prefix(decode);
      else if (name === "lockPrefix") this.#lockPrefix(decode);
      else if (name === "operandSizePrefix") this.#again(decode, NARROW_MAP);
      else if (name === "repeatPrefix") this.#again(decode, REPEAT_MAP);
      else handlers[name]();
    }
  }

  /** FS and GS count with their base, if they may be written and have no limit. The last prefix counts. */
  #segmentPrefix(decode: number): void {
    const f = this.body, { opcode, base, other } = this.v;
    const FIRST = 0x64, FS = 4;
    f.get(opcode).constant(FIRST - FS).op(Op.i32Sub).constant(2).op(Op.i32Shl).tee(other);
    f.memory(Access.i32Load, HYPERVISOR, L.STATE + S.ATTRIBUTES * 4);
    f.constant(S.SEG_CODE | S.SEG_EXPAND_DOWN | S.SEG_WRITABLE | S.SEG_NULL).op(Op.i32And);
    f.constant(S.SEG_WRITABLE).op(Op.i32Ne).brIf(this.labels.interpret);
    f.get(other).memory(Access.i32Load, HYPERVISOR, L.STATE + S.LIMIT * 4).constant(-1).op(Op.i32Ne);
    f.brIf(this.labels.interpret);
    f.get(other).memory(Access.i32Load, HYPERVISOR, L.STATE + S.BASE * 4).set(base);
    this.#again(decode);
  }

  /** ES, SS and DS are flat. */
  #prefix(decode: number): void {
    this.body.constant(0).set(this.v.base);
    this.#again(decode);
  }

  /** One processor runs a VM: LOCK asks for nothing more where it is allowed, which what follows tells. It must be the last prefix. */
  #lockPrefix(decode: number): void {
    const f = this.body, { at, rm, reg, value } = this.v;
    const TWO_BYTE = 0x0f, REGISTER = 0xc0;
    const byte = (offset: number) => f.get(at).memory(Access.i32Load8U, MACHINE, offset);
    byte(0).tee(value).constant(TWO_BYTE).op(Op.i32Eq).if();
    byte(1).constant(TWO_BYTE_MAP).op(Op.i32Or).set(value);
    byte(2).set(rm).else();
    byte(1).set(rm).end();
    f.get(rm).constant(3).op(Op.i32ShrU).constant(7).op(Op.i32And).set(reg);
    f.get(value);
    this.#loadForm();
    this.#loadFormOfGroup();
    f.get(rm).constant(REGISTER).op(Op.i32GeU).brIf(this.labels.interpret);
    f.get(this.#form).constant(LOCKABLE).op(Op.i32And).constant(LOCKABLE).op(Op.i32Ne).brIf(this.labels.interpret);
    this.#again(decode);
  }

  /** On to the byte behind a prefix, by the opcode map that it asks for. */
  #again(decode: number, map = 0): void {
    const f = this.body, { at, eip, addend, opcode } = this.v;
    f.get(at).get(addend).op(Op.i32Sub).get(eip).op(Op.i32Sub).constant(MOST_PREFIXES).op(Op.i32GtU);
    f.brIf(this.labels.interpret).constant(map).set(opcode).br(decode);
  }
}
