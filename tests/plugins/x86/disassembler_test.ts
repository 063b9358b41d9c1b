// The disassembler against iced-x86's Intel formatter, over every opcode with every ModR/M byte under prefixes, and what
// its text says of targets and of memory that is not there.

import { assertEquals, assertGreater } from "@std/assert";
import { Code, Decoder, DecoderOptions, Formatter, FormatterSyntax, Instruction, MemorySizeOptions } from "iced-x86";
import { decode } from "../../../plugins/x86/decoder.ts";
import { disassemble } from "../../../plugins/x86/disassembler.ts";

/** iced as the CPU of the opcode table, but for hint NOPs and prefetches: see iced_oracle.ts. */
const OPTIONS = DecoderOptions.NoWbnoinvd | DecoderOptions.NoMPFX_0FBC | DecoderOptions.NoMPFX_0FBD;
const STRIDE = 16;
const IP = 0x1000;

function makeFormatter(): Formatter {
  const formatter = new Formatter(FormatterSyntax.Intel);
  formatter.hexPrefix = "0x";
  formatter.hexSuffix = "";
  formatter.uppercaseHex = false;
  formatter.spaceAfterOperandSeparator = true;
  formatter.smallHexNumbersInDecimal = false;
  formatter.addLeadingZeroToHexNumbers = false;
  formatter.branchLeadingZeros = false;
  formatter.showBranchSize = false;
  formatter.usePseudoOps = false;
  formatter.preferSt0 = true;
  formatter.memorySizeOptions = MemorySizeOptions.Always;
  return formatter;
}

/** What iced writes otherwise, put into our words: prefixes without effect, the operands and names of some instructions. */
const REWRITES: readonly [RegExp, string][] = [
  [/^(?:(?:data16|data32|addr16|addr32|hint-taken|hint-not-taken|bnd|notrack|[c-gs]s) )+/, ""],
  [/^(?:xacquire|xrelease) (lock )?/, "$1"],
  [/^fwait$/, "wait"],
  [/^ret far/, "retf"],
  [/^xlat .*$/, "xlatb"],
  [/^(call|jmp) far (0x\w+), (0x\w+)$/, "$1 far $3:$2"],
  [/^(clflush|prefetch\w+) byte ptr /, "$1 "],
  [/^(nop .*), \w+$/, "$1"],
  [/^(maskmov\w+ .*), (?:[c-gs]s:)?[c-gs]s$/, "$1"],
  [/fpu(?:state|env)\d+ ptr /, ""],
  // A shift by one is written without the zeros of a number.
  [/^((?:ro|rc|sh|sa)[lr] .*, )0x1$/, "$11"],
  [/^(lar|lsl) e(\w\w), (?:e(?=..$))(\w\w)$/, "$1 e$2, $3"],
];

/** Both sides leave out, or not, the stack top that FPU instructions imply, and a segment override of ES. */
function neutral(text: string): string {
  return text.replace(/^(f\w+) st\(0\), (?=\w+ ptr|st)/, "$1 ").replace(/^(f\w+ .*), st\(0\)$/, "$1")
    .replaceAll(/es:(?=\[e?di\])/g, "").replace(/^((?:ro|rc|sh|sa)[lr] .*, )0x1$/, "$11");
}

function inOurWords(text: string): string {
  return neutral(REWRITES.reduce((so, [pattern, by]) => so.replace(pattern, by), text));
}

/** The size of a NOP's operand, which is never accessed. */
const NOP_SIZE = /d?word ptr /;

const prefixSets: readonly (readonly number[])[] = [[], [0x66], [0x67], [0xf0], [0xf2], [0xf3], [0x65], [0x36]];

