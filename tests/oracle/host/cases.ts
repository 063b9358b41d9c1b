// The cases of the host oracle: for a form and a number, an instruction and the complete state that it starts from.
// run.c executes it on the host's processor, tests/plugins/x86/host_cases.ts on one of ours.

import { DF, type Operand, STATUS_FLAGS } from "../../../plugins/x86/instruction.ts";
import { addressingOf, Encoder, LOCK, REP, REPNE } from "./encoding.ts";
import type { Form } from "./forms.ts";
import { prepareOperands } from "./integers.ts";
import { Numbers } from "./numbers.ts";
import { Case, type Choices, DATA, FIRST_TARGET, NEAR, TARGETS } from "./state.ts";
import { fillFpu, fillMxcsr, fillXmm, operandValue } from "./values.ts";

/** Calls `take` with the cases of a form, in order. The case is valid until it returns. */
export function forEachCase(form: Form, take: (start: Case, index: number) => void): void {
  const numbers = new Numbers(form.key), start = new Case(), encoder = new Encoder();
  for (let index = 0; index < form.cases; index++) {
    fill(form, numbers, start, encoder);
    take(start, index);
  }
}

/** Operand types that have to be aligned to 16 bytes, most of them. */
const ALIGNED_OPERAND = /^(Wdq|Wps|Wpd|Mdq)$/;

function fill(form: Form, numbers: Numbers, start: Case, encoder: Encoder): void {
  const { row } = form, { registers } = start;
  for (let register = 0; register < 8; register++) registers[register] = numbers.integer();
  start.flags = numbers.pick([0, STATUS_FLAGS, numbers.next(), numbers.next()]) & STATUS_FLAGS;
  if (numbers.once(4)) start.flags |= DF;
  start.setPatch(0, 0);

  const choices = choose(form, numbers);
  const { addressSize, reg, rm, target, prefix } = choices;
  const isDirect = row.operands.some((operand) => operand.startsWith("O"));
  if (form.isMemory) operandValue(form, numbers, start, target);
  const kept = prepareOperands(form, numbers, start, choices);

  encoder.begin(form, { prefix, addressSize, override: numbers.once(12) && !isString(form) }, numbers);
  if (isDirect) encoder.put(DATA + target, addressSize / 8);
  else if (form.isMemory) {
    const address = row.handler === "lea" ? numbers.integer() : DATA + target;
    encoder.memoryOperand(reg, addressingOf(numbers, registers, address, addressSize, kept));
  } else if (row.modrm) encoder.registerOperand(reg, rm);
  putImmediates(row.operands, numbers, encoder, form.operandSize);
  start.code.set(encoder.bytes);
  start.length = encoder.length;
  if (form.kind === "integer") return;
  fillFpu(form, numbers, start);
  fillXmm(form, numbers, start);
  fillMxcsr(numbers, start);
}

function isString({ row }: Form): boolean {
  return row.operands.some((operand) => /^[XY][bv]$/.test(operand));
}

function choose(form: Form, numbers: Numbers): Choices {
  const { row, isMemory } = form;
  const target = FIRST_TARGET + numbers.below(TARGETS);
  const aligned = row.operands.some((operand) => ALIGNED_OPERAND.test(operand)) && !numbers.once(8);
  const locks = numbers.once(isMemory && row.lockable ? 6 : 60) && mayLock(form);
  return {
    addressSize: numbers.once(6) ? 16 : 32,
    bytes: row.operands.some((operand) => /^[EGZXYO]b$/.test(operand)) ? 1 : form.operandSize / 8,
    prefix: isString(form) ? numbers.pick([0, REP, REPNE]) : locks ? LOCK : 0,
    reg: row.extension ?? numbers.below(8),
    rm: row.rm ?? numbers.below(8),
    target: aligned ? target & ~15 : target,
  };
}

/**
 * LOCK is legal or #UD. Where another prefix decides what the opcode means it stays away, and of what AMD's processors accept
 * it with: VERW, and MOV of CR0, which it makes one of CR8.
 */
function mayLock({ row }: Form): boolean {
  return row.prefix === undefined && !WITHOUT_LOCK.has(row.handler);
}
const WITHOUT_LOCK = new Set(["ud", "wait", "verw", "movToCr", "movFromCr"]);

function putImmediates(operands: readonly Operand[], numbers: Numbers, encoder: Encoder, operandSize: number): void {
  for (const operand of operands) {
    switch (operand) {
      case "Ib":
      case "Ibs":
        encoder.put(numbers.once(2) ? numbers.integer() : numbers.below(40));
        break;
      case "Iw": // bytes of a frame or of parameters
        encoder.put(numbers.below(0x80), 2);
        break;
      case "Iz":
        encoder.put(numbers.integer(), operandSize / 8);
        break;
      case "Jb":
        encoder.put(displacementOf(numbers, 1 << 7));
        break;
      case "Jz":
        encoder.put(displacementOf(numbers, NEAR), operandSize / 8);
        break;
    }
  }
}

/** A relative offset up to `reach` that does not lead back into the instruction. */
function displacementOf(numbers: Numbers, reach: number): number {
  const displacement = numbers.below(2 * reach - MOST_BYTES) - reach;
  return displacement < -MOST_BYTES ? displacement : displacement + MOST_BYTES;
}
/** More than the bytes of any instruction. */
const MOST_BYTES = 16;
