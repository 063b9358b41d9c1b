// The decoded instruction and the row of the opcode table that describes it: the vocabulary shared by the decoder,
// the interpreter, the translators, flag liveness and generated tests (Intel SDM 2A, chapters 2 and 3; the operand
// codes are those of SDM 2D, appendix A.2).

/** General-purpose register numbers as ModR/M encodes them. */
export const EAX = 0, ECX = 1, EDX = 2, EBX = 3, ESP = 4, EBP = 5, ESI = 6, EDI = 7;
/** "No register" in an effective address: a state slot that always holds zero, so that addresses add without a branch. */
export const NO_REGISTER = 8;

/** Segment register numbers as the SDM encodes them. */
export const ES = 0, CS = 1, SS = 2, DS = 3, FS = 4, GS = 5;

/** EFLAGS bits (SDM 1, 3.4.3). */
export const CF = 1 << 0, PF = 1 << 2, AF = 1 << 4, ZF = 1 << 6, SF = 1 << 7, TF = 1 << 8, IF = 1 << 9, DF = 1 << 10;
export const OF = 1 << 11, IOPL = 3 << 12, NT = 1 << 14, RF = 1 << 16, VM = 1 << 17, AC = 1 << 18;
export const VIF = 1 << 19, VIP = 1 << 20, ID = 1 << 21;
/** The six arithmetic flags. */
export const STATUS_FLAGS = CF | PF | AF | ZF | SF | OF;

/**
 * What an instruction asks of a virtual machine monitor (BT paper 3.2; Popek and Goldberg):
 * `innocuous` may run as it is; `control` changes EIP (far transfers, INT and IRET included); `privileged` faults outside CPL 0; `sensitive` reads or changes
 * machine state without faulting (POPF, SGDT, segment loads, I/O, RDTSC); `memory-management` changes address translation.
 */
export type InstructionClass = "innocuous" | "control" | "privileged" | "sensitive" | "memory-management";

/**
 * An operand in the notation of SDM 2D, A.2: addressing method, then type. Methods: E ModR/M register or memory, G ModR/M
 * reg, M memory only, R register only (rm), I immediate, J relative offset, O moffs, S segment register, C control
 * register, D debug register, X DS:SI, Y ES:DI, A far pointer, Z register in the low three opcode bits. Types: b, w, d, v (16 or 32),
 * z (16 or 32), p (far pointer 16:16 or 16:32), s (pseudo-descriptor), a (bound pair), q (64 bits), dq (128 bits). SIMD
 * methods: P MMX reg, Q MMX rm or memory, N MMX rm, V XMM reg, W XMM rm or memory, U XMM rm; their types say what is read
 * from memory, ss, sd, ps and pd as a float or vector of floats. Names in lower case are fixed registers: al, ax, cl, dx, eAX (ax or eax), es..gs; `1` is the constant.
 */
export type Operand =
  | "Eb"
  | "Ew"
  | "Ed"
  | "Ev"
  | "Gb"
  | "Gw"
  | "Gd"
  | "Gv"
  | "M"
  | "Mw"
  | "Md"
  | "Mq"
  | "Mdq"
  | "Mp"
  | "Ms"
  | "Ma"
  | "Rd"
  | "Rv"
  | "Ib"
  | "Ibs"
  | "Iw"
  | "Iz"
  | "Jb"
  | "Jz"
  | "Ob"
  | "Ov"
  | "Sw"
  | "Cd"
  | "Dd"
  | "Ap"
  | "Zb"
  | "Zv"
  | "Xb"
  | "Xv"
  | "Yb"
  | "Yv"
  | "al"
  | "eAX"
  | "ax"
  | "cl"
  | "dx"
  | "es"
  | "cs"
  | "ss"
  | "ds"
  | "fs"
  | "gs"
  | "1"
  | "ST0"
  | "STi"
  | "Mf32"
  | "Mf64"
  | "Mf80"
  | "Mi16"
  | "Mi32"
  | "Mi64"
  | "Mbcd"
  | "Menv"
  | "Mfpu"
  | "Pq"
  | "Qq"
  | "Qd"
  | "Nq"
  | "Vdq"
  | "Wdq"
  | "Wq"
  | "Wps"
  | "Wpd"
  | "Wss"
  | "Wsd"
  | "Udq";

