// 32-bit paging: rights at both levels, error codes, CR2, A and D bits, large and global pages, INVLPG (Intel SDM volume 3A,
// sections 4.3 and 4.6 to 4.10).

import { type Assembler, cr0, cr3, cr4, eax, ebx, ecx, esi, mem, mem32, mem8 } from "../../../guests/assembler/mod.ts";
import { enablePaging, registers, type TortureCase, word } from "./harness.ts";
import { AT, CR0, CR4, PAGE, PAGE_BYTES, PAGE_FLAGS, STATUS, VECTOR } from "./layout.ts";

const PDE = AT.PAGE_DIRECTORY + 4;
const PTE = AT.WINDOW_TABLE;
const RET = 0xc3;
const WORD = 0x1234_5678;
/** Offset in a page that data accesses of cases use. */
const AT_DATA = 0x20;

const entries = [word("pde", PDE, PAGE_FLAGS), word("pte", PTE, PAGE_FLAGS)];

export function pagingCases(): TortureCase[] {
  return [...rights(), ...largeRights(), ...largeReserved(), ...globals(), ...invalidations(), ...controlBits()];
}

/** An access of the window's first page: `call` runs a RET that lies there. */
const accesses = {
  read: (asm: Assembler) => asm.mov(eax, mem(AT.WINDOW + AT_DATA)),
  write: (asm: Assembler) => asm.mov(mem32(AT.WINDOW + AT_DATA), WORD),
  execute: (asm: Assembler) => asm.call(AT.WINDOW),
} as const;

const combinations = [
  ["-", 0],
  ["rs", PAGE.P],
  ["ws", PAGE.P | PAGE.RW],
  ["ru", PAGE.P | PAGE.US],
  ["wu", PAGE.P | PAGE.RW | PAGE.US],
] as const;

/** Every pair of rights, at both levels, by ring 0 and ring 3, read, write and execute, with and without CR0.WP. */
function rights(): TortureCase[] {
  return combinations.flatMap(([pdeName, pde]) =>
    combinations.flatMap(([pteName, pte]) =>
      ([0, 3] as const).flatMap((level) =>
        ([0, CR0.WP] as const).flatMap((wp) =>
          Object.entries(accesses).map(([access, body]) => ({
            name: `page pde=${pdeName} pte=${pteName} cpl${level} wp${wp === 0 ? 0 : 1} ${access}`,
            level,
            setup(asm: Assembler) {
              asm.call("buildTables").mov(mem8(AT.FRAMES), RET);
              asm.mov(mem32(PDE), AT.WINDOW_TABLE | pde).mov(mem32(PTE), AT.FRAMES | pte);
              enablePaging(asm, { cr0: wp });
            },
            body,
            show: [...entries, word("m", AT.FRAMES + AT_DATA)],
          }))
        )
      )
    )
  );
}

/** The same for one 4 MiB page, and PS without CR4.PSE, where it means nothing. */
function largeRights(): TortureCase[] {
  const cases: TortureCase[] = [];
  for (const [name, flags] of combinations) {
    for (const level of [0, 3] as const) {
      for (const wp of [0, CR0.WP]) {
        for (const [access, body] of Object.entries(accesses)) {
          cases.push({
            name: `large page ${name} cpl${level} wp${wp === 0 ? 0 : 1} ${access}`,
            level,
            setup(asm) {
              // The large page maps the first 4 MiB: the window's first word is that of the image of low memory.
              asm.call("buildTables").mov(mem8(0), RET).mov(mem32(AT_DATA), 0).mov(mem32(PDE), flags | PAGE.PS);
              enablePaging(asm, { cr0: wp, cr4: CR4.PSE });
            },
            body,
            show: [word("pde", PDE, PAGE_FLAGS), word("m", AT_DATA)],
          });
        }
      }
    }
  }
  cases.push({
    name: "PS without CR4.PSE points to a table",
    setup(asm) {
      asm.call("buildTables").mov(mem32(PDE), AT.WINDOW_TABLE | PAGE.P | PAGE.RW | PAGE.PS);
      asm.mov(mem32(PTE), AT.FRAMES | PAGE.P | PAGE.RW);
      enablePaging(asm);
    },
    body: accesses.write,
    show: [...entries, word("m", AT.FRAMES + AT_DATA)],
  });
  return cases;
}

/** Bits 12 to 21 of a large page's entry: without PSE-36 and PAT all are reserved. */
function largeReserved(): TortureCase[] {
  return [13, 15, 17, 18, 20, 21].flatMap((bit) =>
    ([["read", 0], ["write", 3]] as const).map(([access, level]) => ({
      name: `large page reserved bit ${bit} cpl${level} ${access}`,
      level,
      setup(asm: Assembler) {
        asm.call("buildTables").mov(mem32(PDE), 2 ** bit | PAGE.P | PAGE.RW | PAGE.US | PAGE.PS);
        enablePaging(asm, { cr4: CR4.PSE });
      },
      body: accesses[access],
      show: [word("pde", PDE, PAGE_FLAGS)],
    }))
  );
}

/** Maps the window's first page to a first frame that holds 1 and a second that holds 2; `before` remaps without INVLPG. */
function remapping(
  name: string,
  { flags, cr4: cr4Bits, between }: { flags: number; cr4: number; between: (asm: Assembler) => unknown },
): TortureCase {
  return {
    name,
    setup(asm) {
      asm.call("buildTables").mov(mem32(AT.FRAMES), 1).mov(mem32(AT.FRAMES + PAGE_BYTES), 2);
      asm.mov(mem32(PTE), AT.FRAMES | PAGE.P | PAGE.RW | flags);
      enablePaging(asm, { cr4: cr4Bits });
      asm.mov(eax, mem(AT.WINDOW)).mov(mem32(PTE), (AT.FRAMES + PAGE_BYTES) | PAGE.P | PAGE.RW | flags);
      between(asm);
    },
    body: (asm) => asm.mov(ecx, mem(AT.WINDOW)),
    show: [...registers("ecx"), ...entries],
  };
}

