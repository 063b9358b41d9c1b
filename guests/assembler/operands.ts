// Operands of the guests' x86 assembler: registers as typed constants, memory operands, label references, branch targets
// and far pointers. Register numbers and address forms follow Intel SDM volume 2A, section 2.1 (tables 2-1 to 2-3).

/** The register files an operand can name; the number in `r8`, `r16`, `r32` is the width in bits. */
export type RegisterClass = "r8" | "r16" | "r32" | "sreg" | "cr" | "dr" | "st";

/** A register: its file, its number within it as encoded in ModRM, and its name as the manual writes it. */
export interface Register<Class extends RegisterClass = RegisterClass, Name extends string = string> {
  readonly kind: "register";
  readonly class: Class;
  readonly name: Name;
  readonly number: number;
}

export type Reg8 = Register<"r8">;
export type Reg16 = Register<"r16">;
export type Reg32 = Register<"r32">;
export type SegmentRegister = Register<"sreg">;

function register<const Class extends RegisterClass, const Name extends string>(
  registerClass: Class,
  name: Name,
  number: number,
): Register<Class, Name> {
  return { kind: "register", class: registerClass, name, number };
}

export const al = register("r8", "al", 0);
export const cl = register("r8", "cl", 1);
export const dl = register("r8", "dl", 2);
export const bl = register("r8", "bl", 3);
export const ah = register("r8", "ah", 4);
export const ch = register("r8", "ch", 5);
export const dh = register("r8", "dh", 6);
export const bh = register("r8", "bh", 7);

export const ax = register("r16", "ax", 0);
export const cx = register("r16", "cx", 1);
export const dx = register("r16", "dx", 2);
export const bx = register("r16", "bx", 3);
export const sp = register("r16", "sp", 4);
export const bp = register("r16", "bp", 5);
export const si = register("r16", "si", 6);
export const di = register("r16", "di", 7);

export const eax = register("r32", "eax", 0);
export const ecx = register("r32", "ecx", 1);
export const edx = register("r32", "edx", 2);
export const ebx = register("r32", "ebx", 3);
export const esp = register("r32", "esp", 4);
export const ebp = register("r32", "ebp", 5);
export const esi = register("r32", "esi", 6);
export const edi = register("r32", "edi", 7);

export const es = register("sreg", "es", 0);
export const cs = register("sreg", "cs", 1);
export const ss = register("sreg", "ss", 2);
export const ds = register("sreg", "ds", 3);
export const fs = register("sreg", "fs", 4);
export const gs = register("sreg", "gs", 5);

export const cr0 = register("cr", "cr0", 0);
export const cr2 = register("cr", "cr2", 2);
export const cr3 = register("cr", "cr3", 3);
export const cr4 = register("cr", "cr4", 4);

export const dr0 = register("dr", "dr0", 0);
export const dr1 = register("dr", "dr1", 1);
export const dr2 = register("dr", "dr2", 2);
export const dr3 = register("dr", "dr3", 3);
export const dr6 = register("dr", "dr6", 6);
export const dr7 = register("dr", "dr7", 7);

export const st0 = register("st", "st0", 0);
export const st1 = register("st", "st1", 1);
export const st2 = register("st", "st2", 2);
export const st3 = register("st", "st3", 3);
export const st4 = register("st", "st4", 4);
export const st5 = register("st", "st5", 5);
export const st6 = register("st", "st6", 6);
export const st7 = register("st", "st7", 7);

/** The address of a label plus an offset in bytes, known once the program is laid out. */
export interface LabelAddress {
  readonly kind: "label";
  readonly name: string;
  readonly offset: number;
}

/** The address of label `name` plus `offset` bytes, for immediates, displacements and data. */
export function addr(name: string, offset = 0): LabelAddress {
  return { kind: "label", name, offset };
}

/** A number, or a label's address. Negative numbers are encoded in two's complement. */
export type Immediate = number | LabelAddress;

/** How far a branch may reach: `short` is a signed byte, `near` is the operand size. */
export type BranchDistance = "short" | "near";

/** A branch target whose distance the program fixes instead of leaving it to the assembler. */
export interface BranchTarget {
  readonly kind: "target";
  readonly to: string | LabelAddress | number;
  readonly distance: BranchDistance;
}

/** Where a relative branch goes: a label's name, a label plus an offset, an address, or one of these with its distance. */
export type Target = string | LabelAddress | number | BranchTarget;

/** A branch target encoded as an 8-bit displacement, or refused when it is out of reach. */
export function short(to: string | LabelAddress | number): BranchTarget {
  return { kind: "target", to, distance: "short" };
}

/** A branch target encoded as a 16- or 32-bit displacement even when a byte would do. */
export function near(to: string | LabelAddress | number): BranchTarget {
  return { kind: "target", to, distance: "near" };
}

/** An immediate far pointer, selector:offset. `size` is the width of the offset in bits; by default the code's. */
export interface FarPointer {
  readonly kind: "far";
  readonly selector: number;
  readonly offset: Immediate;
  readonly size?: 16 | 32;
}

