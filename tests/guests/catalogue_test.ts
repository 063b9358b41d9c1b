// The catalogue of guests: every guest builds, fits its memory, keeps to the entry conventions and refuses options it does not
// have; and the guests whose bytes are promised have them.

import { assert, assertEquals, assertLess, assertLessOrEqual, assertThrows } from "@std/assert";
import { Decoder, DecoderOptions } from "iced-x86";
import { findGuest, type Guest, type GuestImage, type GuestOptionValues, guests } from "../../guests/mod.ts";

const MIB = 1 << 20;
const BOOT_SECTOR_BYTES = 510;

function guest(name: string): Guest {
  const found = findGuest(name);
  assert(found !== undefined, `no guest ${name}`);
  return found;
}

/** `count` bytes of the image from `address` on. */
function bytesAt(image: GuestImage, address: number, count: number): Uint8Array {
  const load = image.loads.find(({ address: at, bytes }) => address >= at && address + count <= at + bytes.length);
  assert(load !== undefined, `nothing is loaded at ${address}`);
  return load.bytes.subarray(address - load.address, address - load.address + count);
}

function symbol(image: GuestImage, name: string): number {
  const address = image.symbols.get(name);
  assert(address !== undefined, `no symbol ${name}`);
  return address;
}

Deno.test("the catalogue lists the guests by name, each once, and finds each by it", () => {
  const names = guests.map(({ name }) => name);
  const expected = ["alu", "balloon", "churn", "filecache", "hello", "idle", "isprime", "mosaic", "nanobench"];
  assertEquals(names, [...expected, "oscillator", "pager", "pagetable", "privileged", "rewriter", "toucher"]);
  for (const name of names) assertEquals(guest(name).name, name);
  assertEquals(findGuest("nobody"), undefined);
});

for (const { name, summary, description, memoryMib, options, build } of guests) {
  Deno.test(`guest ${name} says what it is and what each option means`, () => {
    assert(summary !== "" && !summary.includes("\n"));
    assert(description.endsWith("."));
    for (const option of Object.values(options)) assert(option.describe !== "");
  });

  Deno.test(`guest ${name} is loaded inside its memory and entered inside its image`, () => {
    const image = build();
    for (const { address, bytes } of image.loads) assertLessOrEqual(address + bytes.length, memoryMib * MIB);
    bytesAt(image, image.entry, 1);
    assertEquals(image.entry, symbol(image, "start"));
    for (const address of image.symbols.values()) {
      assert(image.loads.some(({ address: at, bytes }) => address >= at && address <= at + bytes.length));
    }
  });

  Deno.test(`guest ${name} is the same bytes every time it is built with the same options`, () => {
    const defaults = Object.fromEntries(Object.entries(options).map(([key, option]) => [key, option.default]));
    assertEquals(build(), build(defaults));
  });

  Deno.test(`guest ${name} starts with instructions that a disassembler knows`, () => {
    const image = build();
    const decoder = new Decoder(image.mode === "real" ? 16 : 32, bytesAt(image, image.entry, 32), DecoderOptions.None);
    for (let i = 0; i < 5; i++) {
      const instruction = decoder.decode();
      assert(!instruction.isInvalid);
      instruction.free();
    }
    decoder.free();
  });

  Deno.test(`guest ${name} refuses an option it does not have`, () => {
    assertThrows(() => build({ nonsense: 1 }), Error, `guest ${name} has no option nonsense; expected one of: `);
  });
}

const wrongOptions: readonly [guest: string, options: GuestOptionValues, message: string][] = [
  ["alu", { iterations: 0 }, "guest alu, option iterations: 0; expected a whole number from 1 to 4294967295"],
  ["alu", { iterations: 1.5 }, "expected a whole number"],
  ["alu", { iterations: "many" }, 'guest alu, option iterations: "many"; expected a number'],
  ["balloon", { poolMib: 4, workingSetMib: 5 }, "option workingSetMib: 5; expected at most the pool's 4"],
  ["filecache", { schedule: "5:4" }, 'option schedule: "5:4"; expected reads:MiB:seconds'],
  ["mosaic", { ownPages: 5, churnPages: 6 }, "option churnPages: 6; expected at most ownPages, 5"],
  ["pager", { memoryMib: 16, virtualMib: 8 }, "option virtualMib: 8; expected at least its memory's 16"],
  ["hello", { text: 5 }, "expected a string"],
  ["hello", { text: "x".repeat(257) }, "expected at most 256 bytes"],
  ["idle", { hz: 18 }, "expected a whole number from 19 to 10000"],
  ["isprime", { n: 0x8000_0000 }, "from 0 to 2147483647"],
  ["toucher", { schedule: "16" }, 'option schedule: "16"; expected MiB:milliseconds'],
  ["toucher", { schedule: "16:100,,8:100" }, 'option schedule: ""; expected MiB:milliseconds'],
  ["toucher", { schedule: "4096:100" }, "4096 MiB; expected at most 2048"],
];

for (const [name, options, message] of wrongOptions) {
  Deno.test(`guest ${name} refuses ${JSON.stringify(options).slice(0, 60)}`, () => {
    assertThrows(() => guest(name).build(options), Error, message);
  });
}

Deno.test("hello is a boot sector", () => {
  const image = guest("hello").build({ text: "x".repeat(256) });
  assertEquals([image.mode, image.entry], ["real", 0x7c00]);
  assertLess(image.loads[0].bytes.length, BOOT_SECTOR_BYTES);
});

Deno.test("isprime is the BT paper's code, instruction for instruction", () => {
  const image = guest("isprime").build();
  const paper = [
    [0x89, 0xf9], // isPrime: mov ecx, edi
    [0xbe, 0x02, 0x00, 0x00, 0x00], // mov esi, 2
    [0x39, 0xce], // cmp esi, ecx
    [0x7d, 0x0e], // jge prime
    [0x89, 0xc8], // nexti: mov eax, ecx
    [0x99], // cdq
    [0xf7, 0xfe], // idiv esi
    [0x85, 0xd2], // test edx, edx
    [0x74, 0x0b], // jz notPrime
    [0x46], // inc esi
    [0x39, 0xce], // cmp esi, ecx
    [0x7c, 0xf2], // jl nexti
    [0xb8, 0x01, 0x00, 0x00, 0x00], // prime: mov eax, 1
    [0xc3], // ret
    [0x31, 0xc0], // notPrime: xor eax, eax
    [0xc3], // ret
  ].flat();
  assertEquals([...bytesAt(image, symbol(image, "isPrime"), paper.length)], paper);
  assertEquals(symbol(image, "nexti"), symbol(image, "isPrime") + 11);
  assertEquals(symbol(image, "prime"), symbol(image, "isPrime") + 25);
  assertEquals(symbol(image, "notPrime"), symbol(image, "isPrime") + 31);
});

Deno.test("toucher's seed changes the pages' patterns and nothing else", () => {
  const [one, two] = [1, 2].map((seed) => guest("toucher").build({ seed }));
  assertEquals(one.loads[0].bytes.length, two.loads[0].bytes.length);
  const differing = one.loads[0].bytes.filter((byte, i) => byte !== two.loads[0].bytes[i]).length;
  assert(differing >= 1 && differing <= 4);
});
