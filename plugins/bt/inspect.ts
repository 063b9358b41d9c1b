// Translations as a person reads them: the units of a region with their guest instructions, how each is translated, and
// where control goes from each unit (BT paper 3.2: IDENT, chaining jumps, continuations). Made from what the translator
// tells of itself by `translated`; the command `inspect` draws it.

import { decode, disassemble, type Instruction, type InstructionClass, type NameOf } from "../x86/mod.ts";
import { IMPORTS } from "./emit/imports.ts";
import { LOCAL_NAMES } from "./emit/locals.ts";
import type { Form } from "./emit/sensitive.ts";
import type { Translation } from "./events.ts";
import { unitsOf } from "./flow.ts";
import { REGION_TYPE, TYPES } from "./runtime.ts";
import { type Ending, findUnit, type Unit, type UnitInstruction } from "./units.ts";
import { Bytes, encodeModule } from "./wasm.ts";

/**
 * What becomes of an edge between two units.
 * `elided`: the successor's code follows, no jump is needed. `jump`: within the emitted function.
 * `chained`: to another translation, found in the jump cache. `continuation`: there is none yet, so that going there would
 * invoke the translator. `lookup`: the target is known at run time alone, and looked up then. `interpreter`: what is there
 * cannot be translated.
 */
export type Link = "elided" | "jump" | "chained" | "continuation" | "lookup" | "interpreter";

export interface Successor {
  readonly kind: "taken" | "fall-through" | "call" | "return" | "indirect";
  readonly link: Link;
  /** Linear address, where it is known before the run. */
  readonly target: number | undefined;
}

export interface InstructionView {
  /** Linear address. */
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly text: string;
  readonly class: InstructionClass;
  /** `ident`: an innocuous instruction does the same work in place; others by their form (emit/sensitive.ts), or how they end a unit. */
  readonly translation: "ident" | Form | Ending;
}

export interface UnitView {
  /** Linear address of the first instruction. */
  readonly address: number;
  readonly instructions: readonly InstructionView[];
  readonly ending: Ending;
  readonly successors: readonly Successor[];
  /** Length in bytes of guest code. */
  readonly sizeBytes: number;
}

export interface TranslationView {
  /** Linear address of the entry. */
  readonly address: number;
  /** The units of the region in the order of their emitted code; one where regions are off. */
  readonly units: readonly UnitView[];
  /** Length in bytes of the emitted function. */
  readonly emittedBytes: number;
  /** A module with the function alone, and names of its locals: what is emitted, ready to be printed as text. */
  readonly module: Uint8Array<ArrayBuffer>;
}

/** Collects translations in the order in which they are made: with "execute once", the order of first execution. */
export class TranslationLog {
  readonly #entries: { readonly translation: Translation; readonly pages: ReadonlyMap<number, Uint8Array> }[] = [];

  /** `machine` is machine memory. */
  constructor(readonly machine: Uint8Array) {}

  add(translation: Translation): void {
    const pages = new Map<number, Uint8Array>();
    for (const [page, mpn] of translation.region.frames) {
      if (mpn >= 0) pages.set(page, this.machine.slice(mpn * PAGE_BYTES, (mpn + 1) * PAGE_BYTES));
    }
    this.#entries.push({ translation, pages });
  }

  /** Every translation, as the last to be made left the links between them. Names are of linear addresses. */
  views(nameOf?: NameOf): TranslationView[] {
    const entries = new Set(this.#entries.map(({ translation: { eip, mode } }) => keyOf(eip, mode)));
    return this.#entries.map(({ translation, pages }) => {
      const { eip, mode, region, body } = translation;
      const isTranslated = (address: number) => entries.has(keyOf(address, mode));
      const units = region.units.map((unit, index) =>
        viewUnit({ translation, pages, unit, index, isTranslated, nameOf })
      );
      return { address: eip >>> 0, units, emittedBytes: body.encode(0).length, module: moduleOf(translation) };
    });
  }
}

const PAGE_BYTES = 4096, PAGE_SHIFT = 12, PAGE_MASK = 0xfff;
const NO_PAGE = new Uint8Array();

/** Address and mode in one number. */
function keyOf(eip: number, mode: number): number {
  return (eip >>> 0) * 256 + mode;
}

interface UnitContext {
  readonly translation: Translation;
  /** The pages' bytes as they were translated, by their number from the entry's. */
  readonly pages: ReadonlyMap<number, Uint8Array>;
  readonly unit: Unit;
  /** The unit's place in its region. */
  readonly index: number;
  readonly isTranslated: (address: number) => boolean;
  readonly nameOf?: NameOf;
}

function viewUnit(context: UnitContext): UnitView {
  const { unit } = context;
  const page = pageOf(context, unit.offset);
  const pageAddress = context.translation.eip & ~PAGE_MASK;
  const instructions = unit.instructions.map((entry): InstructionView => {
    const { offset, instruction } = entry;
    const address = (pageAddress + offset) >>> 0;
    return {
      address,
      bytes: bytesAt(page, offset, instruction.length),
      text: disassemble(instruction, address, context.nameOf),
      class: instruction.row.class,
      translation: translationOf(entry, unit.ending),
    };
  });
  // What the unit leaves to the interpreter is shown with it.
  const left = unit.ending === "interpret" ? decode(page, unit.end & PAGE_MASK, PAGE_BYTES, 32) : undefined;
  if (typeof left === "object") instructions.push(viewLeft(left, context));
  return {
    address: (pageAddress + unit.offset) >>> 0,
    instructions,
    ending: unit.ending,
    successors: successorsOf(context),
    sizeBytes: unit.end - unit.offset,
  };
}

