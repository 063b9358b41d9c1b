// Values for what integer instructions use beside their written operands: stack, strings, dividends, selectors, bounds. They
// keep every access inside the data page, and make rare outcomes (equal operands, quotients that just fit) frequent.

import { DF, EAX, EBP, EBX, ECX, EDI, EDX, ESI, ESP } from "../../../plugins/x86/instruction.ts";
import { REP, REPNE } from "./encoding.ts";
import type { Form } from "./forms.ts";
import type { Numbers } from "./numbers.ts";
import { type Case, type Choices, DATA, FIRST_TARGET, freshByte, NEAR, START, TARGETS } from "./state.ts";

/** Offsets of the stack pointer in the data page. */
const STACK = 0x800, STACK_RANGE = 0x100;
/** EFLAGS bits that a POPF may load: not TF, NT and AC, after which the process would not go on as it should. */
const POPF_BITS = 0x3ed7;
/** Largest bit offset of BT and its kin with memory. */
const BIT_OFFSETS = 0x1000;

/** More than the bytes of any instruction. */
const MOST_BYTES = 16;

/** A place that a jump can go to: INT3, or outside of mapped memory with a 16-bit EIP. */
export function jumpTarget(numbers: Numbers, operandSize: number): number {
  const distance = numbers.below(2 * NEAR) - NEAR;
  const target = START + (distance < 0 ? distance : distance + MOST_BYTES);
  return operandSize === 32 ? target : numbers.next() << 16 | target & 0xffff;
}

/** A null selector, all that a flat process can be sure of, in the low half of a random word. */
export function nullSelector(numbers: Numbers): number {
  return numbers.below(4) | numbers.next() << 16;
}

/**
 * Sets registers and memory for the form's handler. The memory operand has its value already, in the case's patch. Returns a
 * mask of the registers that must keep theirs when the operand's address is made.
 */
export function prepareOperands(form: Form, numbers: Numbers, start: Case, choices: Choices): number {
  const { row, isMemory, operandSize } = form, { registers, patch } = start, { bytes, reg, rm, addressSize } = choices;
  const point = (register: number, offset: number) => {
    registers[register] = addressSize === 32 ? DATA + offset : numbers.next() << 16 | DATA + offset;
  };
  const stackTop = () => STACK + numbers.below(STACK_RANGE);
  const isSame = numbers.once(2);
  switch (row.handler) {
    case "push":
    case "pop":
    case "pusha":
    case "popa":
    case "pushf":
    case "pushSegment":
    case "call":
    case "callIndirect":
      if (row.handler === "callIndirect" && !isMemory) registers[rm] = jumpTarget(numbers, operandSize);
      registers[ESP] = DATA + stackTop();
      return 1 << ESP;
    case "jmpIndirect":
      if (!isMemory) registers[rm] = jumpTarget(numbers, operandSize);
      return 0;
    case "ret":
    case "popf":
    case "popSegment": {
      const offset = stackTop();
      registers[ESP] = DATA + offset;
      const value = row.handler === "ret"
        ? jumpTarget(numbers, operandSize)
        : row.handler === "popf"
        ? numbers.next() & POPF_BITS
        : nullSelector(numbers);
      start.setPatch(offset, 4).setInt32(0, value, true);
      return 0;
    }
    case "movToSegment":
    case "lar":
    case "lsl":
    case "verr":
    case "verw":
      if (!isMemory) registers[rm] = nullSelector(numbers);
      return 0;
    case "enter":
      registers[ESP] = DATA + 0x200 + stackTop();
      registers[EBP] = DATA + stackTop();
      return 0;
    case "leave":
      registers[EBP] = DATA + stackTop();
      return 0;
    case "xlat":
      point(EBX, FIRST_TARGET + numbers.below(TARGETS));
      return 0;
    case "maskmov":
      point(EDI, FIRST_TARGET + numbers.below(TARGETS));
      return 0;
    case "bt":
      if (!isMemory || row.operands[1] !== "Gv") return 0;
      registers[reg] = numbers.below(2 * BIT_OFFSETS) - BIT_OFFSETS;
      if (operandSize === 16) registers[reg] = registers[reg] & 0xffff | numbers.next() << 16;
      return 1 << reg;
    case "shift":
    case "shld":
    case "shrd":
      if (row.operands.at(-1) === "cl" && isSame) registers[ECX] = registers[ECX] & ~0xff | numbers.below(40);
      return 1 << ECX;
    case "loop":
    case "jcxz":
      registers[ECX] = numbers.pick([0, 1, 2, 0x10000, 0x10001, 0xffff, -1, numbers.next()]);
      return 0;
    case "cmpxchg":
      if (isSame && isMemory) put(patch, 0, bytes, registers[EAX]);
      else if (isSame) registers[bytes === 1 ? rm & 3 : rm] = registers[EAX];
      return 1 << EAX;
    case "cmpxchg8b":
      if (isSame) {
        put(patch, 0, 4, registers[EAX]);
        put(patch, 4, 4, registers[EDX]);
      }
      return 1 << EAX | 1 << EDX;
    case "alu":
      if (!isMemory || !row.operands.some((operand) => operand.startsWith("G")) || !numbers.once(6)) return 0;
      put(patch, 0, bytes, registers[bytes === 1 ? reg & 3 : reg]);
      return 1 << (bytes === 1 ? reg & 3 : reg);
    case "bound": {
      const distance = isSame ? numbers.below(3) : 0;
      if (numbers.once(2)) put(patch, 0, bytes, registers[reg] - distance);
      if (numbers.once(2)) put(patch, bytes, bytes, registers[reg] + distance);
      return 1 << reg;
    }
    case "div":
    case "idiv":
      if (!numbers.once(4)) setDividend(form, numbers, start, bytes, rm);
      return 1 << EAX | 1 << EDX;
    case "ins":
    case "outs":
      // With a count of zero AMD's processors still check the port's permission; in the SDM's words nothing happens.
      registers[ECX] = registers[ECX] | 0x8001;
      return 0;
    case "movs":
    case "cmps":
    case "stos":
    case "lods":
    case "scas":
      prepareString(form, numbers, start, choices);
      return 0;
    default:
      return 0;
  }
}

