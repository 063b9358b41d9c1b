// The assembler beyond single encodings: labels, branch lengths, sections, data, prefixes, and what its errors say.

import { assertEquals, assertThrows } from "@std/assert";
import {
  addr,
  al,
  Assembler,
  AssemblyError,
  ax,
  bx,
  eax,
  ebx,
  ecx,
  edi,
  esi,
  esp,
  far,
  fs,
  mem,
  mem32,
  mem8,
  near,
  short,
  si,
} from "../../../guests/assembler/mod.ts";

const ORIGIN = 0x1000;

function hexOf(program: (asm: Assembler) => unknown, bits: 16 | 32 = 32): string {
  const asm = new Assembler({ origin: ORIGIN, bits });
  program(asm);
  return [...asm.assemble().bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

const encodings: readonly [title: string, program: (asm: Assembler) => unknown, bytes: string][] = [
  ["register moves use the form that stores into r/m", (asm) => asm.mov(ecx, edi), "89 f9"],
  [
    "the shortest immediate is chosen",
    (asm) => asm.add(eax, 5).add(eax, 0x80).add(ebx, -128),
    "83 c0 05 05 80 00 00 00 83 c3 80",
  ],
  ["an unsigned immediate that a sign-extended byte can make is a byte", (asm) => asm.and(ebx, 0xfffffff0), "83 e3 f0"],
  ["a backward branch that reaches is short", (asm) => asm.label("a").nop().jmp("a"), "90 eb fd"],
  ["a forward branch that reaches is short", (asm) => asm.jz("a").nop().label("a").ret(), "74 01 90 c3"],
  ["near() makes a branch long", (asm) => asm.jmp(near("a")).label("a"), "e9 00 00 00 00"],
  ["short() makes a branch short", (asm) => asm.jmp(short("a")).label("a"), "eb 00"],
  ["a branch may go to an address", (asm) => asm.call(ORIGIN), "e8 fb ff ff ff"],
  ["a branch may go past a label", (asm) => asm.jmp(addr("a", 1)).label("a").nop(), "eb 01 90"],
  [
    "a label is an immediate of full width",
    (asm) => asm.mov(esi, addr("a")).add(eax, addr("a", -1)).label("a"),
    "be 0a 10 00 00 05 09 10 00 00",
  ],
  [
    "a label is a displacement",
    (asm) => asm.label("a").mov(eax, mem(ebx, { disp: addr("a", 4) })),
    "8b 83 04 10 00 00",
  ],
  [
    "a label and a number as displacement add up",
    (asm) => asm.label("a").mov(ebx, mem(addr("a"), { disp: 8 })),
    "8b 1d 08 10 00 00",
  ],
  ["prefixes chain", (asm) => asm.rep().movsd().lock().xadd(mem(ebx), eax), "f3 a5 f0 0f c1 03"],
  [
    "a string instruction takes size and segment prefixes",
    (asm) => asm.a16().override(fs).lodsb().a32().lodsb(),
    "67 64 ac ac",
  ],
  [
    "data is little-endian",
    (asm) => asm.db(1, -1).dw(0x1234).dd(0x12345678).dq(0x1_0000_0002n),
    "01 ff 34 12 78 56 34 12 02 00 00 00 01 00 00 00",
  ],
  ["data holds addresses", (asm) => asm.label("a").dw(addr("a")).dd(addr("a", 2)), "00 10 02 10 00 00"],
  ["text is UTF-8", (asm) => asm.string("a\u00e9").zeros(2), "61 c3 a9 00 00"],
  [
    "align and org pad",
    (asm) => asm.nop().align(4, 0xcc).nop().org(ORIGIN + 8, 0x90).hlt(),
    "90 cc cc cc 90 90 90 90 f4",
  ],
  [
    "sections follow each other",
    (asm) => asm.section("data").db(1).section("text").nop().section("data").db(2),
    "90 01 02",
  ],
  [
    "code sizes alternate",
    (asm) => asm.bits(16).mov(ax, 1).mov(eax, 1).bits(32).mov(ax, 1),
    "b8 01 00 66 b8 01 00 00 00 66 b8 01 00",
  ],
  [
    "a far jump out of 16-bit code carries its size",
    (asm) => asm.bits(16).jmpFar(far(8, addr("a"), 32)).label("a"),
    "66 ea 08 10 00 00 08 00",
  ],
  [
    "a far pointer in memory tells its size",
    (asm) => asm.jmpFar(mem(ebx)).callFar({ ...mem(ebx), size: 32 }),
    "ff 2b 66 ff 1b",
  ],
  ["raw bytes pass through", (asm) => asm.bytes([0x0f, 0x0b]), "0f 0b"],
];

for (const [title, program, bytes] of encodings) {
  Deno.test(`assembler: ${title}`, () => assertEquals(hexOf(program), bytes));
}

Deno.test("assembler: branches grow exactly where a byte does not reach", () => {
  const build = (padding: number) => {
    const asm = new Assembler({ origin: ORIGIN });
    asm.jmp("end").zeros(padding).label("end");
    return asm.assemble().labels.get("end");
  };
  assertEquals(build(127), ORIGIN + 2 + 127);
  assertEquals(build(128), ORIGIN + 5 + 128);
});

Deno.test("assembler: a branch that grows pushes another out of reach, which grows too", () => {
  const asm = new Assembler({ origin: ORIGIN });
  asm.jmp("b").jz("c").zeros(124).label("b").zeros(4).label("c");
  const { bytes } = asm.assemble();
  assertEquals([...bytes.subarray(0, 2)], [0xe9, 0x82]);
  assertEquals([...bytes.subarray(5, 7)], [0x0f, 0x84]);
});

Deno.test("assembler: labels are addresses and unique labels differ", () => {
  const asm = new Assembler({ origin: ORIGIN });
  const [first, second] = [asm.uniqueLabel("x"), asm.uniqueLabel("x")];
  asm.label("start").nop().label(first).nop().label(second);
  assertEquals(asm.assemble().labels, new Map([["start", ORIGIN], [first, ORIGIN + 1], [second, ORIGIN + 2]]));
});

const mistakes: readonly [message: string, program: (asm: Assembler) => unknown][] = [
  [
    "add eax, bl: operand 2 is bl; expected imm8s, imm32, r32, rm32",
    (asm) => asm.emit("add", eax, { ...al, name: "bl", number: 3 }),
  ],
  ["inc [ebx]: operand 1 has no size; expected mem8 or mem32 or mem16", (asm) => asm.inc(mem(ebx))],
  ["mov byte [ebx], 0x100: operand 2 is 0x100; expected r8, imm8", (asm) => asm.mov(mem8(ebx), 256)],
  ["lea eax, ebx: operand 2 is ebx; expected m", (asm) => asm.emit("lea", eax, ebx)],
  ["cli eax: the number of operands is 1; expected 0", (asm) => asm.emit("cli", eax)],
  ["mov eax, [eax+esp]: [eax+esp]: esp cannot be an index", (asm) => asm.mov(eax, mem(eax, { index: esp }))],
  ["mov eax, [ebx+si]: [ebx+si] mixes 16- and 32-bit registers", (asm) => asm.mov(eax, mem(ebx, { index: si }))],
  ["mov eax, [bx+si*2]: [bx+si*2] is no 16-bit address", (asm) => asm.mov(eax, mem(bx, { index: si, scale: 2 }))],
  ["mov ebx, [bx+0x10000]: 0x10000 does not fit 16 bits", (asm) => asm.mov(ebx, mem(bx, { disp: 0x10000 }))],
  ['jmp "nowhere": label nowhere is not defined', (asm) => asm.jmp("nowhere")],
  ["label a is defined twice", (asm) => asm.label("a").label("a")],
  ['loop "a": the target is 128 bytes away; expected -128 to 127', (asm) => asm.loop("a").zeros(128).label("a")],
  ['jmp short "a": the target is 128 bytes away', (asm) => asm.jmp(short("a")).zeros(128).label("a")],
  ['loop near "a": the instruction has no near form', (asm) => asm.label("a").loop(near("a"))],
  ["org 0x1000: the program is at 0x1001 already", (asm) => asm.nop().org(ORIGIN)],
  ["db 0x100: 0x100 does not fit; expected 8 bits", (asm) => asm.db(256)],
  ["db a: 0x1000 does not fit; expected 8 bits", (asm) => asm.label("a").db(addr("a"))],
  ["shl eax, 0x1000: operand 2 is 0x1000; expected one, cl, imm8", (asm) => asm.shl(eax, 0x1000)],
];

for (const [message, program] of mistakes) {
  Deno.test(`assembler refuses: ${message}`, () => {
    assertThrows(() => hexOf(program), AssemblyError, message);
  });
}

Deno.test("assembler: the compiler refuses operands that no form takes", () => {
  const asm = new Assembler({ origin: ORIGIN });
  const wrong = [
    // @ts-expect-error -- registers of two widths
    () => asm.add(eax, al),
    // @ts-expect-error -- lea needs memory
    () => asm.lea(eax, ebx),
    // @ts-expect-error -- shifts count in cl
    () => asm.shl(eax, ecx),
    // @ts-expect-error -- a label is not an immediate without addr
    () => asm.mov(eax, "label"),
  ];
  for (const mistake of wrong) assertThrows(mistake, AssemblyError);
  assertEquals(hexOf((asm) => asm.mov(mem32(ebx), 1)), "c7 03 01 00 00 00");
});
