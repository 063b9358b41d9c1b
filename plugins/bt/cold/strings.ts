// String instructions in cold code (interpreter.ts), upwards (SDM 2A and 2B; SDM 1, 7.3.9). A repeated MOVS or STOS does as many
// iterations at once as lie in one page of each operand and as the budget allows, and comes again for the rest. One iteration
// is one step. Downwards, and where an element lies across pages, the interpreter proper does them.

import { DF, EAX, ECX, EDI, ESI, state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, MACHINE, Op } from "../wasm.ts";
import { BYTE_SHIFT, CMP } from "./alu.ts";
import { NARROW_MAP, REPEAT_MAP } from "./forms.ts";
import type { ColdInterpreter } from "./interpreter.ts";

const PAGE_BYTES = 4096, PAGE_SHIFT = 12;

/** Handlers by name: each emits its code. */
export function strings(cold: ColdInterpreter) {
  const f = cold.body, { v, labels } = cold;
  const { opcode, address, base, place, operation, left, right, target, narrow, value, other } = v;
  /** Locals that string instructions have no other use for: binary logarithm of an element's size; iterations. */
  const shift = v.mod, count = v.immediate;
  const isWide = () => f.get(opcode).constant(1).op(Op.i32And);
  const isRepeated = () => f.get(opcode).constant(REPEAT_MAP).op(Op.i32And);
  const bytes = () => f.get(count).get(shift).op(Op.i32Shl);

  const atMost = (push: () => void) => {
    push();
    f.tee(other).get(count).get(other).get(count).op(Op.i32LtU).op(Op.select).set(count);
  };
  /** Sets `shift` and `count`: 1, or how often a repetition may go on. One of no iteration is complete. */
  const begin = () => {
    cold.word(L.STATE + S.FLAGS_OTHER * 4).constant(DF).op(Op.i32And).brIf(labels.interpret);
    f.constant(1).constant(2).get(opcode).constant(NARROW_MAP).op(Op.i32And).op(Op.select).constant(0);
    isWide().op(Op.select).set(shift);
    f.constant(1).set(count);
    isRepeated().if();
    cold.register(ECX).tee(count).op(Op.i32Eqz).brIf(labels.done);
    atMost(() => cold.budget());
    f.end();
  };
  /** Limits `count` to what lies in the page of an address; an element that does not is not done here. */
  const withinPage = (linear: number) => {
    f.constant(PAGE_BYTES).get(linear).constant(PAGE_BYTES - 1).op(Op.i32And).op(Op.i32Sub).get(shift).op(Op.i32ShrU);
    f.tee(other).op(Op.i32Eqz).brIf(labels.interpret);
    atMost(() => f.get(other));
  };
  const translate = (linear: number, isWrite: boolean) => {
    const size = () => f.constant(1).get(shift).op(Op.i32Shl);
    cold.translate(linear, size, () => f.constant(isWrite ? 8 : 0), labels.interpret);
  };
  const one = () => f.constant(1).set(count);
  /**
   * Sets `target` to the machine address of the destination. A slow path has given it for one element, which may be beside code;
   * and one at a time goes what is stored to the page of the instruction, which it may change.
   */
  const destination = () => {
    translate(address, true);
    f.tee(target).get(v.at).constant(1).op(Op.i32Sub).op(Op.i32Xor).constant(PAGE_SHIFT).op(Op.i32ShrU).op(Op.i32Eqz);
    cold.hasMissed().op(Op.i32Or).if();
    one().end();
  };
  const advance = (...registers: readonly number[]) => {
    for (const register of registers) {
      cold.setState(register, () => {
        cold.register(register);
        bytes().op(Op.i32Add);
      });
    }
  };
  /** Comes again where a repetition is not at its end. */
  const finish = () => {
    isRepeated().op(Op.i32Eqz).brIf(labels.done);
    cold.pay(() => f.get(count).constant(1).op(Op.i32Sub));
    cold.register(ECX).get(count).op(Op.i32Sub).set(other);
    cold.setState(ECX, () => f.get(other));
    f.get(other).op(Op.i32Eqz).brIf(labels.done);
    f.get(v.eip).set(v.next).br(labels.jumped);
  };

  return {
    moveString: () => {
      const source = left, scratch = (cold.area + L.SCRATCH) | 0;
      begin();
      cold.register(ESI).get(base).op(Op.i32Add).set(source);
      cold.register(EDI).set(address);
      withinPage(source);
      withinPage(address);
      translate(source, false);
      // Read before the destination is looked at: that may set bits in what is read, or give its frame away.
      f.tee(place).memory(Access.i32Load, MACHINE, 0).set(value);
      destination();
      cold.hasMissed().if();
      f.constant(scratch).tee(place).get(value).memory(Access.i32Store, MACHINE, 0).end();
      // Where the destination begins inside the source, each element read may be one that was written.
      f.get(target).get(place).op(Op.i32Sub);
      bytes().op(Op.i32LtU).if();
      one().end();
      f.get(target).get(place);
      bytes().memoryCopy();
      advance(ESI, EDI);
      finish();
    },
    storeString: () => {
      begin();
      cold.register(EDI).set(address);
      withinPage(address);
      destination();
      advance(EDI);
      // Zero, nearly always, is a fill.
      cold.register(EAX).tee(value).constant(0);
      isWide().op(Op.select).if();
      f.get(target);
      bytes().op(Op.i32Add).set(other);
      const again = f.loop();
      f.get(target).get(value).memory(Access.i32Store, MACHINE, 0);
      f.get(target).constant(4).op(Op.i32Add).tee(target).get(other).op(Op.i32Ne).brIf(again).end();
      f.else();
      f.get(target).get(value);
      bytes().memoryFill().end();
      finish();
    },
    loadString: () => {
      begin();
      cold.register(ESI).get(base).op(Op.i32Add).set(address);
      translate(address, false);
      f.set(place);
      advance(ESI);
      isWide().if();
      cold.setState(EAX, () => f.get(place).memory(Access.i32Load, MACHINE, 0));
      f.else();
      f.constant(0).get(place).memory(Access.i32Load8U, MACHINE, 0).memory(
        Access.i32Store8,
        HYPERVISOR,
        L.STATE + EAX * 4,
      );
      f.end().br(labels.done);
    },
    scanString: () => {
      begin();
      cold.register(EDI).set(address);
      translate(address, false);
      f.set(place);
      advance(EDI);
      f.constant(0).constant(BYTE_SHIFT);
      isWide().op(Op.select).set(narrow);
      const masked = () => f.constant(-1).get(narrow).op(Op.i32ShrU).op(Op.i32And);
      cold.register(EAX);
      masked().set(left).get(place).memory(Access.i32Load, MACHINE, 0);
      masked().set(right).constant(CMP).set(operation).br(labels.alu);
    },
  };
}