/** The far pointer `selector:offset`; `size` (16 or 32) is the width of the offset, the code's own by default. */
export function far(selector: number, offset: Immediate, size?: 16 | 32): FarPointer {
  return { kind: "far", selector, offset, size };
}

/** Width of a memory operand in bits. 48 is a 16:32 far pointer, 80 an x87 extended real or packed decimal. */
export type MemorySize = 8 | 16 | 32 | 48 | 64 | 80;

/** Parts of a memory operand besides its base. */
export interface MemoryParts {
  readonly index?: Reg32 | Reg16;
  /** Factor of the index, 1 by default; only 32-bit addressing scales. */
  readonly scale?: 1 | 2 | 4 | 8;
  /** Displacement in bytes. */
  readonly disp?: Immediate;
  /** Width of the access in bits; may be left out where another operand tells it. */
  readonly size?: MemorySize;
  /** Segment override. */
  readonly segment?: SegmentRegister;
}

/** A memory operand: segment:[base + index * scale + disp]. */
export interface Memory extends MemoryParts {
  readonly kind: "memory";
  readonly base?: Reg32 | Reg16;
  readonly disp: Immediate;
  readonly scale: 1 | 2 | 4 | 8;
}

/**
 * A memory operand. The first argument is the base register, an absolute address, or the parts alone:
 * `mem(ebp, { index: esi, scale: 4, disp: 8, size: 32, segment: fs })`, `mem(addr("table"))`, `mem({ index: ecx, scale: 8 })`.
 */
export function mem(base: Reg32 | Reg16 | Immediate | MemoryParts, parts: MemoryParts = {}): Memory {
  const common = { kind: "memory", disp: 0, scale: 1 } as const;
  if (typeof base === "number") return { ...common, ...parts, disp: plusDisplacement(base, parts.disp) };
  if (!("kind" in base)) return { ...common, ...base };
  if (base.kind === "label") return { ...common, ...parts, disp: plusDisplacement(base, parts.disp) };
  return { ...common, ...parts, base };
}

/** `mem` of 8 bits. */
export function mem8(base: Reg32 | Reg16 | Immediate | MemoryParts, parts: MemoryParts = {}): Memory {
  return { ...mem(base, parts), size: 8 };
}

/** `mem` of 16 bits. */
export function mem16(base: Reg32 | Reg16 | Immediate | MemoryParts, parts: MemoryParts = {}): Memory {
  return { ...mem(base, parts), size: 16 };
}

/** `mem` of 32 bits. */
export function mem32(base: Reg32 | Reg16 | Immediate | MemoryParts, parts: MemoryParts = {}): Memory {
  return { ...mem(base, parts), size: 32 };
}

/** `mem` of 64 bits. */
export function mem64(base: Reg32 | Reg16 | Immediate | MemoryParts, parts: MemoryParts = {}): Memory {
  return { ...mem(base, parts), size: 64 };
}

/** Everything an instruction can take. */
export type Operand = Register | Memory | FarPointer | Target;

/** The operand as an error message shows it: `dword [ebp+esi*4+0x8]`, `eax`, `0x10`. */
export function describeOperand(operand: Operand): string {
  if (typeof operand === "number") return hex(operand);
  if (typeof operand === "string") return `"${operand}"`;
  switch (operand.kind) {
    case "register":
      return operand.name;
    case "label":
      return describeLabel(operand);
    case "target":
      return `${operand.distance} ${describeOperand(operand.to)}`;
    case "far":
      return `${hex(operand.selector)}:${describeOperand(operand.offset)}`;
    case "memory":
      return describeMemory(operand);
  }
}

const sizeNames: Record<MemorySize, string> = {
  8: "byte",
  16: "word",
  32: "dword",
  48: "fword",
  64: "qword",
  80: "tbyte",
};

function describeMemory(memory: Memory): string {
  const terms: string[] = [];
  if (memory.base !== undefined) terms.push(memory.base.name);
  if (memory.index !== undefined) terms.push(memory.index.name + (memory.scale === 1 ? "" : `*${memory.scale}`));
  if (terms.length === 0 || memory.disp !== 0) terms.push(describeOperand(memory.disp));
  const size = memory.size === undefined ? "" : `${sizeNames[memory.size]} `;
  const segment = memory.segment === undefined ? "" : `${memory.segment.name}:`;
  return `${size}${segment}[${terms.join("+").replace("+-", "-")}]`;
}

function describeLabel(label: LabelAddress): string {
  if (label.offset === 0) return label.name;
  return label.offset < 0 ? `${label.name}-${hex(-label.offset)}` : `${label.name}+${hex(label.offset)}`;
}

function plusDisplacement(base: Immediate, disp: Immediate | undefined): Immediate {
  if (disp === undefined) return base;
  if (typeof base === "number") {
    return typeof disp === "number" ? base + disp : addr(disp.name, disp.offset + base);
  }
  if (typeof disp === "number") return addr(base.name, base.offset + disp);
  throw new Error(`memory operand: labels ${base.name} and ${disp.name} cannot be added; keep one of them`);
}

/** A number in hexadecimal, with its sign, for error messages. */
export function hex(value: number): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}
