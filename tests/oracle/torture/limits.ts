// Segment limits and types at each access: up and down, bytes and pages, stacks, instruction fetches and branches, 16-bit
// addresses (Intel SDM volume 3A, sections 5.3 and 5.4). QEMU does not check these, Bochs does.

import {
  addr,
  type Assembler,
  ax,
  bh,
  bl,
  bp,
  bx,
  cs,
  ds,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  es,
  esi,
  esp,
  far,
  fs,
  gs,
  mem,
  mem16,
  mem32,
  mem8,
  si,
  ss,
} from "../../../guests/assembler/mod.ts";
import { defineDescriptor, registers, type TortureCase, word } from "./harness.ts";
import { access, AT, FLAG, segment, type SegmentDescriptor, SELECTOR, STATUS, TYPE } from "./layout.ts";

import { flat, load, segmentTypes } from "./segments.ts";

const FREE = SELECTOR.FREE;

export function limitCases(): TortureCase[] {
  return [...limits(), ...types(), ...stackLimits(), ...codeLimits(), ...sixteenBit()];
}

const ACCESS_SIZES = [1, 2, 4] as const;

function read(asm: Assembler, size: 1 | 2 | 4, offset: number): void {
  if (size === 1) asm.mov(bl, mem8(offset, { segment: fs }));
  else if (size === 2) asm.mov(bx, mem16(offset, { segment: fs }));
  else asm.mov(ebx, mem32(offset, { segment: fs }));
}

/** Accesses around the limit of segments of all kinds of limit. */
function limits(): TortureCase[] {
  const kinds: readonly [name: string, SegmentDescriptor, offsets: readonly number[]][] = [
    ["up bytes", { limit: 0x10, access: access(TYPE.DATA_RW, 3) }, [0, 0xd, 0xe, 0xf, 0x10, 0x11, 0xffff_ffff]],
    ["up pages", { limit: 0, pages: true, access: access(TYPE.DATA_RW, 3) }, [0xffc, 0xffd, 0xffe, 0xfff, 0x1000]],
    ["up bytes, 16-bit", { limit: 0x10, big: false, access: access(TYPE.DATA_RW, 3) }, [0xd, 0xf, 0x10, 0x11]],
    ["down bytes", { limit: 0x10, access: access(TYPE.DATA_RW_DOWN, 3) }, [
      0,
      0xe,
      0xf,
      0x10,
      0x11,
      0x1_0000,
      0xffff_fffc,
      0xffff_fffe,
      0xffff_ffff,
    ]],
    ["down bytes, 16-bit", { limit: 0x10, big: false, access: access(TYPE.DATA_RW_DOWN, 3) }, [
      0xf,
      0x10,
      0x11,
      0xfffc,
      0xfffd,
      0xffff,
      0x1_0000,
    ]],
    ["down pages", { limit: 0, pages: true, access: access(TYPE.DATA_RW_DOWN, 3) }, [0xffe, 0xfff, 0x1000]],
    ["full", { access: access(TYPE.DATA_RW, 3) }, [0xffff_fffc, 0xffff_fffd, 0xffff_ffff]],
  ];
  return kinds.flatMap(([name, descriptor, offsets]) =>
    offsets.flatMap((offset) =>
      ACCESS_SIZES.map((size): TortureCase => ({
        name: `limit ${name} offset ${offset.toString(16)} size ${size}`,
        level: 3,
        setup(asm) {
          defineDescriptor(
            asm,
            FREE,
            segment({ base: name === "full" ? AT.FRAMES + 0x100 : AT.FRAMES, ...descriptor }),
          );
        },
        before: (asm) => asm.mov(eax, FREE | 3).mov(fs, ax),
        body: (asm) => read(asm, size, offset),
        show: registers("ebx"),
      }))
    )
  );
}

