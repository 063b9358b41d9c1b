// Functions of the runtime module that do, on the state block, what segment loads, INT n, IRET, SYSENTER and SYSEXIT do in
// flat 32-bit segments between CPL 0 and 3 (SDM 3A, 3.4.2, 5.8.7 and 6.12). They go the way that system calls go, where
// nothing can fault: descriptors accessed already, every page in the TLB. Anything else they leave to the emulator, by
// returning 1 before they have changed anything; 0 means done.

import { AC, AF, CF, DF, ES, ESP, ID, IF, IOPL, NT, OF, PF, RF, SF, SS, TF, VM, ZF } from "../x86/mod.ts";
import { CS, DS, ECX, EDX, FS, GS, state as S, VIF, VIP } from "../x86/mod.ts";
import * as L from "./layout.ts";
import { Access, FunctionBody, HYPERVISOR, I32, MACHINE, Op } from "./wasm.ts";

const PAGE_MASK = 0xfffff000 | 0;
const DONE = 0, EMULATE = 1;
/** Bits of a descriptor's high word that ATTRIBUTES keeps. */
const ATTRIBUTE_BITS = 0x00f0ff00;
/** A descriptor's words for a flat 4 GiB segment of CPL 0 that was accessed: limit and base; type. DPL is added. */
const FLAT_LOW = 0xffff;
const FLAT = 0xf0000 | S.SEG_G | S.SEG_DB | S.SEG_P | S.SEG_S | S.SEG_ACCESSED;
const FLAT_CODE = FLAT | S.SEG_CODE | S.SEG_READABLE, FLAT_DATA = FLAT | S.SEG_WRITABLE;
const USER_DPL = 3 << S.SEG_DPL_SHIFT;
/** Selectors: requested privilege level, local table. */
const RPL = 3, TABLE_INDICATOR = 4;
/** A gate's high word: present, no segment, 32-bit interrupt or trap gate; the bit that tells these apart. */
const GATE_MASK = S.SEG_P | 0x1e00, GATE = S.SEG_P | 0xe00, TRAP_GATE = 0x100;
/** Attributes of TR: a 32-bit task-state segment. In it, ESP0 and SS0. */
const TSS32 = 0x800, TSS_ESP0 = 4, TSS_SS0 = 8, TSS_SS0_LAST = 9;
/** What an event and SYSENTER clear, and what IRETD takes from the stack at CPL 0, beside the status flags. */
const CLEARED_BY_EVENT = TF | NT | RF | VM, CLEARED_BY_SYSENTER = VM | IF | RF;
const POPPED = TF | DF | NT | RF | AC | ID | IF | IOPL | VIF | VIP;
/** Flags that IRETD may bring back that make the processor look at every instruction, or mean other modes. */
const WATCHED = TF | AC | NT | VM;
/** Bit 1 of EFLAGS is always set. */
const ALWAYS_SET = 2;
/** FLAG_AUX: see state.ts. Results that are not zero and have an even low byte: negative, positive. */
const AUX_AF = 8, AUX_INVERTS_PF = 2, NEGATIVE = 0x80000000 | 0, POSITIVE = 0x100;

/** A function in the making, with what all of them do. */
class Transfer {
  readonly f: FunctionBody;
  readonly #entry: number;

  constructor(parameters: number) {
    this.f = new FunctionBody(parameters);
    this.#entry = this.f.local(I32);
    this.f.block();
  }

  local(): number {
    return this.f.local(I32);
  }

  /** Pops a condition: gives up where it holds. The label is that of the function's one outer block. */
  giveUpIf(): void {
    this.f.brIf(OUTER);
  }

  /** Ends the function: done, and the other end. */
  finish(): FunctionBody {
    this.f.constant(DONE).op(Op.return).end().constant(EMULATE);
    return this.f;
  }