function translationOf({ instruction, emit, form }: UnitInstruction, ending: Ending): InstructionView["translation"] {
  if (form !== undefined) return form;
  if (emit === undefined) return ending;
  return instruction.row.class === "innocuous" ? "ident" : "in-tc";
}

/** The page that holds an offset; empty if it was not translated from. */
function pageOf({ pages }: Pick<UnitContext, "pages">, offset: number): Uint8Array {
  return pages.get(offset >> PAGE_SHIFT) ?? NO_PAGE;
}

function bytesAt(page: Uint8Array, offset: number, length: number): Uint8Array {
  return page.slice(offset & PAGE_MASK, (offset & PAGE_MASK) + length);
}

function viewLeft(instruction: Instruction, context: UnitContext): InstructionView {
  const { unit, translation, nameOf } = context;
  const address = ((translation.eip & ~PAGE_MASK) + unit.end) >>> 0;
  return {
    address,
    bytes: bytesAt(pageOf(context, unit.offset), unit.end, instruction.length),
    text: disassemble(instruction, address, nameOf),
    class: instruction.row.class,
    translation: "interpret",
  };
}

function successorsOf(context: UnitContext): Successor[] {
  const { unit, translation } = context;
  const addressOf = (offset: number) => ((translation.eip & ~PAGE_MASK) + offset) >>> 0;
  const direct = (kind: Successor["kind"], offset: number | undefined): Successor[] =>
    offset === undefined ? [] : [{ kind, link: linkOf(context, kind, offset), target: addressOf(offset) }];
  switch (unit.ending) {
    case "jcc":
      return [...direct("taken", unit.taken), ...direct("fall-through", unit.next)];
    case "jmp":
      return direct("taken", unit.taken);
    case "call":
      return direct("call", unit.taken);
    case "next":
      return direct("fall-through", unit.next);
    case "ret":
      return [{ kind: "return", link: "lookup", target: undefined }];
    case "jmpIndirect":
    case "callIndirect":
      return [{ kind: "indirect", link: "lookup", target: undefined }];
    case "emulate":
      return direct("fall-through", unit.end);
    case "interpret":
    case "edge":
      return [{ kind: "fall-through", link: "interpreter", target: addressOf(unit.end) }];
  }
}

/** How the edge to an offset is made; calls, and what is emulated, leave the function even where it holds their target. */
function linkOf(
  { translation, pages, unit, index, isTranslated }: UnitContext,
  kind: Successor["kind"],
  offset: number,
): Link {
  const known = translation.region.indexOf.get(offset);
  if (unit.ending === "emulate" && known !== undefined) return "chained";
  const inside = kind === "call" ? undefined : known;
  if (inside !== undefined) {
    const isLast = kind === "fall-through" || unit.ending === "jmp";
    const order = unitsOf(translation.region.flow.components);
    return isLast && order[order.indexOf(index) + 1] === inside ? "elided" : "jump";
  }
  if (isTranslated((translation.eip & ~PAGE_MASK) + offset)) return "chained";
  return isTranslatable(pageOf({ pages }, offset), offset & PAGE_MASK) ? "continuation" : "interpreter";
}

/** Whether a translation can begin at an offset of a page, as far as its bytes tell. */
function isTranslatable(page: Uint8Array, offset: number): boolean {
  return page.length === 0 || findUnit(page, 0, offset, 1).instructions.length > 0;
}

/** The function in a module of its own, with a name section (WebAssembly 3.0 core specification, appendix 7.4). */
function moduleOf({ body }: Translation): Uint8Array<ArrayBuffer> {
  const encoded = encodeModule({
    types: TYPES,
    imports: IMPORTS,
    functions: [{ type: REGION_TYPE, body, exported: "enter" }],
    machinePages: 1,
    area: 0,
    tableSlots: 1,
  });
  const functionNames = [...IMPORTS.map(({ name }) => name), FUNCTION_NAME];
  const content = new Bytes().name("name");
  subsection(content, NameSubsection.functions, (b) => nameMap(b, functionNames));
  subsection(content, NameSubsection.locals, (b) => {
    b.unsigned(1).unsigned(IMPORTS.length);
    nameMap(b, LOCAL_NAMES);
  });
  subsection(content, NameSubsection.memories, (b) => nameMap(b, MEMORY_NAMES));
  const section = new Bytes().byte(CUSTOM_SECTION).unsigned(content.length).bytes(content.take());
  return Uint8Array.from([...encoded, ...section.take()]);
}

/** Name of the emitted function in its module. */
export const FUNCTION_NAME = "ccf";
const CUSTOM_SECTION = 0;
const NameSubsection = { functions: 1, locals: 2, memories: 6 } as const;
/** By memory index: see wasm.ts. */
const MEMORY_NAMES = ["machine", "hypervisor"];

function subsection(target: Bytes, id: number, write: (bytes: Bytes) => void): void {
  const content = new Bytes();
  write(content);
  target.byte(id).unsigned(content.length).bytes(content.take());
}

/** A vector of indices with their names. */
function nameMap(target: Bytes, names: readonly string[]): void {
  target.unsigned(names.length);
  for (const [index, name] of names.entries()) target.unsigned(index).name(name);
}
