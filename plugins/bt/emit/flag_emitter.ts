// The flags of a translation in progress, computed only where somebody can see them (BT paper 3.2; papers on lazy flags): a
// flag state is symbolic, it names the locals that the flags can be computed from.

import { AUX } from "./imports.ts";
import { type FlagKind, flagWord, KIND_MASK, STEP_BIT, STORED_WORD, SUB_WORD } from "./flag_kinds.ts";
import { FIXED_LOCALS, FLAG_AUX, FLAG_KIND, FLAG_PART, FLAG_RESULT, FLAG_RIGHT, STATUS } from "./locals.ts";
import { type FunctionBody, I32, Op } from "../wasm.ts";

/** Bits of FLAG_AUX that a 32-bit operation's carries leave: CF, CF xor OF, AF. */
const AUX_CARRIES = 0xc0000000 | 0, AUX_AF = 8;
/** Numbers of the conditions that test CF and ZF alone. */
const CARRY = 1, ZERO = 2;

/**
 * Where the status flags are. `stored`: in FLAG_RESULT and FLAG_AUX. `any`: as FLAG_KIND says when the code runs. `partial`: as
 * in `base`, but for the bits of FLAG_AUX in `mask`, which are in `a`; `carry`: but for CF, which `a` is, 0 or 1. Otherwise an
 * operation of `bits` whose operands and result lie in locals (flag_kinds.ts).
 */
export interface FlagState {
  readonly kind: "stored" | "any" | "partial" | "carry" | FlagKind;
  readonly bits: 8 | 16 | 32;
  readonly a: number;
  readonly b: number;
  readonly result: number;
  readonly base?: FlagState;
  readonly mask?: number;
}

export const STORED: FlagState = { kind: "stored", bits: 32, a: 0, b: 0, result: FLAG_RESULT };
export const ANY: FlagState = { kind: "any", bits: 32, a: 0, b: 0, result: FLAG_RESULT };

/** Emits what the flags need; temporaries, which last for one instruction, are shared with whatever else is emitted. */
export class FlagEmitter {
  flags: FlagState = STORED;
  /** Temporaries by type, and how many of each the present instruction has. */
  readonly #temporaries = new Map<number, { readonly locals: number[]; used: number }>();
  /** The two sets of locals that flag states use by turns: left operand, right operand, result. */
  readonly flagLocals: readonly (readonly [left: number, right: number, result: number])[];
  #flagSet = 0;
  /** Calls in the function that can change no translation of an address. */
  harmlessCalls = 0;

  constructor(readonly f: FunctionBody) {
    for (let i = 0; i < FIXED_LOCALS; i++) f.local(I32);
    const set = () => [f.local(I32), f.local(I32), f.local(I32)] as const;
    this.flagLocals = [set(), set()];
  }

  /** A local that outlasts the instruction. */
  keptLocal(): number {
    return this.f.local(I32);
  }

  /** A local for the present instruction. */
  temporary(type = I32): number {
    let pool = this.#temporaries.get(type);
    if (pool === undefined) this.#temporaries.set(type, pool = { locals: [], used: 0 });
    if (pool.used === pool.locals.length) pool.locals.push(this.f.local(type));
    return pool.locals[pool.used++];
  }