  pushState(word: number): void {
    this.f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + word * 4);
  }

  setState(word: number, push: () => void): void {
    this.f.constant(0);
    push();
    this.f.memory(Access.i32Store, HYPERVISOR, L.STATE + word * 4);
  }

  setStateTo(word: number, value: number): void {
    this.setState(word, () => this.f.constant(value));
  }

  /** Pops a linear address; pushes the machine address, for an access with the rights of CPL 0 to at most a word. */
  translate(linear: number, bytes: 2 | 4, isWrite: boolean): void {
    const { f } = this, entry = this.#entry;
    f.tee(linear).constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And).tee(entry);
    f.memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + (isWrite ? L.TLB_WRITE : L.TLB_READ));
    f.get(linear).constant(bytes - 1).op(Op.i32Add).constant(PAGE_MASK).op(Op.i32And).op(Op.i32Ne);
    this.giveUpIf();
    f.get(entry).memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + L.TLB_ADDEND).get(linear).op(Op.i32Add);
  }

  /** Reads a word at what `pushLinear` pushes into a new local. */
  read(pushLinear: () => void, bytes: 2 | 4 = 4): number {
    const linear = this.local(), value = this.local();
    pushLinear();
    this.translate(linear, bytes, false);
    this.f.memory(bytes === 4 ? Access.i32Load : Access.i32Load16U, MACHINE, 0).set(value);
    return value;
  }

  /** Reads the descriptor of the selector in a local: its two words in new locals. Gives up beyond the GDT. */
  readDescriptor(selector: number): { readonly low: number; readonly high: number } {
    const { f } = this, offset = this.local();
    f.get(selector).constant(TABLE_INDICATOR).op(Op.i32And);
    this.giveUpIf();
    f.get(selector).constant(0xfff8).op(Op.i32And).tee(offset).constant(7).op(Op.i32Add);
    this.pushState(S.GDTR_LIMIT);
    f.op(Op.i32GtU);
    this.giveUpIf();
    const at = (word: number) => () => {
      this.pushState(S.GDTR_BASE);
      f.get(offset).op(Op.i32Add).constant(word).op(Op.i32Add);
    };
    return { low: this.read(at(0)), high: this.read(at(4)) };
  }

  /** Reads a selector's descriptor, gives up unless it is that of a flat segment with these bits, returns its high word. */
  readFlat(selector: number, high: number): number {
    const { f } = this;
    const descriptor = this.readDescriptor(selector);
    f.get(descriptor.low).constant(FLAT_LOW).op(Op.i32Ne);
    f.get(descriptor.high).constant(~S.SEG_AVL).op(Op.i32And).constant(high).op(Op.i32Ne).op(Op.i32Or);
    this.giveUpIf();
    return descriptor.high;
  }

  /** Fills a segment register that is flat from its selector and its descriptor's high word. */
  setFlat(segment: number, pushSelector: () => void, pushHigh: () => void): void {
    this.setState(S.SELECTOR + segment, pushSelector);
    this.setStateTo(S.BASE + segment, 0);
    this.setStateTo(S.LIMIT + segment, -1);
    this.setState(S.ATTRIBUTES + segment, () => {
      pushHigh();
      this.f.constant(ATTRIBUTE_BITS).op(Op.i32And);
    });
  }

  /** Sets CPL to 0 or 3, and what chaining goes by. */
  setLevel(level: 0 | 3): void {
    const { f } = this;
    this.setStateTo(S.CPL, level);
    f.constant(0).constant(0).memory(Access.i32Load, HYPERVISOR, L.MODE);
    f.constant(~L.MODE_USER).op(Op.i32And).constant(level === 3 ? L.MODE_USER : 0).op(Op.i32Or);
    f.memory(Access.i32Store, HYPERVISOR, L.MODE);
    f.constant(0).constant(level === 3 ? L.INSTRUCTION_BANK_BYTES : 0);
    f.memory(Access.i32Store, HYPERVISOR, L.INSTRUCTION_BANK);
  }

  /** Gives up outside protected mode. */
  requireProtected(): void {
    this.pushState(S.CR0);
    this.f.constant(S.CR0_PE).op(Op.i32And).op(Op.i32Eqz);
    this.giveUpIf();
  }
}

/** Label of a function's outer block, in the terms of FunctionBody.block. */
const OUTER = 1;