function put(view: DataView, at: number, bytes: number, value: number): void {
  for (let i = 0; i < bytes; i++) view.setUint8(at + i, value >>> 8 * i);
}

/** A divisor, and a dividend whose quotient fits or just does not. */
function setDividend(form: Form, numbers: Numbers, start: Case, bytes: number, rm: number): void {
  const { registers } = start, bits = 8 * bytes, isSigned = form.row.handler === "idiv";
  const cut = (value: number) => isSigned ? BigInt.asIntN(bits, BigInt(value)) : BigInt.asUintN(bits, BigInt(value));
  const low32 = (value: bigint) => Number(BigInt.asIntN(32, value));
  const divisor = cut(numbers.integer()), magnitude = divisor < 0n ? -divisor : divisor;
  let quotient = cut(numbers.integer());
  if (numbers.once(8)) quotient = isSigned ? (numbers.once(2) ? 1n : -1n) << BigInt(bits - 1) : 1n << BigInt(bits);
  const product = divisor * quotient;
  const rest = magnitude === 0n ? 0n : BigInt(numbers.next() >>> 0) % magnitude;
  const dividend = product < 0n ? product - rest : product + rest;
  const isHighByte = bytes === 1 && rm >= 4;
  if (form.isMemory) put(start.patch, 0, bytes, low32(divisor));
  else if (isHighByte) registers[rm & 3] = registers[rm & 3] & ~0xff00 | (low32(divisor) & 0xff) << 8;
  else registers[rm] = low32(divisor);
  registers[EAX] = low32(dividend);
  if (bytes > 1) registers[EDX] = low32(dividend >> BigInt(bits));
}

const MOST_ELEMENTS = 16;
/** The data page repeats after this many bytes. */
const PERIOD = 0x100;

/** Operands of string instructions: overlapping or not; compared ones differ, or agree, in one place or a few. */
function prepareString(form: Form, numbers: Numbers, start: Case, { addressSize, bytes, prefix }: Choices): void {
  const { registers } = start, { handler } = form.row, isDown = (start.flags & DF) !== 0;
  const set = (register: number, value: number) => {
    registers[register] = addressSize === 32 ? value : numbers.next() << 16 | value & 0xffff;
  };
  const count = numbers.below(MOST_ELEMENTS), offset = FIRST_TARGET + numbers.below(PERIOD);
  // REPNE goes on while elements differ: one byte off the period all do.
  const source = handler === "cmps" && prefix === REPNE ? offset + 1 : offset;
  const isNear = handler === "movs" && numbers.once(2);
  const destination = isNear ? offset + numbers.below(24) - 12 : offset + 2 * PERIOD;
  set(ESI, DATA + source);
  set(EDI, DATA + destination);
  if (prefix !== 0) set(ECX, count);
  const elements = numbers.below(count + 2), reach = elements * bytes * (isDown ? -1 : 1);
  if (handler === "cmps") {
    const view = start.setPatch(destination + reach, bytes);
    for (let i = 0; i < bytes; i++) {
      view.setUint8(i, prefix === REPNE ? freshByte(source + reach + i) : numbers.next());
    }
  }
  if (handler === "scas") {
    const equal = prefix === REP ? elements : 1;
    const view = start.setPatch(destination + (prefix === REP ? Math.min(0, reach) : reach), equal * bytes);
    for (let i = 0; i < equal; i++) put(view, i * bytes, bytes, registers[EAX]);
  }
}
