// The VGA from the processor's side: registers, display memory in its modes, retrace, and what the screen then shows.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { VgaAdapter } from "../../../plugins/vga/adapter.ts";
import { Crtc, Graphics, Port, Sequencer } from "../../../plugins/vga/registers.ts";
import { hashOf, makeVm, pass } from "../pc/harness.ts";

/** Text memory, as an offset in the adapter's window. */
const TEXT = 0x1_8000;

function makeVga() {
  const vm = makeVm(), vga = new VgaAdapter(vm.clock);
  const set = (index: number, register: number, value: number) => vga.write(index, 2, register | (value << 8));
  return {
    vm,
    vga,
    crtc: (register: number, value: number) => set(Port.CRTC_INDEX, register, value),
    sequencer: (register: number, value: number) => set(Port.SEQUENCER_INDEX, register, value),
    graphics: (register: number, value: number) => set(Port.GRAPHICS_INDEX, register, value),
    print(row: number, column: number, text: string, attribute = 7) {
      for (const [i, letter] of [...text].entries()) {
        vga.memory.write(TEXT + (row * 80 + column + i) * 2, 2, letter.charCodeAt(0) | (attribute << 8));
      }
    },
    line: (row: number) => vga.screen()?.lines[row],
  };
}

Deno.test("at power-on the screen is blank, 80 x 25, with a cursor at its top left", () => {
  const screen = makeVga().vga.screen();
  assertEquals([screen?.columns, screen?.rows, screen?.cursor], [80, 25, { row: 0, column: 0 }]);
  assertEquals(screen?.lines, Array(25).fill(""));
});

Deno.test("what is stored in text memory is on the screen, with its attribute, and reads back", () => {
  const { vga, print, line } = makeVga();
  print(0, 0, "Hello", 0x1f);
  print(24, 75, "right");
  assertEquals([line(0), line(24)], ["Hello", " ".repeat(75) + "right"]);
  assertEquals([vga.screen()?.attributeAt(0, 4), vga.screen()?.attributeAt(0, 5)], [0x1f, 7]);
  assertEquals(vga.memory.read(TEXT, 4), 0x1f65_1f48);
  assertEquals([vga.memory.read(TEXT + 1, 1), vga.memory.read(TEXT + 2, 1)], [0x1f, 0x65]);
});

Deno.test("characters are those of code page 437", () => {
  const { print, line } = makeVga();
  print(3, 0, String.fromCharCode(0x01, 0x82, 0xb0, 0xc9, 0xe1, 0xfe, 0x7f));
  assertEquals(line(3), "☺é░╔ß■⌂");
  print(4, 0, String.fromCharCode(...Array.from({ length: 80 }, (_, i) => i + 0xaf)));
  assertEquals([line(4)?.[0], line(4)?.[79]], ["»", "■"]);
});

Deno.test("the start address scrolls, and wraps at the end of display memory", () => {
  const { print, line, crtc } = makeVga();
  print(1, 0, "second");
  crtc(Crtc.START_LOW, 80);
  assertEquals(line(0), "second");
  crtc(Crtc.START_HIGH, 0x7f);
  crtc(Crtc.START_LOW, 0xb0);
  assertEquals(line(2), "second", "cell 7FB0h + 160 is cell 80");
});

const cursors: [name: string, registers: [number, number][], expected: { row: number; column: number } | undefined][] =
  [
    ["in the midst", [[Crtc.CURSOR_HIGH, 3], [Crtc.CURSOR_LOW, 0x2a]], { row: 10, column: 10 }],
    ["relative to the start address", [[Crtc.START_LOW, 80], [Crtc.CURSOR_LOW, 85]], { row: 0, column: 5 }],
    ["switched off", [[Crtc.CURSOR_START, 0x20]], undefined],
    ["whose start is below its end", [[Crtc.CURSOR_START, 15], [Crtc.CURSOR_END, 14]], undefined],
    ["below the screen", [[Crtc.CURSOR_HIGH, 7], [Crtc.CURSOR_LOW, 0xd0]], undefined],
  ];
for (const [name, registers, expected] of cursors) {
  Deno.test(`a cursor ${name} is ${expected === undefined ? "not shown" : "shown there"}`, () => {
    const { vga, crtc } = makeVga();
    for (const [register, value] of registers) crtc(register, value);
    assertEquals(vga.screen()?.cursor, expected);
  });
}