/** `loadSegment(segment, selector)`: ES and DS with flat data, FS and GS with whatever is readable, or null. */
export function loadSegmentFunction(): FunctionBody {
  const t = new Transfer(2), { f } = t;
  const SEGMENT = 0, SELECTOR = 1;
  const base = t.local(), limit = t.local(), at = t.local();
  const set = (word: number, push: () => void) => {
    f.get(at);
    push();
    f.memory(Access.i32Store, HYPERVISOR, L.STATE + word * 4);
  };
  t.requireProtected();
  f.get(SEGMENT).constant(2).op(Op.i32Shl).set(at);
  f.get(SELECTOR).constant(0xfffc).op(Op.i32And).op(Op.i32Eqz).if();
  f.get(SEGMENT).constant(FS).op(Op.i32LtS);
  t.giveUpIf();
  set(S.SELECTOR, () => f.get(SELECTOR));
  set(S.BASE, () => f.constant(0));
  set(S.LIMIT, () => f.constant(0));
  set(S.ATTRIBUTES, () => f.constant(S.SEG_NULL));
  f.constant(DONE).op(Op.return).end();

  const { low, high } = t.readDescriptor(SELECTOR);
  const needed = S.SEG_P | S.SEG_S | S.SEG_ACCESSED;
  f.get(high).constant(needed).op(Op.i32And).constant(needed).op(Op.i32Ne);
  f.get(high).constant(S.SEG_CODE | S.SEG_READABLE).op(Op.i32And).constant(S.SEG_CODE).op(Op.i32Eq).op(Op.i32Or);
  t.giveUpIf();
  const pushDpl = () => f.get(high).constant(S.SEG_DPL_SHIFT).op(Op.i32ShrU).constant(RPL).op(Op.i32And);
  t.pushState(S.CPL);
  pushDpl().op(Op.i32GtU).get(SELECTOR).constant(RPL).op(Op.i32And);
  pushDpl().op(Op.i32GtU).op(Op.i32Or);
  t.giveUpIf();
  f.get(low).constant(16).op(Op.i32ShrU).get(high).constant(0xff).op(Op.i32And).constant(16).op(Op.i32Shl).op(Op.i32Or);
  f.get(high).constant(0xff000000 | 0).op(Op.i32And).op(Op.i32Or).set(base);
  f.get(low).constant(0xffff).op(Op.i32And).get(high).constant(0xf0000).op(Op.i32And).op(Op.i32Or).tee(limit);
  f.constant(12).op(Op.i32Shl).constant(0xfff).op(Op.i32Or).get(limit);
  f.get(high).constant(S.SEG_G).op(Op.i32And).op(Op.select).set(limit);
  // The mode must stay as it is: translated code goes on.
  f.get(SEGMENT).constant(FS).op(Op.i32LtS).if();
  f.get(base).get(limit).constant(-1).op(Op.i32Ne).op(Op.i32Or);
  f.get(high).constant(S.SEG_CODE | S.SEG_EXPAND_DOWN | S.SEG_WRITABLE).op(Op.i32And).constant(S.SEG_WRITABLE);
  f.op(Op.i32Ne).op(Op.i32Or);
  t.giveUpIf();
  f.end();
  set(S.SELECTOR, () => f.get(SELECTOR));
  set(S.BASE, () => f.get(base));
  set(S.LIMIT, () => f.get(limit));
  set(S.ATTRIBUTES, () => f.get(high).constant(ATTRIBUTE_BITS).op(Op.i32And));
  return t.finish();
}

/** `verifyWritable(selector)`: VERW of a writable data segment, which sets ZF (left to the caller). */
export function verifyWritableFunction(): FunctionBody {
  const t = new Transfer(1), { f } = t;
  const SELECTOR = 0;
  t.requireProtected();
  f.get(SELECTOR).constant(0xfffc).op(Op.i32And).op(Op.i32Eqz);
  t.giveUpIf();
  const { high } = t.readDescriptor(SELECTOR);
  f.get(high).constant(S.SEG_P | S.SEG_S | S.SEG_CODE | S.SEG_WRITABLE).op(Op.i32And);
  f.constant(S.SEG_P | S.SEG_S | S.SEG_WRITABLE).op(Op.i32Ne);
  const pushDpl = () => f.get(high).constant(S.SEG_DPL_SHIFT).op(Op.i32ShrU).constant(RPL).op(Op.i32And);
  t.pushState(S.CPL);
  pushDpl().op(Op.i32GtU).op(Op.i32Or);
  f.get(SELECTOR).constant(RPL).op(Op.i32And);
  pushDpl().op(Op.i32GtU).op(Op.i32Or);
  t.giveUpIf();
  return t.finish();
}

