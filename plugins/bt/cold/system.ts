// Sensitive instructions and segment registers in cold code (interpreter.ts), in the form `in-tc` (emit/sensitive.ts): CLI, STI, PUSHF,
// POPF, RDTSC, loads of segments, VERW, IRET, SYSENTER. What may make an interrupt, a trap or an alignment check due, or is at
// another CPL than it has to be, is left to the interpreter proper.

import { AC, AF, CF, DF, EAX, EDX, ESP, GS, ID, IF, IOPL, NT, OF, PF, RF, SF } from "../../x86/mod.ts";
import { state as S, TF, VM, ZF } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, I32, MACHINE, Op } from "../wasm.ts";
import { AUX_AF } from "./alu.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { type ColdInterpreter, ColdTransfer } from "./interpreter.ts";

const S_OTHER = L.STATE + S.FLAGS_OTHER * 4, S_CPL = L.STATE + S.CPL * 4, S_PENDING = L.STATE + S.PENDING * 4;
/** Flags that POPFD changes at CPL 0, RF being cleared; of them those whose setting needs a look at every instruction. */
const POPF_FLAGS = TF | DF | NT | IOPL | IF | AC | ID | RF, POPF_WATCHED = TF | AC;
/** Results that are not zero and have an even low byte: negative, positive. */
const NEGATIVE = 0x80000000 | 0, POSITIVE = 0x100;
/** Bit 1 of EFLAGS is always set. */
const ALWAYS_SET = 2;

const placeOf = (flag: number) => 31 - Math.clz32(flag);