/** What each type of segment lets a program read and write. */
function types(): TortureCase[] {
  const cases: TortureCase[] = [];
  for (const [name, type] of Object.entries(segmentTypes)) {
    if (type === TYPE.CODE_XO || type === TYPE.CODE_XO_CONFORMING) continue;
    for (
      const [what, body] of Object.entries({
        read: (asm: Assembler) => asm.mov(ecx, mem(AT.FRAMES, { segment: fs })),
        write: (asm: Assembler) => asm.mov(mem32(AT.FRAMES, { segment: fs }), 5),
        add: (asm: Assembler) => asm.add(mem32(AT.FRAMES, { segment: fs }), 5),
        "bit test and set": (asm: Assembler) => asm.bts(mem32(AT.FRAMES, { segment: fs }), 1),
      })
    ) {
      cases.push({
        name: `${what} of ${name}`,
        flags: STATUS,
        setup: (asm) => defineDescriptor(asm, FREE, flat(type, 3)),
        before: load(fs, FREE),
        body,
        show: [...registers("ecx"), word("m", AT.FRAMES)],
      });
    }
  }
  // Code may be read through CS only where its descriptor says so, and never written.
  for (const [name, type] of [["xo", TYPE.CODE_XO], ["xr", TYPE.CODE_XR]] as const) {
    for (
      const [what, access_] of Object.entries({
        read: (asm: Assembler) => asm.mov(ecx, mem(AT.FRAMES, { segment: cs })),
        write: (asm: Assembler) => asm.mov(mem32(AT.FRAMES, { segment: cs }), 5),
      })
    ) {
      cases.push({
        name: `${what} through cs, ${name}`,
        setup: (asm) => defineDescriptor(asm, FREE, flat(type, 0)),
        before: (asm) => asm.jmpFar(far(FREE, addr(`cs.${name}.${what}`))).label(`cs.${name}.${what}`),
        body: access_,
        show: [...registers("ecx"), word("m", AT.FRAMES)],
      });
    }
  }
  return cases;
}

/** Pushes and pops at the end of a stack segment of ring 3: #SS(0), nothing moved. */
function stackLimits(): TortureCase[] {
  const up = segment({ base: AT.FRAMES, limit: 0xff, access: access(TYPE.DATA_RW, 3) });
  const down = segment({ base: AT.FRAMES, limit: 0xff, access: access(TYPE.DATA_RW_DOWN, 3) });
  const small = segment({ base: AT.FRAMES, limit: 0xffff, big: false, access: access(TYPE.DATA_RW, 3) });
  const smallDown = segment({ base: AT.FRAMES, limit: 0xff, big: false, access: access(TYPE.DATA_RW_DOWN, 3) });
  const bodies: readonly [name: string, words: [number, number], top: number, body: (asm: Assembler) => unknown][] = [
    ["push below 0", up, 2, (asm) => asm.push(eax)],
    ["push at 0", up, 0, (asm) => asm.push(eax)],
    ["push to 0", up, 4, (asm) => asm.push(eax)],
    ["push from above the limit", up, 0x104, (asm) => asm.push(eax)],
    ["pop at the limit", up, 0xfc, (asm) => asm.pop(ebx)],
    ["pop across the limit", up, 0xfe, (asm) => asm.pop(ebx)],
    ["pop above the limit", up, 0x100, (asm) => asm.pop(ebx)],
    ["pushad", up, 0x1c, (asm) => asm.pushad()],
    ["popad", up, 0xe8, (asm) => asm.popad()],
    ["call", up, 2, (asm) => asm.call(eax)],
    ["enter", up, 8, (asm) => asm.enter(16, 2)],
    ["enter past the segment", up, 0x20, (asm) => asm.enter(0x40, 0)],
    ["leave", up, 0x20, (asm) => asm.mov(ebp, 0xfe).leave()],
    ["ret", up, 0xfd, (asm) => asm.ret()],
    ["read through ebp", up, 0x20, (asm) => asm.mov(ebp, 0xfe).mov(eax, mem(ebp))],
    ["read through ebp plus more", up, 0x20, (asm) => asm.mov(ebp, 0xf0).mov(eax, mem(ebp, { disp: 0x10 }))],
    ["read through esp", up, 0xfe, (asm) => asm.mov(eax, mem(esp))],
    ["write with an ss override", up, 0x20, (asm) => asm.mov(mem32(0x100, { segment: ss }), 1)],
    ["expand-down push to its limit", down, 0x104, (asm) => asm.push(eax)],
    ["expand-down push below its limit", down, 0x102, (asm) => asm.push(eax)],
    ["16-bit push at 0 wraps", small, 0, (asm) => asm.push(eax)],
    ["16-bit push at 2", small, 2, (asm) => asm.push(eax)],
    ["16-bit push at 1", small, 1, (asm) => asm.push(eax)],
    ["16-bit push with the upper half of ESP set", small, 0x1234_0100, (asm) => asm.push(eax)],
    ["16-bit pop at fffe", small, 0xfffe, (asm) => asm.pop(ebx)],
    ["16-bit pop at fffc", small, 0xfffc, (asm) => asm.pop(ebx)],
    ["16-bit pushad at 10", small, 0x10, (asm) => asm.pushad()],
    ["16-bit enter", small, 0x1234_0100, (asm) => asm.enter(8, 1)],
    ["16-bit leave", small, 0x1234_0100, (asm) => asm.mov(ebp, 0x5678_0040).leave()],
    ["16-bit call", small, 0x1234_0100, (asm) => asm.call(addr("stack.called")).label("stack.called")],
    ["16-bit push esp", small, 0x1234_0100, (asm) => asm.push(esp).pop(ecx)],
    ["16-bit pop to memory by sp", small, 0x1234_0100, (asm) => asm.push(3).pop(mem32(esp, { disp: -0x1234_0000 }))],
    ["16-bit expand-down push", smallDown, 0x102, (asm) => asm.push(eax)],
    ["16-bit expand-down push to the limit", smallDown, 0x104, (asm) => asm.push(eax)],
  ];
  return bodies.map(([name, words, top, body]) => ({
    name: `stack ${name}`,
    level: 3 as const,
    flags: FLAG.CF,
    setup: (asm: Assembler) => defineDescriptor(asm, FREE, words),
    before: (asm: Assembler) => asm.mov(eax, FREE | 3).mov(ss, ax).mov(esp, top),
    body,
    show: [
      ...registers("ebx", "ecx", "ebp"),
      word("m0", AT.FRAMES),
      word("mf8", AT.FRAMES + 0xf8),
      word("m100", AT.FRAMES + 0x100),
    ],
  }));
}