  /** Begins an instruction: the temporaries are free. */
  freeTemporaries(): void {
    for (const pool of this.#temporaries.values()) pool.used = 0;
  }

  /** Begins a new flag state whose locals are free: [a, b, result]. */
  newFlagLocals(): readonly [a: number, b: number, result: number] {
    this.#flagSet ^= 1;
    return this.flagLocals[this.#flagSet];
  }

  setFlags(kind: FlagState["kind"], bits: 8 | 16 | 32, locals: readonly [number, number, number]): void {
    this.flags = { kind, bits, a: locals[0], b: locals[1], result: locals[2] };
  }

  /** At a block's start: the flags are where a predecessor stored them. */
  flagsAreStored(): void {
    this.flags = STORED;
  }

  /** Pops CF and CF xor OF as they are in FLAG_AUX, all else being 0: the other flags stay. */
  setCarryAndOverflow(): void {
    this.#setPart("partial", AUX_CARRIES);
  }

  /** Pops CF as 0 or 1: the other flags stay. */
  setCarry(): void {
    this.#setPart("carry", 0x80000000 | 0);
  }

  #setPart(kind: "partial" | "carry", mask: number): void {
    const { flags } = this;
    let base = flags;
    if (flags.base !== undefined) {
      // What the part before had of its own is all replaced, or there must be no part below a part.
      if (kind === "partial" || flags.kind === "carry") base = flags.base;
      else {
        this.storeFlags();
        base = STORED;
      }
    }
    this.f.set(FLAG_PART);
    this.flags = { kind, bits: 32, a: FLAG_PART, b: 0, result: base.result, base, mask };
  }

  /** The state in which `moveFlags` leaves the flags, for a unit to which control comes from there alone. */
  movedFlags(): FlagState {
    const { flags } = this;
    if (flags.kind === "any") return ANY;
    if (flags.kind === "stored" || flags.base !== undefined) return STORED;
    return { kind: flags.kind, bits: flags.bits, a: FLAG_AUX, b: FLAG_RIGHT, result: FLAG_RESULT };
  }

  /** Says that the flags are where `moveFlags` moves them. */
  flagsAreMoved(): void {
    this.flags = ANY;
  }

  /** Computes the flags into their two locals, from what they are known to come from. Changes no symbolic state. */
  storeFlags(): void {
    const { f, flags } = this;
    if (flags.kind === "stored") return;
    this.pushAux();
    f.set(FLAG_AUX).get(flags.result).set(FLAG_RESULT);
    if ((flags.base ?? flags).kind === "any") f.constant(STORED_WORD).set(FLAG_KIND);
  }

  /** Moves what the flags come from to where code that knows nothing finds it. Computes nothing; no symbolic state changes. */
  moveFlags(): void {
    const { f, flags } = this;
    if (flags.kind === "any") return;
    if (flags.kind === "stored" || flags.kind === "partial" || flags.kind === "carry") {
      this.storeFlags();
      f.constant(STORED_WORD).set(FLAG_KIND);
      return;
    }
    f.constant(flagWord(flags.kind, flags.bits)).set(FLAG_KIND);
    if (flags.a === FLAG_AUX) return;
    f.get(flags.a).set(FLAG_AUX).get(flags.b).set(FLAG_RIGHT).get(flags.result).set(FLAG_RESULT);
  }

  /** Computes the flags for good: whoever reads the state block finds them. */
  computeFlags(): void {
    this.storeFlags();
    this.flags = STORED;
    this.f.constant(STORED_WORD).set(FLAG_KIND);
  }

  /** Pops the result and the auxiliary word, which are then the flags. */
  setStoredFlags(): void {
    this.f.set(FLAG_AUX).set(FLAG_RESULT);
    this.flags = STORED;
  }

  get storedResult(): number {
    return FLAG_RESULT;
  }
  get storedAux(): number {
    return FLAG_AUX;
  }

  /** Pushes FLAG_AUX of the present state. */
  pushAux(): void {
    const { f, flags } = this;
    switch (flags.kind) {
      case "stored":
        f.get(FLAG_AUX);
        return;
      case "any":
        f.get(FLAG_KIND).get(FLAG_AUX).get(FLAG_RIGHT).get(FLAG_RESULT).call(AUX);
        this.harmlessCalls++;
        return;
      case "partial":
      case "carry":
        return this.#pushPartAux();
      case "shl":
      case "shr":
      case "sar":
        return this.#pushShiftAux();
      case "logic":
        f.constant(0);
        return;
      case "add":
        // Carries out of each bit: (a & b) | ((a | b) & ~result).
        f.get(flags.a).get(flags.b).op(Op.i32And).get(flags.a).get(flags.b).op(Op.i32Or);
        f.get(flags.result).constant(-1).op(Op.i32Xor).op(Op.i32And).op(Op.i32Or);
        break;
      case "sub":
        // Borrows: (~a & b) | ((~a | b) & result).
        f.get(flags.a).constant(-1).op(Op.i32Xor).tee(STATUS).get(flags.b).op(Op.i32And);
        f.get(STATUS).get(flags.b).op(Op.i32Or).get(flags.result).op(Op.i32And).op(Op.i32Or);
        break;
      case "inc":
      case "dec":
        return this.#pushStepAux();
    }
    if (flags.bits === 32) f.constant(AUX_CARRIES | AUX_AF).op(Op.i32And);
    else {
      f.tee(STATUS).constant(32 - flags.bits).op(Op.i32Shl).constant(AUX_CARRIES).op(Op.i32And);
      f.get(STATUS).constant(AUX_AF).op(Op.i32And).op(Op.i32Or);
    }
  }

  #pushPartAux(): void {
    const { f, flags } = this;
    const { kind, base = STORED, mask = 0 } = flags;
    this.flags = base;
    this.pushAux();
    this.flags = flags;
    if (kind === "partial") f.constant(~mask).op(Op.i32And).get(FLAG_PART).op(Op.i32Or);
    else {
      // OF stays: CF and CF xor OF change together.
      f.tee(STATUS).get(STATUS).constant(31).op(Op.i32ShrU).get(FLAG_PART).op(Op.i32Ne);
      f.constant(AUX_CARRIES).op(Op.i32Mul).op(Op.i32Xor);
    }
  }