function globals(): TortureCase[] {
  const reload = (asm: Assembler) => asm.mov(eax, cr3).mov(cr3, eax);
  const toggle = (asm: Assembler, bits: number) =>
    asm.mov(eax, cr4).mov(ebx, eax).xor(ebx, bits).mov(cr4, ebx).mov(cr4, eax);
  const invlpg = (asm: Assembler) => asm.invlpg(mem(AT.WINDOW + AT_DATA));
  const pagingOff = (asm: Assembler) => asm.mov(eax, cr0).mov(ebx, eax).and(ebx, ~CR0.PG).mov(cr0, ebx).mov(cr0, eax);
  return [
    remapping("a CR3 reload drops a page", { flags: 0, cr4: CR4.PGE, between: reload }),
    remapping("a CR3 reload drops a page marked global without CR4.PGE", { flags: PAGE.G, cr4: 0, between: reload }),
    remapping("a CR3 reload keeps a global page", { flags: PAGE.G, cr4: CR4.PGE, between: reload }),
    remapping("INVLPG drops a page", { flags: 0, cr4: 0, between: invlpg }),
    remapping("INVLPG drops a global page", { flags: PAGE.G, cr4: CR4.PGE, between: invlpg }),
    remapping("a toggle of CR4.PGE drops a global page", {
      flags: PAGE.G,
      cr4: CR4.PGE,
      between: (asm) => toggle(asm, CR4.PGE),
    }),
    remapping("a toggle of CR4.PSE drops a global page", {
      flags: PAGE.G,
      cr4: CR4.PGE,
      between: (asm) => toggle(asm, CR4.PSE),
    }),
    remapping("paging off and on drops a global page", { flags: PAGE.G, cr4: CR4.PGE, between: pagingOff }),
  ];
}

/** INVLPG of a large page by any address in it, and INVLPG's own privilege. */
function invalidations(): TortureCase[] {
  const largePage = (frame: number) => frame | PAGE.P | PAGE.RW | PAGE.PS;
  const large = [0, AT_DATA, 0x3f_f000].map((offset): TortureCase => ({
    name: `INVLPG at ${offset.toString(16)} of a large page drops it`,
    setup(asm) {
      asm.call("buildTables").mov(mem32(AT_DATA), 1).mov(mem32(0x80_0000 + AT_DATA), 2).mov(mem32(PDE), largePage(0));
      asm.mov(mem32(0xbf_f000), 2);
      enablePaging(asm, { cr4: CR4.PSE });
      asm.mov(eax, mem(AT.WINDOW + AT_DATA)).mov(eax, mem(AT.WINDOW + 0x3f_f000));
      asm.mov(mem32(PDE), largePage(0x80_0000)).invlpg(mem(AT.WINDOW + offset));
    },
    // Both addresses of the large page must read the new frames.
    body: (asm) => asm.mov(ecx, mem(AT.WINDOW + (offset === 0x3f_f000 ? 0x3f_f000 : AT_DATA))),
    show: [...registers("ecx"), word("pde", PDE, PAGE_FLAGS)],
  }));
  return [
    ...large,
    { name: "INVLPG of an absent page does not fault", body: (asm) => asm.invlpg(mem(0xf000_0000)) },
    { name: "INVLPG at CPL 3", level: 3, body: (asm) => asm.invlpg(mem(AT.WINDOW)) },
    { name: "INVLPG of a register", body: (asm) => asm.bytes([0x0f, 0x01, 0xf8]) },
  ];
}

/** Paging controls: what MOV to CR0 and CR4 refuses or keeps is in control.ts; here their effect on pages already seen. */
function controlBits(): TortureCase[] {
  return [
    {
      name: "setting CR0.WP takes effect on a page written before",
      setup(asm) {
        asm.call("buildTables").mov(mem32(PTE), AT.FRAMES | PAGE.P);
        enablePaging(asm, { cr0: 0 });
        asm.mov(mem32(AT.WINDOW), 1).mov(eax, cr0).or(eax, CR0.WP).mov(cr0, eax);
      },
      body: accesses.write,
      show: [...entries, word("m", AT.FRAMES + AT_DATA)],
    },
    {
      name: "a page read first is marked dirty by its first write",
      setup(asm) {
        asm.call("buildTables").mov(mem32(PTE), AT.FRAMES | PAGE.P | PAGE.RW);
        enablePaging(asm);
        asm.mov(eax, mem(AT.WINDOW));
      },
      body: accesses.write,
      show: entries,
    },
    {
      name: "flags survive a page fault of a read-modify-write",
      flags: STATUS,
      setup(asm) {
        asm.call("buildTables").mov(mem32(PTE), AT.FRAMES | PAGE.P);
        enablePaging(asm);
      },
      body: (asm) => asm.add(mem32(AT.WINDOW + AT_DATA), 1),
      show: [word("m", AT.FRAMES + AT_DATA)],
    },
    {
      name: "the handler maps the page and the read completes",
      continues: [VECTOR.PF],
      setup(asm) {
        asm.call("buildTables").mov(mem32(AT.FRAMES + AT_DATA), WORD);
        enablePaging(asm);
      },
      hook: (asm) => asm.mov(mem32(PTE), AT.FRAMES | PAGE.P | PAGE.RW),
      body: (asm) => asm.mov(esi, mem(AT.WINDOW + AT_DATA)),
      show: [...registers("esi"), ...entries],
    },
  ];
}