/** `interrupt(vector, returnEip, eflags)`: INT n through a 32-bit gate to CPL 0. */
export function interruptFunction(): FunctionBody {
  const t = new Transfer(3), { f } = t;
  const VECTOR = 0, RETURN_EIP = 1, EFLAGS = 2;
  const selector = t.local(), pointer = t.local(), stackSelector = t.local(), stackHigh = t.local();
  t.requireProtected();
  // Somebody wants to be told of events.
  f.constant(0).memory(Access.i32Load, HYPERVISOR, L.OBSERVED);
  f.get(VECTOR).constant(3).op(Op.i32Shl).constant(7).op(Op.i32Add);
  t.pushState(S.IDTR_LIMIT);
  f.op(Op.i32GtU).op(Op.i32Or);
  t.giveUpIf();
  const gate = (word: number) => () => {
    t.pushState(S.IDTR_BASE);
    f.get(VECTOR).constant(3).op(Op.i32Shl).op(Op.i32Add).constant(word).op(Op.i32Add);
  };
  const gateLow = t.read(gate(0)), gateHigh = t.read(gate(4));
  f.get(gateHigh).constant(GATE_MASK).op(Op.i32And).constant(GATE).op(Op.i32Ne);
  f.get(gateHigh).constant(S.SEG_DPL_SHIFT).op(Op.i32ShrU).constant(RPL).op(Op.i32And);
  t.pushState(S.CPL);
  f.op(Op.i32LtU).op(Op.i32Or);
  t.giveUpIf();
  f.get(gateLow).constant(16).op(Op.i32ShrU).set(selector);
  const codeHigh = t.readFlat(selector, FLAT_CODE);

  // The stack: that of the task for CPL 0, or the present one.
  t.pushState(S.CPL);
  f.if();
  t.pushState(S.CPL);
  f.constant(3).op(Op.i32Ne);
  t.pushState(S.ATTRIBUTES + S.TR);
  f.constant(TSS32 | S.SEG_NULL).op(Op.i32And).constant(TSS32).op(Op.i32Ne).op(Op.i32Or);
  t.pushState(S.LIMIT + S.TR);
  f.constant(TSS_SS0_LAST).op(Op.i32LtU).op(Op.i32Or);
  t.giveUpIf();
  const task = (field: number) => () => {
    t.pushState(S.BASE + S.TR);
    f.constant(field).op(Op.i32Add);
  };
  f.get(t.read(task(TSS_SS0), 2)).tee(stackSelector).constant(RPL).op(Op.i32And);
  t.giveUpIf();
  f.get(t.readFlat(stackSelector, FLAT_DATA)).set(stackHigh);
  f.get(t.read(task(TSS_ESP0))).set(pointer);
  f.else();
  t.pushState(ESP);
  f.set(pointer).end();

  // Every word of the frame is found before the first is written: words from the top down.
  const places = [1, 2, 3, 4, 5].map(() => t.local());
  const find = (index: number, depth: number) => {
    const linear = t.local();
    f.get(pointer).constant(depth * 4).op(Op.i32Sub);
    t.translate(linear, 4, true);
    f.set(places[index]);
  };
  const put = (index: number, push: () => void) => {
    f.get(places[index]);
    push();
    f.memory(Access.i32Store, MACHINE, 0);
  };
  t.pushState(S.CPL);
  f.if();
  find(0, 1);
  find(1, 2);
  f.get(pointer).constant(8).op(Op.i32Sub).set(pointer).end();
  find(2, 1);
  find(3, 2);
  find(4, 3);
  t.pushState(S.CPL);
  f.if();
  put(0, () => t.pushState(S.SELECTOR + SS));
  put(1, () => t.pushState(ESP));
  t.setFlat(SS, () => f.get(stackSelector), () => f.get(stackHigh));
  f.end();
  put(2, () => f.get(EFLAGS));
  put(3, () => t.pushState(S.SELECTOR + CS));
  put(4, () => f.get(RETURN_EIP));
  t.setState(ESP, () => f.get(pointer).constant(12).op(Op.i32Sub));
  t.setFlat(CS, () => f.get(selector).constant(~RPL).op(Op.i32And), () => f.get(codeHigh));
  t.setState(S.EIP, () => {
    f.get(gateLow).constant(0xffff).op(Op.i32And).get(gateHigh).constant(0xffff0000 | 0).op(Op.i32And).op(Op.i32Or);
  });
  t.setLevel(0);
  t.setState(S.FLAGS_OTHER, () => {
    t.pushState(S.FLAGS_OTHER);
    f.constant(~CLEARED_BY_EVENT).op(Op.i32And);
    f.constant(-1).constant(~IF).get(gateHigh).constant(TRAP_GATE).op(Op.i32And).op(Op.select).op(Op.i32And);
  });
  return t.finish();
}