/** Handlers by name: each emits its code. */
export function system(cold: ColdInterpreter, { carry, parity, aux, zero, sign, overflow, setZero }: Arithmetic) {
  const f = cold.body, { v, labels } = cold;
  const { opcode, mod, reg, rm, address, place, value } = v;
  const done = () => f.br(labels.done);
  const leaveIf = () => f.brIf(labels.interpret);
  const load16 = () => f.get(place).memory(Access.i32Load16U, MACHINE, 0);
  /** Pushes the selector in the segment register whose number is in `reg`. */
  const selector = () =>
    f.get(reg).constant(2).op(Op.i32Shl).memory(Access.i32Load, HYPERVISOR, L.STATE + S.SELECTOR * 4);
  /** Of opcodes that name a segment register, its number. */
  const segmentOfOpcode = () => f.get(opcode).constant(3).op(Op.i32ShrU).constant(7).op(Op.i32And).set(reg);
  const setOther = (push: () => void) => cold.setState(S.FLAGS_OTHER, push);

  /** Sets the status flags from bits of EFLAGS in `value` (Processor.setStatusFlags). */
  const setStatus = () => {
    const bit = (flag: number) => f.get(value).constant(placeOf(flag)).op(Op.i32ShrU).constant(1).op(Op.i32And);
    const invertsPf = 1;
    cold.setState(S.FLAG_RESULT, () => {
      f.constant(0).constant(NEGATIVE).constant(POSITIVE);
      bit(SF).op(Op.select);
      bit(ZF).op(Op.select);
    });
    cold.setState(S.FLAG_AUX, () => {
      bit(CF).constant(31).op(Op.i32Shl);
      bit(CF);
      bit(OF).op(Op.i32Xor).constant(30).op(Op.i32Shl).op(Op.i32Or);
      bit(AF).constant(placeOf(AUX_AF)).op(Op.i32Shl).op(Op.i32Or);
      bit(PF).op(Op.i32Eqz).constant(invertsPf).op(Op.i32Shl).op(Op.i32Or);
      bit(ZF);
      bit(SF).op(Op.i32And).op(Op.i32Or);
    });
  };

  return {
    // Nothing asks for attention while this runs, and with IF clear nothing can begin to.
    clearInterrupts: () => {
      cold.word(S_CPL);
      leaveIf();
      setOther(() => cold.word(S_OTHER).constant(~IF).op(Op.i32And));
      done();
    },
    // While nothing is pending nobody can see the shadow but by leaving before the next instruction is complete.
    setInterrupts: () => {
      cold.word(S_CPL);
      leaveIf();
      cold.word(S_OTHER).constant(IF).op(Op.i32And).brIf(labels.done);
      cold.word(S_PENDING);
      leaveIf();
      setOther(() => cold.word(S_OTHER).constant(IF).op(Op.i32Or));
      cold.beginShadow();
      done();
    },
    // Cycles when the budget will be used up, less what is left of it, and the offset.
    readTimeStamp: () => {
      cold.word(L.STATE + S.CR4 * 4).constant(S.CR4_TSD).op(Op.i32And);
      leaveIf();
      f.constant(0).memory(Access.f64Load, HYPERVISOR, L.END_CYCLES).op(Op.i64TruncF64S);
      cold.budget().op(Op.i64ExtendI32S).op(Op.i64Sub);
      f.constant(0).memory(Access.i64Load, HYPERVISOR, L.STATE + S.TSC_OFFSET_LOW * 4).op(Op.i64Add).set(cold.wide);
      cold.setState(EAX, () => f.get(cold.wide).op(Op.i32WrapI64));
      cold.setState(EDX, () => f.get(cold.wide).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64));
      done();
    },
    // Flat 32-bit code is never in V86 mode.
    pushFlags: () => {
      const add = (push: () => void, by: number) => {
        push();
        f.constant(by).op(Op.i32Shl).op(Op.i32Or);
      };
      carry();
      add(parity, placeOf(PF));
      add(() => aux().constant(AUX_AF).op(Op.i32And), placeOf(AF) - placeOf(AUX_AF));
      add(zero, placeOf(ZF));
      add(sign, placeOf(SF));
      add(overflow, placeOf(OF));
      cold.word(S_OTHER).op(Op.i32Or).constant(~(RF | VM)).op(Op.i32And);
      cold.pushWord();
      done();
    },
    popFlags: () => {
      cold.word(S_CPL);
      leaveIf();
      cold.topWord();
      f.tee(value).constant(POPF_WATCHED).op(Op.i32And);
      f.get(value).constant(IF).op(Op.i32And).constant(0);
      cold.word(S_PENDING).op(Op.select).op(Op.i32Or);
      leaveIf();
      cold.setState(ESP, () => f.get(address).constant(4).op(Op.i32Add));
      setOther(() => {
        cold.word(S_OTHER).constant(~POPF_FLAGS).op(Op.i32And);
        f.get(value).constant(POPF_FLAGS & ~RF).op(Op.i32And).op(Op.i32Or).constant(ALWAYS_SET).op(Op.i32Or);
      });
      setStatus();
      done();
    },
    // It moves ESP by four and writes the low half alone.
    pushSegment: () => {
      segmentOfOpcode();
      cold.register(ESP).constant(4).op(Op.i32Sub).set(address);
      cold.translate(address, () => f.constant(2), () => f.constant(8), labels.interpret);
      selector().memory(Access.i32Store16, MACHINE, 0);
      cold.setState(ESP, () => f.get(address));
      done();
    },
    popSegment: () => {
      segmentOfOpcode();
      cold.topWord();
      f.set(value).get(reg).get(value).constant(0xffff).op(Op.i32And).call(ColdTransfer.loadSegment);
      leaveIf();
      cold.setState(ESP, () => f.get(address).constant(4).op(Op.i32Add));
      done();
    },
    moveFromSegment: () => {
      f.get(mod).constant(3).op(Op.i32Ne).get(reg).constant(GS).op(Op.i32GtU).op(Op.i32Or);
      leaveIf();
      selector();
      cold.setRegisterOf(rm);
      done();
    },
    moveToSegment: () => {
      f.get(reg);
      load16().call(ColdTransfer.loadSegment);
      leaveIf();
      done();
    },
    // Outside protected mode it does not look at its operand.
    verifyWritable: () => {
      cold.word(L.STATE + S.CR0 * 4).constant(S.CR0_PE).op(Op.i32And).op(Op.i32Eqz);
      leaveIf();
      f.get(mod).constant(3).op(Op.i32Eq).if(I32);
      cold.registerPlace(rm);
      f.else();
      cold.translate(address, () => f.constant(2), () => f.constant(0), labels.interpret);
      f.end().set(place);
      load16().call(ColdTransfer.verifyWritable);
      leaveIf();
      f.constant(1).set(value);
      setZero();
    },
    interruptReturn: () => {
      cold.budget().constant(1).op(Op.i32Sub).call(ColdTransfer.interruptReturn);
      leaveIf();
      cold.goOnAtState();
    },
    systemEnter: () => {
      f.constant(0).call(ColdTransfer.systemEnter);
      leaveIf();
      cold.goOnAtState();
    },
  };
}
