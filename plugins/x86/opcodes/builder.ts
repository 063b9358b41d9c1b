// The notation in which the opcode table is written, and its reader: one line of text per opcode, in the SDM's own
// shorthand (SDM 2A, 3.1.1), becomes one OpcodeRow. A mistake in a line is an error when the module loads.

import {
  AC,
  AF,
  CF,
  DF,
  ID,
  IF,
  type InstructionClass,
  IOPL,
  NT,
  OF,
  type OpcodeRow,
  type Operand,
  PF,
  RF,
  SF,
  TF,
  VIF,
  VIP,
  VM,
  ZF,
} from "../instruction.ts";

/**
 * Reads table lines. A line is `opcode | instruction | handler | flags | attributes`, trailing columns optional:
 *
 * - opcode: `00`; `80 /0` (ModR/M reg extends the opcode); `d9 e8`, `d8 c0+i` (an escape with that whole ModR/M byte,
 *   or eight of them); `50+r` (eight opcodes, the register is the variant); `70+cc` (sixteen, the condition is the
 *   variant); `0f` before any of these selects the two-byte map; `66`, `f2` or `f3` before that is a mandatory prefix, `np` forbids them.
 * - instruction: mnemonic and operands; a mnemonic ending in `cc` gets the condition's letters.
 * - handler: `name` or `name:variant`.
 * - flags: `reads > writes ? undefined` in letters, or `cc` for what the condition reads, `*` for all of EFLAGS.
 * - attributes: a class word (`control`, `privileged`, `sensitive`, `memory`; default innocuous), `lock` (lockable),
 *   `ends` and `continues` (ends a block or does not; a `control` row ends one by default).
 *
 * @throws Error that quotes the line, when it does not follow the notation.
 */
export function opcodeRows(table: string): OpcodeRow[] {
  return table.split("\n").filter((line) => line.trim() !== "").flatMap((line) => {
    try {
      return readLine(line);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`opcode table line "${line.trim()}": ${reason}`, { cause });
    }
  });
}

/** What the encoding of an operand costs after the opcode: a ModR/M byte, an immediate, or nothing. */
export type Encoding = "none" | "modrm" | "imm8" | "imm8s" | "imm16" | "immZ" | "rel8" | "relZ" | "moffs" | "far";

/** Encoding of each operand code (SDM 2D, A.2.1 and A.2.2). */
export const OPERAND_ENCODING: Readonly<Record<Operand, Encoding>> = {
  ...encodedAs("modrm", ["Eb", "Ew", "Ed", "Ev", "Gb", "Gw", "Gd", "Gv", "Sw", "Cd", "Dd", "Rd", "Rv"]),
  ...encodedAs("modrm", ["M", "Mw", "Md", "Mq", "Mdq", "Mp", "Ms", "Ma"]),
  ...encodedAs("modrm", ["Mf32", "Mf64", "Mf80", "Mi16", "Mi32", "Mi64", "Mbcd", "Menv", "Mfpu", "STi"]),
  ...encodedAs("modrm", ["Pq", "Qq", "Qd", "Nq", "Vdq", "Wdq", "Wq", "Wps", "Wpd", "Wss", "Wsd", "Udq"]),
  ...encodedAs("none", ["Zb", "Zv", "Xb", "Xv", "Yb", "Yv", "al", "eAX", "ax", "cl", "dx", "1", "ST0"]),
  ...encodedAs("none", ["es", "cs", "ss", "ds", "fs", "gs"]),
  ...{ Ib: "imm8", Ibs: "imm8s", Iw: "imm16", Iz: "immZ", Jb: "rel8", Jz: "relZ", Ap: "far" },
  ...{ Ob: "moffs", Ov: "moffs" },
};

function encodedAs<E extends Encoding, O extends Operand>(encoding: E, operands: readonly O[]): Record<O, E> {
  return Object.fromEntries(operands.map((operand) => [operand, encoding])) as Record<O, E>;
}

/** Operand codes that exist in memory only, and those that exist in a register only. */
const MEMORY_ONLY = /^M/;
const REGISTER_ONLY = /^[RNU]|^STi$/;
/** MOV to and from control and debug registers takes any mod field as 3 (SDM 2B, MOV CRn). */
const IGNORES_MOD = /^[CD]d$/;

/** Whether the ModR/M operand of these is a register whatever the mod field says. */
export function ignoresMod(operands: readonly Operand[]): boolean {
  return operands.some((operand) => IGNORES_MOD.test(operand));
}

/** Condition codes in encoding order (SDM 1, appendix B): letters, and the flags that each pair tests. */
const CONDITIONS = ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"];
const CONDITION_READS = [OF, CF, ZF, CF | ZF, SF, PF, SF | OF, SF | OF | ZF];

/** Letters of the flags column. */
const FLAG_LETTERS: Readonly<Record<string, number>> = {
  ...{ o: OF, s: SF, z: ZF, a: AF, p: PF, c: CF, d: DF, i: IF, t: TF, n: NT, l: IOPL, r: RF, v: VM, k: AC },
  "*": OF | SF | ZF | AF | PF | CF | DF | IF | TF | NT | IOPL | RF | VM | AC | VIF | VIP | ID,
};