Deno.test("a font loaded into plane 2 does not disturb the text", () => {
  const { vga, print, line, sequencer, graphics } = makeVga();
  print(0, 0, "text stays");
  sequencer(Sequencer.MAP_MASK, 4);
  sequencer(Sequencer.MEMORY_MODE, 6);
  graphics(Graphics.READ_MAP, 2);
  graphics(Graphics.MODE, 0);
  graphics(Graphics.MISC, 4);
  for (let at = 0; at < 0x2000; at++) vga.memory.write(at, 1, at & 0xff);
  assertEquals([vga.memory.read(0x123, 1), vga.memory.read(TEXT, 1)], [0x23, 0xff]);
  sequencer(Sequencer.MAP_MASK, 3);
  sequencer(Sequencer.MEMORY_MODE, 2);
  graphics(Graphics.READ_MAP, 0);
  graphics(Graphics.MODE, 0x10);
  graphics(Graphics.MISC, 0x0e);
  assertEquals([line(0), vga.memory.read(TEXT, 1)], ["text stays", "t".charCodeAt(0)]);
});

/** Planes after one write to a cell whose planes held 11h, 22h, 44h and 88h. */
const writes: [name: string, registers: [number, number][], value: number, planes: number[]][] = [
  ["mode 0", [], 0xa5, [0xa5, 0xa5, 0xa5, 0xa5]],
  ["mode 0, rotated", [[Graphics.DATA_ROTATE, 4]], 0xa5, [0x5a, 0x5a, 0x5a, 0x5a]],
  ["mode 0 with a bit mask", [[Graphics.BIT_MASK, 0x0f]], 0xa5, [0x15, 0x25, 0x45, 0x85]],
  ["mode 0, XOR", [[Graphics.DATA_ROTATE, 0x18]], 0xff, [0xee, 0xdd, 0xbb, 0x77]],
  ["mode 0, AND", [[Graphics.DATA_ROTATE, 0x08]], 0x0f, [0x01, 0x02, 0x04, 0x08]],
  ["mode 0, OR", [[Graphics.DATA_ROTATE, 0x10]], 0x0f, [0x1f, 0x2f, 0x4f, 0x8f]],
  ["mode 0 with set/reset", [[Graphics.SET_RESET, 5], [Graphics.ENABLE_SET_RESET, 7]], 0xa5, [0xff, 0, 0xff, 0xa5]],
  ["mode 1", [[Graphics.MODE, 1]], 0xa5, [0x11, 0x22, 0x44, 0x88]],
  ["mode 2", [[Graphics.MODE, 2]], 0x06, [0, 0xff, 0xff, 0]],
  ["mode 3", [[Graphics.MODE, 3], [Graphics.SET_RESET, 1]], 0x0f, [0x1f, 0x20, 0x40, 0x80]],
];
for (const [name, registers, value, planes] of writes) {
  Deno.test(`write ${name} goes through the latches as it should`, () => {
    const { vga, sequencer, graphics } = makeVga();
    sequencer(Sequencer.MAP_MASK, 0xf);
    sequencer(Sequencer.MEMORY_MODE, 6);
    graphics(Graphics.MODE, 0);
    graphics(Graphics.MISC, 5);
    vga.memory.bytes.set([0x11, 0x22, 0x44, 0x88], 0x100 * 4);
    vga.memory.read(0x100, 1);
    for (const [register, setting] of registers) graphics(register, setting);
    vga.memory.write(0x100, 1, value);
    assertEquals([...vga.memory.bytes.slice(0x400, 0x404)], planes);
  });
}

Deno.test("chained memory gives every plane a fourth of the bytes, and read mode 1 compares colours", () => {
  const { vga, sequencer, graphics } = makeVga();
  sequencer(Sequencer.MAP_MASK, 0xf);
  sequencer(Sequencer.MEMORY_MODE, 0xe);
  graphics(Graphics.MODE, 0);
  graphics(Graphics.MISC, 5);
  vga.memory.write(0x40, 4, 0x0403_0201);
  assertEquals([vga.memory.read(0x40, 4), [...vga.memory.bytes.slice(0x100, 0x104)]], [0x0403_0201, [1, 2, 3, 4]]);
  sequencer(Sequencer.MEMORY_MODE, 6);
  graphics(Graphics.MODE, 8);
  graphics(Graphics.COLOUR_COMPARE, 5);
  graphics(Graphics.COLOUR_DONT_CARE, 0xf);
  vga.memory.bytes.set([0xf0, 0x0f, 0xf3, 0x01], 0x80 * 4);
  assertEquals(vga.memory.read(0x80, 1), 0xf0);
});

Deno.test("in a graphics mode there is no text screen", () => {
  const { vga, graphics } = makeVga();
  graphics(Graphics.MISC, 5);
  assertEquals(vga.screen(), undefined);
});

