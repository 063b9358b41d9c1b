// The guests' x86 assembler: what a guest or a test imports. `new Assembler({ origin: 0x100000 })`, one method per mnemonic,
// `assemble()`.

export { Assembler, type InstructionMethods, type Program } from "./assembler.ts";
export { AssemblyError, type Bits } from "./encode.ts";
export { instructions, type Mnemonic } from "./instructions.ts";
export * from "./operands.ts";