  /** Pushes the last bit that was shifted out. */
  #pushShiftCarry(): void {
    const { f, flags } = this;
    f.get(flags.a);
    if (flags.kind !== "shl") f.get(flags.b).constant(1).op(Op.i32Sub).op(Op.i32ShrU);
    else if (flags.bits === 32) f.constant(32).get(flags.b).op(Op.i32Sub).op(Op.i32ShrU);
    else f.get(flags.b).op(Op.i32Shl).constant(flags.bits).op(Op.i32ShrU);
    f.constant(1).op(Op.i32And);
  }

  /** OF by one rule whatever the count, AF 1. */
  #pushShiftAux(): void {
    const { f, flags } = this;
    this.#pushShiftCarry();
    f.tee(STATUS).constant(31).op(Op.i32Shl);
    if (flags.kind === "sar") f.get(STATUS);
    else if (flags.kind === "shl") f.get(flags.result).constant(31).op(Op.i32ShrU);
    else {f.get(flags.result).constant(flags.bits - 2).op(Op.i32ShrU).constant(1).op(Op.i32And).get(STATUS).op(
        Op.i32Xor,
      );}
    f.constant(30).op(Op.i32Shl).op(Op.i32Or).constant(AUX_AF).op(Op.i32Or);
  }

  /** INC and DEC: CF as it was (in `a`); OF where the result is the least or greatest number; AF from the low digit. */
  #pushStepAux(): void {
    const { f, flags } = this;
    const isInc = flags.kind === "inc";
    const sign = flags.bits === 32 ? 0x80000000 | 0 : -(1 << (flags.bits - 1));
    const extreme = isInc ? sign : flags.bits === 32 ? 0x7fffffff : (1 << (flags.bits - 1)) - 1;
    // Bit 31 is CF, bit 30 CF xor OF.
    f.get(flags.a).constant(31).op(Op.i32Shl);
    f.get(flags.a).get(flags.result).constant(extreme).op(Op.i32Eq).op(Op.i32Xor).constant(30).op(Op.i32Shl).op(
      Op.i32Or,
    );
    f.get(flags.result).constant(15).op(Op.i32And).constant(isInc ? 0 : 15).op(Op.i32Eq).constant(3).op(Op.i32Shl).op(
      Op.i32Or,
    );
  }

  /** Pushes CF as 0 or 1. */
  pushCarry(): void {
    const { f, flags } = this;
    if (flags.kind === "logic") f.constant(0);
    else if (flags.kind === "shl" || flags.kind === "shr" || flags.kind === "sar") this.#pushShiftCarry();
    else if (flags.kind === "partial") f.get(FLAG_PART).constant(31).op(Op.i32ShrU);
    else if (flags.kind === "carry") f.get(FLAG_PART);
    else if (flags.kind === "inc" || flags.kind === "dec") f.get(flags.a);
    else if (flags.kind === "sub") f.get(flags.a).get(flags.b).op(Op.i32LtU);
    else if (flags.kind === "add") f.get(flags.result).get(flags.a).op(Op.i32LtU);
    else if (flags.kind === "any") {
      // In a loop that counts, it is a step's carry already; or the flags are a comparison's.
      f.get(FLAG_KIND).constant(STEP_BIT).op(Op.i32And).if(I32);
      f.get(FLAG_AUX).else();
      f.get(FLAG_KIND).constant(KIND_MASK).op(Op.i32And).constant(SUB_WORD).op(Op.i32Eq).if(I32);
      f.get(FLAG_AUX).get(FLAG_RIGHT).op(Op.i32LtU).else();
      this.pushAux();
      f.constant(31).op(Op.i32ShrU).end().end();
    } else {
      this.pushAux();
      f.constant(31).op(Op.i32ShrU);
    }
  }

  /** Pushes a value that is not zero exactly where the condition (the low four bits of Jcc's opcode) holds. */
  pushCondition(code: number): void {
    const isPlain = code >> 1 === ZERO || (code >> 1 === CARRY && this.flags.base !== undefined);
    if (!isPlain && (this.flags.kind === "any" || this.flags.base !== undefined)) {
      this.storeFlags();
      this.flags = STORED;
    }
    const { f, flags } = this;
    const isNegated = (code & 1) !== 0;
    if (flags.kind === "sub") {
      const comparison = [
        ,
        ,
        Op.i32LtU,
        Op.i32GeU,
        Op.i32Eq,
        Op.i32Ne,
        Op.i32LeU,
        Op.i32GtU,
        ,
        ,
        ,
        ,
        Op.i32LtS,
        Op.i32GeS,
        Op.i32LeS,
        Op.i32GtS,
      ][code];
      if (comparison !== undefined) {
        f.get(flags.a).get(flags.b).op(comparison);
        return;
      }
    }
    switch (code >> 1) {
      case 0:
        this.#pushOverflow();
        break;
      case 1:
        this.pushCarry();
        break;
      case 2:
        f.get(flags.result).op(Op.i32Eqz);
        break;
      case 3:
        this.pushCarry();
        f.get(flags.result).op(Op.i32Eqz).op(Op.i32Or);
        break;
      case 4:
        this.#pushSign();
        break;
      case 5:
        this.#pushParity();
        break;
      case 6:
        this.#pushLess();
        break;
      default:
        this.#pushLess();
        f.get(flags.result).op(Op.i32Eqz).op(Op.i32Or);
    }
    if (isNegated) f.op(Op.i32Eqz);
  }

  #pushLess(): void {
    const { f, flags } = this;
    if (flags.kind === "logic") {
      // OF is clear: less means negative.
      f.get(flags.result).constant(31).op(Op.i32ShrU);
      return;
    }
    this.#pushSign();
    this.#pushOverflow();
    f.op(Op.i32Xor);
  }

  #pushSign(): void {
    const { f, flags } = this;
    f.get(flags.result).constant(31).op(Op.i32ShrU);
    if (flags.kind === "stored") f.get(FLAG_AUX).constant(1).op(Op.i32And).op(Op.i32Xor);
  }

  #pushOverflow(): void {
    const { f } = this;
    if (this.flags.kind === "logic") {
      f.constant(0);
      return;
    }
    const aux = this.temporary();
    this.pushAux();
    f.tee(aux).constant(31).op(Op.i32ShrU).get(aux).constant(30).op(Op.i32ShrU).op(Op.i32Xor).constant(1).op(Op.i32And);
  }

  #pushParity(): void {
    const { f, flags } = this;
    // Even number of ones in the low byte.
    f.get(flags.result).constant(0xff).op(Op.i32And).op(Op.i32Popcnt).constant(1).op(Op.i32And).op(Op.i32Eqz);
    if (flags.kind === "stored") {
      f.get(FLAG_AUX).constant(1).op(Op.i32ShrU).constant(1).op(Op.i32And).op(Op.i32Xor);
    }
  }
}