Deno.test("CRTC registers 0 to 7 are protected, but for the line compare bit", () => {
  const { vga, crtc } = makeVga();
  crtc(Crtc.HORIZONTAL_DISPLAY_END, 39);
  crtc(Crtc.OVERFLOW, 0x00);
  assertEquals([vga.screen()?.columns, vga.crtc[Crtc.OVERFLOW]], [80, 0x0f]);
  crtc(Crtc.VERTICAL_RETRACE_END, 0x0e);
  crtc(Crtc.HORIZONTAL_DISPLAY_END, 39);
  assertEquals(vga.screen()?.columns, 40);
});

Deno.test("a mode of 50 lines has characters of 8 dots", () => {
  const { vga, crtc } = makeVga();
  crtc(Crtc.MAXIMUM_SCAN_LINE, 0x47);
  assertEquals([vga.screen()?.rows, vga.screen()?.lines.length], [50, 50]);
});

Deno.test("the CRT controller answers at the monochrome ports once it was told to", () => {
  const { vga } = makeVga();
  vga.write(Port.CRTC_INDEX, 1, Crtc.OFFSET);
  assertEquals([vga.read(Port.CRTC_DATA, 1), vga.read(Port.CRTC_DATA_MONO, 1)], [0x28, 0xff]);
  vga.write(Port.MISC_WRITE, 1, 0x66);
  assertEquals([vga.read(Port.CRTC_DATA, 1), vga.read(Port.CRTC_DATA_MONO, 1)], [0xff, 0x28]);
  assertEquals(vga.read(Port.MISC_READ, 1), 0x66);
});

Deno.test("the attribute port takes index and data in turn; input status 1 starts the turn anew", () => {
  const { vga } = makeVga();
  for (const value of [0x31, 5]) vga.write(Port.ATTRIBUTE, 1, value);
  vga.write(Port.ATTRIBUTE, 1, 0x32);
  vga.read(Port.STATUS_1, 1);
  for (const value of [0x33, 9]) vga.write(Port.ATTRIBUTE, 1, value);
  assertEquals([vga.attribute[0x11], vga.attribute[0x12], vga.attribute[0x13]], [5, 0x0f, 9]);
  assertEquals([vga.read(Port.ATTRIBUTE, 1), vga.read(Port.ATTRIBUTE_READ, 1)], [0x33, 9]);
});

Deno.test("colours are written and read three components at a time", () => {
  const { vga } = makeVga();
  vga.write(Port.PEL_WRITE_INDEX, 1, 255);
  for (const value of [1, 2, 0xff, 4]) vga.write(Port.PEL_DATA, 1, value);
  vga.write(Port.PEL_READ_INDEX, 1, 255);
  assertEquals([1, 2, 3, 4].map(() => vga.read(Port.PEL_DATA, 1)), [1, 2, 0x3f, 4]);
  assertEquals([...vga.dac.slice(20 * 3, 20 * 3 + 3)], [42, 21, 0], "colour 20 of the palette is brown");
});

Deno.test("retrace comes 70 times a second of guest time", () => {
  const { vga, vm } = makeVga();
  let retraces = 0, before = 0;
  for (let i = 0; i < 100_000; i++) {
    pass(vm, 10_000);
    const now = vga.read(Port.STATUS_1, 1) & 8;
    if (now > before) retraces++;
    before = now;
  }
  assertEquals(retraces, 70);
});

Deno.test("a saved adapter is the same in another one, to the last latch", () => {
  const { vga, print, crtc } = makeVga();
  print(2, 2, "state");
  crtc(Crtc.CURSOR_LOW, 99);
  vga.memory.read(TEXT + 324, 1);
  vga.write(Port.ATTRIBUTE, 1, 0x13);
  vga.write(Port.PEL_READ_INDEX, 1, 7);
  const other = makeVga().vga;
  other.restore(vga.save());
  assertEquals([hashOf(other), other.screen()?.lines], [hashOf(vga), vga.screen()?.lines]);
  assertEquals([other.read(Port.PEL_READ_INDEX, 1), other.read(Port.PEL_DATA, 1)], [3, vga.dac[21]]);
});

Deno.test("no access makes the adapter throw, and the screen can always be read", () => {
  const access = fc.tuple(fc.nat(0x1_ffff), fc.constantFrom(1, 2, 4), fc.nat(), fc.boolean(), fc.boolean());
  fc.assert(
    fc.property(fc.array(access, { maxLength: 80 }), (accesses) => {
      const { vga } = makeVga();
      for (const [at, size, value, isMemory, isWrite] of accesses) {
        const device = isMemory ? vga.memory : vga, place = isMemory ? at : 0x3b4 + at % 0x28;
        if (isWrite) device.write(place, size as 1 | 2 | 4, value);
        else device.read(place, size as 1 | 2 | 4);
        vga.screen();
      }
    }),
    { numRuns: 200 },
  );
});
