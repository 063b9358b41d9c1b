// The engine that tells of every instruction: it steps another engine and writes a line for each, with what the instruction
// changed in the registers. Loaded only when instructions are traced, so that nobody else pays for it.

import type { Vm } from "../../core/mod.ts";
import * as x86 from "../x86/mod.ts";
import { place, wide } from "./format.ts";

const REGISTERS = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
/** Column at which an instruction's changes begin, so that they line up. */
const CHANGES_COLUMN = 72;

/** An instruction that has begun: a repeated one ends when EIP leaves it. */
interface Begun {
  readonly eip: number;
  readonly steps: number;
  readonly text: string;
  readonly before: Int32Array;
  readonly flags: number;
  iterations: number;
}

export class ExecutionTracer implements x86.Engine {
  readonly name: string;
  /** Whether an instruction is under way, whose line is not written yet. */
  isStepping = false;
  readonly #begun = new Map<Vm, Begun>();

  /** `write` is given the step at which an instruction began and its text. */
  constructor(
    readonly inner: x86.Engine,
    readonly processorOf: (vm: Vm) => x86.Processor,
    readonly nameOf: (vm: Vm) => x86.NameOf,
    readonly write: (vm: Vm, steps: number, text: string) => void,
  ) {
    this.name = `${inner.name} (traced)`;
  }

  execute(vm: Vm): void {
    const cpu = this.processorOf(vm), { clock } = vm;
    while (clock.steps < clock.deadlineSteps && cpu.attention === 0) this.step(vm);
  }

  step(vm: Vm): boolean {
    const cpu = this.processorOf(vm);
    const eip = cpu.r[x86.state.EIP], steps = vm.clock.steps;
    const earlier = this.#begun.get(vm);
    // Left by an event that was delivered between two iterations.
    if (earlier !== undefined && earlier.eip !== eip) this.#end(vm, cpu, earlier, "");
    const begun = this.#begun.get(vm) ?? this.#begin(vm, cpu, eip, steps);
    this.isStepping = true;
    const completed = this.inner.step(vm);
    this.isStepping = false;
    // A debugger below may have stopped before the instruction.
    if (vm.clock.steps === steps) this.#begun.delete(vm);
    else if (!completed) this.#end(vm, cpu, begun, "(faults)");
    else {
      begun.iterations++;
      if (cpu.r[x86.state.EIP] !== eip || !isRepeated(begun)) this.#end(vm, cpu, begun, "");
    }
    return completed;
  }

  #begin(vm: Vm, cpu: x86.Processor, eip: number, steps: number): Begun {
    const nameOf = this.nameOf(vm);
    const [line] = x86.disassembleAt(cpu, eip, 1, nameOf);
    const at = place(cpu.r[x86.state.BASE + x86.CS] + eip, nameOf);
    const text = `${at}  ${line?.text ?? "(not mapped)"}`;
    const begun = { eip, steps, text, before: cpu.r.slice(0, REGISTERS.length), flags: cpu.eflags(), iterations: 0 };
    this.#begun.set(vm, begun);
    return begun;
  }

  #end(vm: Vm, cpu: x86.Processor, begun: Begun, note: string): void {
    this.#begun.delete(vm);
    const changes = REGISTERS.flatMap((name, i) => cpu.r[i] === begun.before[i] ? [] : [`${name}=${wide(cpu.r[i])}`]);
    if (cpu.eflags() !== begun.flags) changes.push(`efl=${wide(cpu.eflags())}`);
    if (begun.iterations > 1) changes.unshift(`(${begun.iterations} iterations)`);
    if (note !== "") changes.unshift(note);
    const text = changes.length === 0 ? begun.text : `${begun.text.padEnd(CHANGES_COLUMN)} ${changes.join(" ")}`;
    this.write(vm, begun.steps, text);
  }
}

function isRepeated({ text }: Begun): boolean {
  return / {2}(?:rep|repe|repne) /.test(text);
}