/** One row of the opcode table. */
export interface OpcodeRow {
  /** Which opcode map: one byte, or 0F two bytes. */
  readonly map: "1" | "0f";
  /** The opcode byte within the map. */
  readonly opcode: number;
  /** ModR/M reg field, where it extends the opcode. */
  readonly extension?: number;
  /** For escapes D8..DF with mod = 3 and groups that need it: the ModR/M rm field as well. */
  readonly rm?: number;
  /** Restricts the row to a memory (`memory`) or register (`register`) form of ModR/M. */
  readonly form?: "memory" | "register";
  /** Mandatory prefix (SSE): none where undefined. */
  readonly prefix?: 0x66 | 0xf2 | 0xf3;
  /** 66, F2 and F3 are forbidden: "NP" of SDM 2A, 3.1.1.1. They are also where another row of the opcode has one. */
  readonly noPrefix: boolean;
  /** SDM mnemonic in lower case; for size-dependent names the 32-bit one (`cwde`, `pushad`, `iretd`). */
  readonly name: string;
  readonly operands: readonly Operand[];
  /**
   * EFLAGS bits read, written (including those set undefined), and of these undefined, over every value of the operands.
   * A flag that is written for some counts only (shifts) is also read: it may pass through. CMPS and SCAS with a repeat
   * prefix and a zero count pass all flags through; the row describes them without the prefix.
   */
  readonly reads: number;
  readonly writes: number;
  readonly undefined: number;
  readonly class: InstructionClass;
  /** Name of the handler that executes it; rows that differ only in operand form share one. */
  readonly handler: string;
  /** Whether a ModR/M byte follows. Derived from the operands. */
  readonly modrm: boolean;
  /** LOCK is legal with a memory destination. */
  readonly lockable: boolean;
  /**
   * A sub-operation number that the handler understands: ALU operation 0..7, shift 0..7, condition 0..15, segment or
   * control register, the Z operand's register (the low three opcode bits); else 0.
   */
  readonly variant: number;
  /** Ends a basic block: control flow, and whatever may change the mode, the interrupt flag or address translation. */
  readonly endsBlock: boolean;
}

/** A decoded instruction. Addresses of operands are not resolved; nothing depends on where the instruction lies. */
export interface Instruction {
  readonly row: OpcodeRow;
  /** Bytes, 1 to 15. */
  readonly length: number;
  /** Effective operand size and address size in bits, after prefixes. */
  readonly operandSize: 16 | 32;
  readonly addressSize: 16 | 32;
  /**
   * Segment register of the memory operand, after overrides and the SS default of EBP/ESP bases. With X operands it is
   * theirs (DS or the override), with Y operands alone ES; DS or the override where there is no memory operand.
   */
  readonly segment: number;
  /** Whether `segment` comes from a prefix. */
  readonly segmentOverride: boolean;
  /** 0 none, 0xF2 REPNE, 0xF3 REP: the last of them, on whatever instruction; only string instructions heed it. */
  readonly repeat: 0 | 0xf2 | 0xf3;
  readonly lock: boolean;
  /** ModR/M fields; -1 where there is no ModR/M byte. MOV to and from CRn and DRn, which ignore mod, have it 3. */
  readonly mod: number;
  readonly reg: number;
  readonly rm: number;
  /** The ModR/M operand is in memory (mod != 3), or the instruction has a moffs operand. */
  readonly isMemory: boolean;
  /**
   * Effective address = base + (index << scale) + displacement, cut to addressSize; NO_REGISTER where absent. The
   * displacement is an int32: 8 bits sign-extended, 16 bits zero-extended; a moffs operand is a displacement alone.
   */
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: number;
  /**
   * First immediate, else 0: Ib, Iw and a 16-bit Iz zero-extended, Ibs sign-extended, a 32-bit Iz as int32; a relative
   * offset (J) sign-extended; the offset of a far pointer, 16 bits zero-extended or 32 bits as int32.
   */
  readonly immediate: number;
  /** Second immediate: ENTER's nesting level, a far pointer's selector; else 0. */
  readonly immediate2: number;
}

/** Outcome of decoding when the bytes form no instruction: #UD, or more than 15 bytes (#GP). */
export type DecodeFailure = "invalid" | "too-long";