/** Instruction fetches around the limit of a code segment, and branches beyond it. */
function codeLimits(): TortureCase[] {
  const NOPS = 0x9090_9090;
  const inSegment = (
    name: string,
    limit: number,
    start: number,
    bytes: readonly number[],
    big = true,
  ): TortureCase => ({
    name: `code ${name}`,
    level: 3,
    origin: 0,
    setup(asm) {
      defineDescriptor(asm, FREE, segment({ base: AT.FRAMES, limit, big, access: access(TYPE.CODE_XR, 3) }));
      for (let at = 0; at < 0x40; at += 4) asm.mov(mem32(AT.FRAMES + at), NOPS);
      bytes.forEach((value, i) => asm.mov(mem8(AT.FRAMES + start + i), value));
    },
    before: (asm) => asm.mov(eax, 0x100),
    body: (asm) => asm.jmpFar(far(FREE | 3, start)),
    show: registers("eax", "esp"),
  });
  return [
    inSegment("runs off its limit", 0xf, 8, []),
    inSegment("ends on its limit", 0xf, 0xe, [0xcd, 0x40]),
    inSegment("instruction across its limit", 0xf, 0xd, [0xb8, 1, 2, 3, 4]),
    inSegment("entered at its limit", 0xf, 0xf, []),
    inSegment("entered beyond its limit", 0xf, 0x10, []),
    inSegment("jump short beyond", 0xf, 8, [0xeb, 0x10]),
    inSegment("jump near register beyond", 0xf, 8, [0xff, 0xe0]),
    inSegment("call near beyond", 0xf, 8, [0xe8, 0x10, 0, 0, 0]),
    inSegment("conditional jump beyond, taken", 0xf, 8, [0x75, 0x10]),
    inSegment("conditional jump beyond, not taken", 0xf, 8, [0x74, 0x10, 0xcd, 0x40]),
    inSegment("loop beyond", 0xf, 8, [0xe2, 0x10]),
    inSegment("ret beyond", 0xf, 8, [0x50, 0xc3]),
    inSegment("16-bit jump wraps IP", 0xffff, 8, [0xeb, 0x80], false),
    inSegment("16-bit jump of 32-bit displacement", 0x2f, 8, [0x66, 0xe9, 0x10, 0, 0, 0, 0x90], false),
    inSegment("16-bit relative jump in a 32-bit segment", 0x2f, 8, [0x66, 0xe9, 0x10, 0], true),
    inSegment("16-bit call pushes 16 bits", 0x2f, 8, [0xe8, 0x01, 0, 0x90, 0xcd, 0x40], false),
    inSegment("16-bit code defaults", 0x2f, 8, [0xb8, 0x34, 0x12, 0x66, 0x05, 1, 0, 1, 0, 0xcd, 0x40], false),
    inSegment("16-bit push and pop of 32 bits", 0x2f, 8, [0x66, 0x6a, 0xff, 0x66, 0x58, 0x6a, 0x05, 0xcd, 0x40], false),
    inSegment("backward to a negative offset", 0xf, 8, [0xeb, 0xe0]),
    inSegment("of 16 bits past 64K", 0xf_ffff, 8, [0x66, 0x68, 0, 0, 1, 0, 0x66, 0xc3], false),
  ];
}