/**
 * `interruptReturn(budget)`: IRETD at CPL 0, within it or to CPL 3. RF, which page-fault handlers bring back, ends with the
 * next instruction: where the budget has room for that one, nobody can see it.
 */
export function interruptReturnFunction(): FunctionBody {
  const t = new Transfer(1), { f } = t;
  const BUDGET = 0;
  const selector = t.local(), stackSelector = t.local(), codeHigh = t.local(), stackHigh = t.local();
  t.requireProtected();
  const popped = (index: number) =>
    t.read(() => {
      t.pushState(ESP);
      f.constant(index * 4).op(Op.i32Add);
    });
  t.pushState(S.CPL);
  t.pushState(S.PENDING);
  f.op(Op.i32Or);
  t.pushState(S.FLAGS_OTHER);
  f.constant(NT).op(Op.i32And).op(Op.i32Or);
  t.giveUpIf();
  const eip = popped(0), cs = popped(1), flags = popped(2);
  f.get(flags).constant(WATCHED).op(Op.i32And);
  f.get(BUDGET).constant(0).op(Op.i32LeS).constant(RF).op(Op.i32Mul).get(flags).op(Op.i32And).op(Op.i32Or);
  t.giveUpIf();
  f.get(cs).constant(0xffff).op(Op.i32And).tee(selector).constant(RPL).op(Op.i32And).if();
  f.get(selector).constant(RPL).op(Op.i32And).constant(3).op(Op.i32Ne);
  t.giveUpIf();
  f.get(t.readFlat(selector, FLAT_CODE | USER_DPL)).set(codeHigh);
  const esp = popped(3), ss = popped(4);
  f.get(ss).constant(0xffff).op(Op.i32And).tee(stackSelector).constant(RPL).op(Op.i32And).constant(3).op(Op.i32Ne);
  t.giveUpIf();
  f.get(t.readFlat(stackSelector, FLAT_DATA | USER_DPL)).set(stackHigh);
  // Data segments that CPL 3 may not use would become null.
  for (const segment of [ES, DS, FS, GS]) {
    t.pushState(S.ATTRIBUTES + segment);
    f.constant(S.SEG_NULL).op(Op.i32And).op(Op.i32Eqz);
    t.pushState(S.ATTRIBUTES + segment);
    f.constant(USER_DPL).op(Op.i32And).constant(USER_DPL).op(Op.i32Ne).op(Op.i32And);
    t.giveUpIf();
  }
  t.setFlat(SS, () => f.get(stackSelector), () => f.get(stackHigh));
  t.setState(ESP, () => f.get(esp));
  t.setLevel(3);
  f.else();
  f.get(t.readFlat(selector, FLAT_CODE)).set(codeHigh);
  t.setState(ESP, () => {
    t.pushState(ESP);
    f.constant(12).op(Op.i32Add);
  });
  f.end();
  t.setFlat(CS, () => f.get(selector), () => f.get(codeHigh));
  t.setState(S.EIP, () => f.get(eip));
  t.setState(S.FLAGS_OTHER, () => {
    t.pushState(S.FLAGS_OTHER);
    f.constant(~POPPED).op(Op.i32And).get(flags).constant(POPPED & ~RF).op(Op.i32And).op(Op.i32Or);
    f.constant(ALWAYS_SET).op(Op.i32Or);
  });
  setStatusFlags(t, flags);
  return t.finish();
}