for (const codeSize of [16, 32] as const) {
  Deno.test(`every opcode with every ModR/M byte reads as iced says in ${codeSize}-bit code`, () => {
    const formatter = makeFormatter(), theirs = new Instruction();
    const cases = 2 * 256 * 256;
    const bytes = new Uint8Array(cases * STRIDE);
    let compared = 0;
    const differences = new Map<string, string>();
    for (const prefixes of prefixSets) {
      for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(i + 1, 0x9e3779b1) >>> 24;
      for (let i = 0; i < cases; i++) {
        const escape = i < cases / 2 ? [] : [0x0f];
        bytes.set([...prefixes, ...escape, i >> 8 & 0xff, i & 0xff], i * STRIDE);
      }
      const decoder = new Decoder(codeSize, bytes, OPTIONS);
      for (let i = 0; i < cases; i++) {
        const ours = decode(bytes, i * STRIDE, (i + 1) * STRIDE, codeSize);
        if (typeof ours === "string") continue;
        decoder.position = i * STRIDE;
        decoder.ip = BigInt(IP);
        decoder.decodeOut(theirs);
        if (theirs.code === Code.INVALID || theirs.length !== ours.length) continue;
        // A repeat prefix that the instruction does not heed is not shown.
        const text = neutral(disassemble(ours, IP)).replace(ours.row.name === "nop" ? NOP_SIZE : /^$/, "");
        const formatted = inOurWords(formatter.format(theirs));
        // Hint NOPs have names since; XCHG AX,AX is one under any prefix.
        const isNop = ours.row.name === "nop";
        if (isNop && !/^(?:nop|xchg)/.test(formatted)) continue;
        const expected = isNop ? formatted.replace(/^xchg e?ax, e?ax/, "nop").replace(NOP_SIZE, "") : formatted;
        // iced shows repeat prefixes also where they have no effect, and REPNE only where it differs from REP.
        const isSame = text === expected || text === expected.replace(/^repn?e? /, "") ||
          text.replace(/^repne /, "") === expected;
        if (!isSame) differences.set(ours.row.name, `${text} | ${expected}`);
        compared++;
      }
      decoder.free();
    }
    theirs.free();
    formatter.free();
    assertEquals([...differences.values()], []);
    assertGreater(compared, 600_000);
  });
}

const cases: readonly [string, number[], 16 | 32, string][] = [
  ["a jump shows where it goes", [0xeb, 0xfe], 32, "jmp 0x1000 <loop>"],
  ["a 16-bit jump stays in its segment", [0xe9, 0xfd, 0xdf], 16, "jmp 0xf000"],
  ["a repeated move", [0xf3, 0xa5], 32, "rep movsd dword ptr [edi], dword ptr [esi]"],
  ["a repeated comparison", [0xf3, 0xa6], 32, "repe cmpsb byte ptr [esi], byte ptr [edi]"],
  ["a segment override", [0x65, 0xa1, 0x14, 0, 0, 0], 32, "mov eax, dword ptr gs:[0x14]"],
  ["a default segment", [0x36, 0x8b, 0x04, 0x24], 32, "mov eax, dword ptr [esp]"],
  ["a scaled index and a negative offset", [0x8b, 0x44, 0xb3, 0xf0], 32, "mov eax, dword ptr [ebx+esi*4-0x10]"],
  ["a locked exchange", [0xf0, 0x0f, 0xb1, 0x0f], 32, "lock cmpxchg dword ptr [edi], ecx"],
  ["a far jump", [0xea, 1, 0, 0, 0, 8, 0], 32, "jmp far 0x8:0x1"],
  ["a 16-bit string instruction", [0xab], 16, "stosw word ptr [di]"],
  ["a control register", [0x0f, 0x22, 0xd8], 32, "mov cr3, eax"],
];

Deno.test("single instructions read as an assembler would take them", () => {
  for (const [what, bytes, codeSize, expected] of cases) {
    const decoded = decode(Uint8Array.from(bytes), 0, bytes.length, codeSize);
    if (typeof decoded === "string") throw new Error(`${what}: ${decoded}`);
    assertEquals(disassemble(decoded, IP, (address) => address === IP ? "loop" : undefined), expected, what);
  }
});