/** 16-bit addresses in protected mode: they wrap at 64 KiB, and the access is checked as a whole. */
function sixteenBit(): TortureCase[] {
  const bodies: readonly [string, (asm: Assembler) => unknown][] = [
    ["[bx+si] wraps", (asm) => asm.mov(ecx, mem(bx, { index: si, segment: gs }))],
    ["[bp+si] is of ss", (asm) => asm.mov(ecx, mem(bp, { index: si }))],
    ["across ffff", (asm) => asm.mov(ebx, 0xfffe).mov(ecx, mem(bx, { segment: gs }))],
    ["word at ffff", (asm) => asm.mov(ebx, 0xffff).mov(bx, mem16(bx, { segment: gs }))],
    ["byte at ffff", (asm) => asm.mov(ebx, 0xffff).mov(bh, mem8(bx, { segment: gs }))],
    ["lea wraps", (asm) => asm.mov(ebx, 0x1_ffff).lea(ecx, mem(bx, { index: si, disp: 1 }))],
    ["a16 movsb uses si and di", (asm) => asm.mov(esi, 0x1234_0000).mov(edi, 0x5678_0010).a16().movsb()],
    ["a16 rep stosb counts cx", (asm) => asm.mov(ecx, 0xffff_0002).mov(edi, 0xffff_0100).a16().rep().stosb()],
    ["a16 rep stosb wraps di", (asm) => asm.mov(ecx, 4).mov(edi, 0xfffe).a16().rep().stosb()],
    ["a16 loop counts cx", (asm) => asm.mov(ecx, 0xffff_0001).a16().loop("sixteen.loop").label("sixteen.loop")],
    ["a16 xlat", (asm) => asm.mov(ebx, 0xffff_fff0).mov(eax, 0xff).a16().xlatb()],
  ];
  return bodies.map(([name, body]): TortureCase => ({
    name: `16-bit address ${name}`,
    setup(asm) {
      defineDescriptor(
        asm,
        FREE,
        segment({ base: AT.FRAMES, limit: 0xffff, big: false, access: access(TYPE.DATA_RW) }),
      );
      asm.mov(mem32(AT.FRAMES + 0x10), 0x1020_3040).mov(mem32(AT.FRAMES + 0xfffc), 0x5060_7080);
    },
    before(asm) {
      asm.mov(eax, FREE).mov(gs, ax).mov(es, ax).mov(ds, ax);
      asm.mov(ebx, 0xfff8).mov(esi, 0x18).mov(ebp, 0xfff0);
    },
    body,
    show: [...registers("eax", "ebx", "ecx", "esi", "edi"), word("m0", AT.FRAMES), word("m100", AT.FRAMES + 0x100)],
  }));
}