const CLASS_WORDS: Readonly<Record<string, InstructionClass>> = {
  control: "control",
  privileged: "privileged",
  sensitive: "sensitive",
  memory: "memory-management",
};

const OPCODE_COLUMN =
  /^(?:(66|f2|f3|np) )?(?:(0f) )?([0-9a-f]{2})(?:\+(r|cc)| \/([0-7])| ([c-f][0-9a-f])(?:\+(i))?)?(?: (mem|reg))?$/;

function readLine(line: string): OpcodeRow[] {
  const [opcodeText, instructionText = "", handlerText = "", flagsText = "", attributeText = ""] = line.split("|").map((
    column,
  ) => column.trim());
  const match = OPCODE_COLUMN.exec(opcodeText);
  if (match === null) throw new Error(`opcode "${opcodeText}" is not in the notation`);
  const [, prefixText, escape, opcodeHex, spread, extensionText, modrmHex, spreadRm, formText] = match;
  const [name, operandText = ""] = instructionText.split(/\s+/);
  const operands = operandText === "" ? [] : operandText.split(",").map(readOperand);
  const [handler, variantText] = handlerText.split(":");
  if (name === "" || handler === "") throw new Error("expected an instruction and a handler");
  const modrm = modrmHex === undefined ? undefined : parseInt(modrmHex, 16);
  const extension = modrm === undefined
    ? (extensionText === undefined ? undefined : Number(extensionText))
    : modrm >> 3 & 7;
  const form = readForm(formText, modrm !== undefined, operands);
  const attributes = readAttributes(attributeText);
  const copies = spread === "cc" ? 16 : spread === "r" ? 8 : 1;
  return Array.from({ length: copies }, (_, copy) => {
    const flags = readFlags(flagsText, copy);
    return {
      map: escape === undefined ? "1" as const : "0f" as const,
      opcode: parseInt(opcodeHex, 16) + copy,
      extension,
      rm: modrm === undefined || spreadRm !== undefined ? undefined : modrm & 7,
      form,
      prefix: readPrefix(prefixText),
      noPrefix: prefixText === "np",
      name: spread === "cc" ? name.replace(/cc$/, CONDITIONS[copy]) : name,
      operands,
      reads: flags.reads,
      writes: flags.writes,
      undefined: flags.undefined,
      class: attributes.class,
      handler,
      modrm: extension !== undefined || form !== undefined ||
        operands.some((operand) => OPERAND_ENCODING[operand] === "modrm"),
      lockable: attributes.lockable,
      variant: variantText === undefined ? copy : Number(variantText),
      endsBlock: attributes.endsBlock,
    };
  });
}

function readOperand(text: string): Operand {
  if (!Object.hasOwn(OPERAND_ENCODING, text)) throw new Error(`no operand code "${text}"`);
  return text as Operand;
}

function readPrefix(text: string | undefined): 0x66 | 0xf2 | 0xf3 | undefined {
  switch (text) {
    case "66":
      return 0x66;
    case "f2":
      return 0xf2;
    case "f3":
      return 0xf3;
  }
}

function readForm(
  text: string | undefined,
  wholeModrm: boolean,
  operands: readonly Operand[],
): "memory" | "register" | undefined {
  if (text !== undefined) return text === "mem" ? "memory" : "register";
  if (ignoresMod(operands)) return undefined;
  if (operands.some((operand) => MEMORY_ONLY.test(operand))) return "memory";
  if (wholeModrm || operands.some((operand) => REGISTER_ONLY.test(operand))) return "register";
}

function readFlags(text: string, condition: number): { reads: number; writes: number; undefined: number } {
  const [before, undefinedText = ""] = text.split("?");
  const [readText = "", writeText = ""] = before.split(">");
  const reads = readText.trim() === "cc" ? CONDITION_READS[condition >> 1] : flagMask(readText);
  const undefinedMask = flagMask(undefinedText);
  return { reads, writes: flagMask(writeText) | undefinedMask, undefined: undefinedMask };
}

function flagMask(letters: string): number {
  let mask = 0;
  for (const letter of letters.trim()) {
    if (!Object.hasOwn(FLAG_LETTERS, letter)) throw new Error(`no flag "${letter}"`);
    mask |= FLAG_LETTERS[letter];
  }
  return mask;
}

function readAttributes(text: string): { class: InstructionClass; lockable: boolean; endsBlock: boolean } {
  let rowClass: InstructionClass = "innocuous";
  let lockable = false;
  let ends: boolean | undefined;
  for (const word of text.split(/\s+/).filter((word) => word !== "")) {
    if (Object.hasOwn(CLASS_WORDS, word)) rowClass = CLASS_WORDS[word];
    else if (word === "lock") lockable = true;
    else if (word === "ends") ends = true;
    else if (word === "continues") ends = false;
    else throw new Error(`no attribute "${word}"`);
  }
  return { class: rowClass, lockable, endsBlock: ends ?? rowClass === "control" };
}