/** FLAG_RESULT and FLAG_AUX from bits of EFLAGS in a local (Processor.setStatusFlags). */
function setStatusFlags({ f }: Transfer, flags: number): void {
  const bit = (flag: number) => f.get(flags).constant(31 - Math.clz32(flag)).op(Op.i32ShrU).constant(1).op(Op.i32And);
  f.constant(0).constant(0).constant(NEGATIVE).constant(POSITIVE);
  bit(SF).op(Op.select);
  bit(ZF).op(Op.select).memory(Access.i32Store, HYPERVISOR, L.STATE + S.FLAG_RESULT * 4);
  f.constant(0);
  bit(CF).constant(31).op(Op.i32Shl);
  bit(CF);
  bit(OF).op(Op.i32Xor).constant(30).op(Op.i32Shl).op(Op.i32Or);
  bit(AF).constant(AUX_AF).op(Op.i32Mul).op(Op.i32Or);
  bit(PF).op(Op.i32Eqz).constant(AUX_INVERTS_PF).op(Op.i32Mul).op(Op.i32Or);
  bit(ZF);
  bit(SF).op(Op.i32And).op(Op.i32Or).memory(Access.i32Store, HYPERVISOR, L.STATE + S.FLAG_AUX * 4);
}

/** The selector that SYSENTER and SYSEXIT count from, in a new local; gives up where it is null. */
function systemSelector(t: Transfer): number {
  const { f } = t, selector = t.local();
  t.requireProtected();
  t.pushState(S.SYSENTER_CS);
  f.constant(0xfffc).op(Op.i32And).tee(selector).op(Op.i32Eqz);
  t.giveUpIf();
  return selector;
}

function enterFlat(t: Transfer, selector: number, toCode: number, toStack: number, level: 0 | 3): void {
  const { f } = t, dpl = level << S.SEG_DPL_SHIFT;
  const push = (distance: number) => () =>
    f.get(selector).constant(distance).op(Op.i32Add).constant(0xffff).op(Op.i32And);
  t.setFlat(CS, push(toCode | level), () => f.constant(FLAT_CODE | dpl));
  t.setFlat(SS, push(toStack | level), () => f.constant(FLAT_DATA | dpl));
  t.setLevel(level);
}

/** `systemEnter()`: SYSENTER. */
export function systemEnterFunction(): FunctionBody {
  const t = new Transfer(1), { f } = t;
  const selector = systemSelector(t);
  enterFlat(t, selector, 0, 8, 0);
  t.setState(S.FLAGS_OTHER, () => {
    t.pushState(S.FLAGS_OTHER);
    f.constant(~CLEARED_BY_SYSENTER).op(Op.i32And);
  });
  t.setState(ESP, () => t.pushState(S.SYSENTER_ESP));
  t.setState(S.EIP, () => t.pushState(S.SYSENTER_EIP));
  return t.finish();
}

/** `systemExit()`: SYSEXIT. */
export function systemExitFunction(): FunctionBody {
  const t = new Transfer(1), { f } = t;
  const selector = systemSelector(t);
  // With AC set, CPL 3 may check alignment.
  t.pushState(S.CPL);
  t.pushState(S.FLAGS_OTHER);
  f.constant(AC).op(Op.i32And).op(Op.i32Or);
  t.giveUpIf();
  enterFlat(t, selector, 16, 24, 3);
  t.setState(ESP, () => t.pushState(ECX));
  t.setState(S.EIP, () => t.pushState(EDX));
  return t.finish();
}
