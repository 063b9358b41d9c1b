// The suite command, on Multiboot images made here that pass, fail, skip, hang and print as test images do.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { runImage } from "../../cli/suite.ts";
import {
  addr,
  al,
  Assembler,
  ax,
  cr0,
  ds,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  esi,
  far,
  mem,
  mem32,
  sp,
  ss,
} from "../../guests/assembler/mod.ts";
import { DEBUG_EXIT_PORT, UART } from "../../guests/hardware.ts";
import { MIB } from "../plugins/boot/handmade_kernel.ts";
import { flatKernel } from "../plugins/boot/handmade_multiboot.ts";
import { ballast, inTemporaryFolder } from "./command.ts";

/** Code goes behind the header that flatKernel makes. */
const CODE_ORIGIN = MIB + 32;
/** Offsets of cmdline and mods_addr in the boot information, and the value with which automake's tests skip. */
const CMDLINE = 16, MODS_ADDR = 24, SKIP_VALUE = 38;

/** An image that prints a text and writes a value to the debug-exit port. */
function image(text: string, value: number): Uint8Array {
  const asm = new Assembler({ origin: CODE_ORIGIN });
  asm.mov(esi, addr("text"));
  return finished(asm, value, text);
}

/** An image that prints the first module, whose text ends with a zero, and passes. */
function echo(): Uint8Array {
  const asm = new Assembler({ origin: CODE_ORIGIN });
  asm.mov(ebx, mem32(ebx, { disp: MODS_ADDR })).mov(esi, mem32(ebx));
  return finished(asm, 0, "");
}

/** Code that prints what ESI points to and ends. */
function finished(asm: Assembler, value: number, text: string): Uint8Array {
  asm.label("next").lodsb().test(al, al).jz("end").mov(dx, UART.THR).out(dx, al).jmp("next");
  asm.label("end").mov(eax, value).mov(dx, DEBUG_EXIT_PORT).out(dx, eax).cli().hlt();
  asm.label("text").string(text).db(0);
  return flatKernel(asm.assemble().bytes);
}

function hanging(): Uint8Array {
  return flatKernel(new Assembler({ origin: CODE_ORIGIN }).label("self").jmp("self").assemble().bytes);
}

/** An image that goes to real mode, halts with interrupts on, prints `!` once it is woken, and passes. */
function waitingInRealMode(): Uint8Array {
  const LOW = 0x7000, CODE16 = 8, GDT_LIMIT = 15;
  const low = new Assembler({ origin: LOW, bits: 16 });
  low.mov(eax, cr0).and(al, 0xfe).mov(cr0, eax).jmpFar(far(0, addr("real"), 16));
  low.label("real").xor(ax, ax).mov(ss, ax).mov(ds, ax).mov(sp, LOW);
  low.sti().hlt().cli().mov(dx, UART.THR).mov(al, "!".charCodeAt(0)).out(dx, al);
  low.xor(ax, ax).mov(dx, DEBUG_EXIT_PORT).out(dx, ax).hlt();
  const { bytes } = low.assemble();
  const asm = new Assembler({ origin: CODE_ORIGIN });
  asm.mov(esi, addr("low")).mov(edi, LOW).mov(ecx, bytes.length).cld().rep().movsb();
  asm.lgdt(mem(addr("gdtPointer"))).jmpFar(far(CODE16, LOW));
  asm.label("gdtPointer").dw(GDT_LIMIT).dd(addr("gdt"));
  // A null descriptor, and 16-bit code from address 0 with a limit of 64 KiB.
  asm.label("gdt").dd(0, 0).dd(0x0000_ffff, 0x0000_9a00);
  asm.label("low").db(...bytes);
  return flatKernel(asm.assemble().bytes);
}

const good = image("PASS: one\nPASS: two\nSKIP: three\nSUMMARY: 3 tests, 1 skipped\nbye\n", 0);
const bad = image("PASS: one\nFAIL: PASS\nfault at 7\n", 1);

Deno.test("a folder's Multiboot images give a table, the counts and status 1 where one fails", async () => {
  await inTemporaryFolder(async (folder) => {
    const files: [string, Uint8Array][] = [
      ["good.flat", good],
      ["bad.flat", bad],
      ["idle", image("", SKIP_VALUE)],
      ["notes.txt", new TextEncoder().encode("no image")],
    ];
    for (const [name, bytes] of files) await Deno.writeFile(join(folder, name), bytes);
    const { status, stdout, stderr } = await ballast(["suite", folder, "--memory", "8"]);
    assertEquals([status, stderr], [1, ""]);
    const lines = stdout.trimEnd().split("\n");
    assertMatch(lines[1], /^bad.flat +failed +status 3 +1 +1 +0 +\d+ +fault at 7$/);
    assertMatch(lines[2], /^good.flat +passed +status 1 +2 +0 +1 +\d+ +SUMMARY: 3 tests, 1 skipped$/);
    assertMatch(lines[3], /^idle +skipped +status 77 +0 +0 +0 +\d+$/);
    assertEquals(lines.at(-1), "1 passed, 1 failed, 1 skipped");
    assert(!stdout.includes("notes.txt") && !stdout.includes("PASS: one"));

    const some = await ballast(["suite", folder, "--only", "good", "--verbose", "--plugins", "none"]);
    assertEquals([some.status, some.stdout.trimEnd().split("\n").at(-1)], [0, "1 passed, 0 failed, 0 skipped"]);
    assertStringIncludes(some.stdout, "--- good.flat\nPASS: one\n");

    const none = await ballast(["suite", folder, "--only", "better"]);
    assertEquals([none.status, none.stdout], [2, ""]);
    assertStringIncludes(none.stderr, "no Multiboot image named *better*");
  });
});

Deno.test("an image that does not end is stopped at its timeout, and fails", async () => {
  const { verdict, end } = await runImage("hang", hanging(), { memoryMib: 8, timeoutSeconds: 0.05 });
  assertEquals([verdict, end], ["failed", "timeout"]);
});

Deno.test("the environment is an image's first module", async () => {
  const environment = new TextEncoder().encode("NR_CPUS=1\0");
  const { verdict, output } = await runImage("echo", echo(), { memoryMib: 8, environment });
  assertEquals([verdict, output], ["passed", "NR_CPUS=1"]);
});

Deno.test("an image's command line is its name and its arguments", async () => {
  const asm = new Assembler({ origin: CODE_ORIGIN });
  asm.mov(esi, mem32(ebx, { disp: CMDLINE }));
  const kernel = finished(asm, 0, "");
  for (const [append, expected] of [[undefined, "a.flat"], ["one two", "a.flat one two"]] as const) {
    const { verdict, output } = await runImage("a.flat", kernel, { memoryMib: 8, append });
    assertEquals([verdict, output], ["passed", expected]);
  }
});

Deno.test("an image in real mode is woken by the BIOS's timer", async () => {
  const { verdict, end, output } = await runImage("real", waitingInRealMode(), { memoryMib: 8 });
  assertEquals([verdict, end, output], ["passed", "status 1", "!"]);
});

Deno.test("images run by the interpreter take the steps that they take translated", async () => {
  const [translated, interpreted] = await Promise.all(
    [undefined, []].map((plugins) => runImage("good", good, { memoryMib: 8, plugins })),
  );
  assertEquals(translated, interpreted);
});
