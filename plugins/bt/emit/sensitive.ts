// How the instructions that a virtual machine monitor must handle are handled: a choice for each class of them (BT paper 3.2
// and 3.3). `trap`: leave the translation cache with the state written back, the run loop emulates, come back. `callout`:
// call the emulator from inside the translation. `in-tc`: emitted in place; what that form cannot do exactly is called out for.

import type { Instruction } from "../../x86/mod.ts";
import type { Emit } from "./operands.ts";
import { inPlaceChoosers } from "./sensitive_inline.ts";
import { emitterOf } from "./instructions.ts";

export type Form = "trap" | "callout" | "in-tc";

interface SensitiveClass {
  /** The forms that are exact, from the slowest to the fastest. */
  readonly forms: readonly Form[];
  /** Handlers of the opcode table. */
  readonly handlers: readonly string[];
  readonly describe: string;
}

const EMULATED = ["trap", "callout"] as const, ALL = ["trap", "callout", "in-tc"] as const;

/** The classes, by the names of the options. The fastest form is the default. */
export const SENSITIVE_CLASSES = {
  rdtsc: { forms: ALL, handlers: ["rdtsc"], describe: "RDTSC" },
  cpuid: { forms: EMULATED, handlers: ["cpuid"], describe: "CPUID" },
  in: { forms: ALL, handlers: ["in", "ins"], describe: "IN, INS; in-tc: from ports while devices declare them steady" },
  out: { forms: EMULATED, handlers: ["out", "outs"], describe: "OUT, OUTS" },
  cli: { forms: ALL, handlers: ["cli", "sti"], describe: "CLI, STI" },
  pushf: { forms: ALL, handlers: ["pushf", "popf"], describe: "PUSHF, POPF" },
  hlt: { forms: EMULATED, handlers: ["hlt"], describe: "HLT" },
  cr: {
    forms: ALL,
    handlers: ["movFromCr", "movToCr", "movFromDr", "movToDr", "smsw", "lmsw", "clts"],
    describe: "MOV CR, MOV DR, SMSW, LMSW, CLTS; in-tc: reads of control registers",
  },
  invlpg: { forms: EMULATED, handlers: ["invlpg"], describe: "INVLPG" },
  msr: { forms: EMULATED, handlers: ["rdmsr", "wrmsr"], describe: "RDMSR, WRMSR" },
  descriptors: {
    forms: EMULATED,
    handlers: ["sgdt", "sidt", "sldt", "str", "lgdt", "lidt", "lldt", "ltr"],
    describe: "loads and stores of GDTR, IDTR, LDTR and TR",
  },
  segments: {
    forms: ALL,
    handlers: ["movToSegment", "popSegment", "loadFarPointer"],
    describe: "MOV and POP to a segment register, LDS and the like; in-tc: flat data, any FS and GS",
  },
  int: {
    forms: ALL,
    handlers: ["int", "int1", "int3", "into", "iret", "sysenter", "sysexit", "jmpFar", "callFar", "retFar"],
    describe: "INT, IRET, SYSENTER, SYSEXIT, far transfers; in-tc: between CPL 0 and 3 in flat segments",
  },
  mmio: { forms: EMULATED, handlers: [], describe: "accesses to device memory" },
} as const satisfies Readonly<Record<string, SensitiveClass>>;

export type SensitiveClassName = keyof typeof SENSITIVE_CLASSES;
export type SensitiveForms = Readonly<Record<SensitiveClassName, Form>>;

export const sensitiveClassNames = Object.keys(SENSITIVE_CLASSES) as SensitiveClassName[];

/** The fastest exact form of a class. */
export function fastestForm(name: SensitiveClassName): Form {
  return SENSITIVE_CLASSES[name].forms.at(-1) ?? "trap";
}

/** Every class in its fastest form. */
export const FASTEST_FORMS = Object.fromEntries(
  sensitiveClassNames.map((name) => [name, fastestForm(name)]),
) as SensitiveForms;

const classByHandler: ReadonlyMap<string, SensitiveClassName> = new Map(
  sensitiveClassNames.flatMap((name) => SENSITIVE_CLASSES[name].handlers.map((handler) => [handler, name] as const)),
);

/** The class of an instruction; undefined where it is in none. */
export function sensitiveClassOf({ row }: Instruction): SensitiveClassName | undefined {
  return classByHandler.get(row.handler);
}

/** How a sensitive instruction is translated. */
export interface SensitiveTranslation {
  readonly form: Form;
  readonly emit: Emit;
  /**
   * What comes after it: `unit`, the next instruction in the same translation unit; `next`, another unit, since this
   * instruction often leaves and comes back; `away`: emitted code never runs off its end.
   */
  readonly followedBy: "unit" | "next" | "away";
}

/** Gives the translation of a sensitive instruction; undefined for all others. */
export type SensitiveChoice = (instruction: Instruction) => SensitiveTranslation | undefined;

/** The choice that goes with a form for each class. */
export function sensitiveChoice(forms: SensitiveForms): SensitiveChoice {
  return (instruction) => {
    const name = sensitiveClassOf(instruction);
    if (name === undefined) return undefined;
    const form = forms[name];
    return (form === "in-tc" ? inPlace(instruction) : undefined) ?? emulated(instruction, form !== "trap");
  };
}

function inPlace(instruction: Instruction): SensitiveTranslation | undefined {
  const own = inPlaceChoosers[instruction.row.handler]?.(instruction);
  if (own !== undefined) return { form: "in-tc", ...own };
  const emit = emitterOf(instruction);
  return emit === undefined ? undefined : { form: "in-tc", emit, followedBy: "unit" };
}

function emulated(instruction: Instruction, callsOut: boolean): SensitiveTranslation {
  return {
    form: callsOut ? "callout" : "trap",
    emit: (e) => e.emulateInstruction(instruction, callsOut),
    followedBy: "away",
  };
}
