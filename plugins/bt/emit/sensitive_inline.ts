// The in-place forms of sensitive instructions (BT paper 3.2: "simple privileged operations"): RDTSC from the step budget,
// IN from steady ports, reads of control registers, loads of segment registers, and transfers between CPL 0 and 3, whose
// work is done by functions of the runtime module (transfers.ts). CLI, STI, PUSHF and POPF are in flagops.ts.

import { EAX, EDX, type Instruction, SS } from "../../x86/mod.ts";
import { ESP } from "../../x86/mod.ts";
import { state as S } from "../../x86/mod.ts";
import * as L from "../layout.ts";
import { Access, HYPERVISOR, I64, Op } from "../wasm.ts";
import { type Emitter } from "./emitter.ts";
import { BUDGET } from "./locals.ts";
import { pushState, pushStatus, requireCpl0 } from "./flagops.ts";
import { type Emit, isPlainAddress } from "./operands.ts";
import type { SensitiveTranslation } from "./sensitive.ts";
import { GOTO, Helper } from "./imports.ts";

type InPlace = Omit<SensitiveTranslation, "form">;
type InPlaceChooser = (instruction: Instruction) => InPlace | undefined;

const within = (emit: Emit): InPlace => ({ emit, followedBy: "unit" });

/** The guest's clock at the exact step: cycles when the budget will be used up, less what is left of it, and the offset. */
const rdtsc: InPlaceChooser = () =>
  within((e) => {
    const { f } = e;
    const cycles = e.temporary(I64);
    pushState(e, S.CR4);
    f.constant(S.CR4_TSD).op(Op.i32And).if();
    e.exitInstruction();
    f.end();
    f.constant(0).memory(Access.f64Load, HYPERVISOR, L.END_CYCLES).op(Op.i64TruncF64S);
    f.get(BUDGET).constant(e.incomplete).op(Op.i32Add).op(Op.i64ExtendI32S).op(Op.i64Sub);
    f.constant(0).memory(Access.i64Load, HYPERVISOR, L.STATE + S.TSC_OFFSET_LOW * 4).op(Op.i64Add).tee(cycles);
    f.op(Op.i32WrapI64);
    e.setRegister(EAX);
    f.get(cycles).constant64(32).op(Op.i64ShrU).op(Op.i32WrapI64);
    e.setRegister(EDX);
  });

/** A byte from a port whose value is at hand, and still is what it reads as at this step. Other ports are read by a call-out, which may bring theirs. */
const inPort: InPlaceChooser = (instruction) => {
  const [destination, source] = instruction.row.operands;
  if (destination !== "al") return undefined;
  return {
    followedBy: "next",
    emit: (e) => {
      const { f } = e;
      const port = e.temporary(), entry = e.temporary();
      if (source === "Ib") f.constant(instruction.immediate & 0xff);
      else e.pushRegister(EDX, 16);
      f.tee(port).constant(L.PORT_ENTRIES - 1).op(Op.i32And).constant(4).op(Op.i32Shl).tee(entry);
      f.memory(Access.i32Load, HYPERVISOR, L.PORTS).get(port).op(Op.i32Ne);
      // CPL 0 may use every port.
      pushState(e, S.CPL);
      f.op(Op.i32Or);
      f.constant(0).memory(Access.f64Load, HYPERVISOR, L.END_STEPS);
      f.get(BUDGET).constant(e.incomplete).op(Op.i32Add).op(Op.f64ConvertI32S).op(Op.f64Sub);
      f.get(entry).memory(Access.f64Load, HYPERVISOR, L.PORTS + 8).op(Op.f64Ge).op(Op.i32Or).if();
      e.emulateInstruction(instruction, true);
      f.end();
      f.get(entry).memory(Access.i32Load, HYPERVISOR, L.PORTS + 4);
      e.popRegister(EAX, 8);
    },
  };
};

const movFromCr: InPlaceChooser = ({ rm, row: { variant } }) =>
  within((e) => {
    requireCpl0(e);
    pushState(e, S.CR0 + (variant === 0 ? 0 : variant - 1));
    e.setRegister(rm);
  });

const smsw: InPlaceChooser = (instruction) => {
  if (instruction.isMemory) return undefined;
  return within((e) => {
    pushState(e, S.CR0);
    e.popRegister(instruction.rm, instruction.operandSize);
  });
};

/** Loads of SS hold interrupts back and are called out for. */
const movToSegment: InPlaceChooser = (instruction) => {
  if (instruction.row.variant === SS || (instruction.isMemory && !isPlainAddress(instruction))) return undefined;
  return within((e) => {
    const selector = e.temporary();
    e.pushOperand(instruction, 16);
    e.f.set(selector);
    loadSegment(e, instruction, selector);
  });
};

const popSegment: InPlaceChooser = (instruction) => {
  if (instruction.row.variant === SS || instruction.operandSize !== 32) return undefined;
  return within((e) => {
    const { f } = e;
    const selector = e.temporary();
    f.get(e.register(ESP));
    e.translate(32, false);
    e.load(32);
    f.constant(0xffff).op(Op.i32And).set(selector);
    loadSegment(e, instruction, selector);
    f.get(e.register(ESP)).constant(4).op(Op.i32Add);
    e.setRegister(ESP);
  });
};

function loadSegment(e: Emitter, instruction: Instruction, selector: number): void {
  const { f } = e;
  f.constant(instruction.row.variant).get(selector).call(Helper.loadSegment).if();
  e.emulateInstruction(instruction, true);
  f.end();
}

/** A transfer that a helper makes on the state block: 0 where it has, and EIP is where to go on. */
function transfer(instruction: Instruction, helper: number, pushArguments: (e: Emitter) => void): InPlace {
  return {
    followedBy: "away",
    emit: (e) => {
      const { f } = e;
      pushArguments(e);
      e.computeFlags();
      e.emitEpilogue(f);
      f.call(helper).if();
      e.emulateInstruction(instruction, true);
      f.end();
      f.constant(0).memory(Access.i32Load, HYPERVISOR, L.STATE + S.EIP * 4).returnCall(GOTO);
    },
  };
}

const noArgument = (e: Emitter) => void e.f.constant(0);

/** INT n pushes EFLAGS, which is computed here where it is known what the flags come from. */
const int: InPlaceChooser = (instruction) =>
  transfer(instruction, Helper.interrupt, (e) => {
    e.f.constant(instruction.immediate & 0xff).constant(e.nextEip);
    pushStatus(e);
    pushState(e, S.FLAGS_OTHER);
    e.f.op(Op.i32Or);
  });

const iret: InPlaceChooser = (instruction) =>
  instruction.operandSize === 32
    ? transfer(instruction, Helper.interruptReturn, (e) => void e.f.get(BUDGET))
    : undefined;

export const inPlaceChoosers: Readonly<Record<string, InPlaceChooser>> = {
  rdtsc,
  in: inPort,
  movFromCr,
  smsw,
  movToSegment,
  popSegment,
  int,
  iret,
  sysenter: (instruction) => transfer(instruction, Helper.systemEnter, noArgument),
  sysexit: (instruction) => transfer(instruction, Helper.systemExit, noArgument),
};
