// Paging with physical address extension: pointers, 4 KiB and 2 MiB pages, rights, reserved bits (Intel SDM volume 3A,
// section 4.4).

import { type Assembler, cr0, cr3, eax, ebx, ecx, mem, mem32, mem8 } from "../../../guests/assembler/mod.ts";
import { enablePaging, registers, type TortureCase, word } from "./harness.ts";
import { AT, CR0, CR4, PAGE, PAGE_BYTES, PAGE_FLAGS } from "./layout.ts";

const PDE = AT.PAE_DIRECTORY + 16, PTE = AT.PAE_WINDOW_TABLE;
const AT_DATA = 0x20, WORD = 0x1234_5678, RET = 0xc3;
const OPEN = PAGE.P | PAGE.RW | PAGE.US;
const HALF_GIB_WINDOW = 0x4000_0000;
const entries = [word("pde", PDE, PAGE_FLAGS), word("pte", PTE, PAGE_FLAGS)];

const accesses = {
  read: (asm: Assembler) => asm.mov(eax, mem(AT.WINDOW + AT_DATA)),
  write: (asm: Assembler) => asm.mov(mem32(AT.WINDOW + AT_DATA), WORD),
  execute: (asm: Assembler) => asm.call(AT.WINDOW),
} as const;

/** Turns PAE paging on; clobbers eax. */
function enable(asm: Assembler, options: { readonly cr0?: number; readonly cr4?: number } = {}): void {
  enablePaging(asm, { cr0: options.cr0, cr4: CR4.PAE | (options.cr4 ?? 0), directory: AT.PAE_POINTERS });
}

export function paeCases(): TortureCase[] {
  return [...rights(), ...largePages(), ...reserved(), ...pointers()];
}

const levels = [["-", 0], ["rs", PAGE.P], ["ru", PAGE.P | PAGE.US], ["wu", OPEN]] as const;

function rights(): TortureCase[] {
  return levels.flatMap(([pdeName, pde]) =>
    levels.flatMap(([pteName, pte]) =>
      ([0, 3] as const).flatMap((level) =>
        Object.entries(accesses).map(([access, body]): TortureCase => ({
          name: `pae pde=${pdeName} pte=${pteName} cpl${level} ${access}`,
          level,
          setup(asm) {
            asm.call("buildPaeTables").mov(mem8(AT.FRAMES), RET);
            asm.mov(mem32(PDE), AT.PAE_WINDOW_TABLE | pde).mov(mem32(PTE), AT.FRAMES | pte);
            enable(asm);
          },
          body,
          show: [...entries, word("m", AT.FRAMES + AT_DATA)],
        }))
      )
    )
  );
}

/** A 2 MiB page over the frames at 2 MiB; CR4.PSE does not matter. */
function largePages(): TortureCase[] {
  return levels.flatMap(([name, flags]) =>
    ([0, 3] as const).flatMap((level) =>
      ([0, CR0.WP] as const).flatMap((wp) =>
        Object.entries(accesses).map(([access, body]): TortureCase => ({
          name: `pae large page ${name} cpl${level} wp${wp === 0 ? 0 : 1} ${access}`,
          level,
          setup(asm) {
            asm.call("buildPaeTables").mov(mem8(AT.FRAMES), RET).mov(mem32(PDE), AT.FRAMES | flags | PAGE.PS);
            enable(asm, { cr0: wp });
          },
          body,
          show: [word("pde", PDE, PAGE_FLAGS), word("m", AT.FRAMES + AT_DATA)],
        }))
      )
    )
  );
}

/** Bits beyond the physical address, and those of a large page below its frame. Bit 63 is reserved without NX. */
function reserved(): TortureCase[] {
  const cases: TortureCase[] = [];
  for (const level of [0, 3] as const) {
    for (const [access, body] of [["read", accesses.read], ["write", accesses.write]] as const) {
      for (const bit of [51, 52, 62, 63]) {
        const high = 2 ** (bit - 32);
        for (const [what, at] of [["pde", PDE], ["pte", PTE]] as const) {
          cases.push({
            name: `pae reserved bit ${bit} of a ${what} cpl${level} ${access}`,
            level,
            setup(asm) {
              asm.call("buildPaeTables").mov(mem32(PTE), AT.FRAMES | OPEN).mov(mem32(at + 4), high);
              enable(asm);
            },
            body,
            show: entries,
          });
        }
      }
      for (const bit of [13, 16, 20]) {
        cases.push({
          name: `pae reserved bit ${bit} of a large page cpl${level} ${access}`,
          level,
          setup(asm) {
            asm.call("buildPaeTables").mov(mem32(PDE), AT.FRAMES | OPEN | PAGE.PS | 2 ** bit);
            enable(asm);
          },
          body,
          show: [word("pde", PDE, PAGE_FLAGS)],
        });
      }
    }
  }
  cases.push({
    name: "pae reserved bits of an absent entry do not count",
    setup(asm) {
      asm.call("buildPaeTables").mov(mem32(PTE), 0xffff_f000 & ~PAGE.P).mov(mem32(PTE + 4), -1);
      enable(asm);
    },
    body: accesses.read,
  });
  return cases;
}

/** The four page-directory pointers: absent, with reserved bits, loaded when CR3 is. */
function pointers(): TortureCase[] {
  const reload = (asm: Assembler) => asm.mov(eax, cr3).mov(cr3, eax);
  const second = AT.PAE_POINTERS + 8;
  const cases: TortureCase[] = [0x2, 0x4, 0x20, 0x40, 0x80, 0x100, 0x1e6].map((bits) => ({
    name: `pae pointer with bits ${bits.toString(16)}`,
    setup(asm: Assembler) {
      asm.call("buildPaeTables");
      enable(asm);
      asm.mov(mem32(second), AT.PAE_DIRECTORY | PAGE.P | bits);
    },
    body: reload,
    show: registers("eax"),
  }));
  cases.push({
    name: "pae absent pointer with reserved bits",
    setup(asm) {
      asm.call("buildPaeTables");
      enable(asm);
      asm.mov(mem32(second), AT.PAE_DIRECTORY | 0x1e6);
    },
    body: reload,
  }, {
    name: "pae pointer beyond the physical address",
    setup(asm) {
      asm.call("buildPaeTables");
      enable(asm);
      asm.mov(mem32(second), AT.PAE_DIRECTORY | PAGE.P).mov(mem32(second + 4), 0x10_0000);
    },
    body: reload,
  }, {
    name: "pae enabling paging with a bad pointer",
    setup: (asm) => asm.call("buildPaeTables").mov(mem32(second), AT.PAE_DIRECTORY | PAGE.P | 0x1e6),
    body: (asm) => enable(asm),
    show: registers("eax"),
  }, {
    name: "pae absent pointer",
    setup(asm) {
      asm.call("buildPaeTables");
      enable(asm);
    },
    body: (asm) => asm.mov(eax, mem(HALF_GIB_WINDOW)),
  }, {
    name: "pae absent pointer, written at CPL 3",
    level: 3,
    setup(asm) {
      asm.call("buildPaeTables");
      enable(asm);
    },
    body: (asm) => asm.mov(mem32(HALF_GIB_WINDOW), 1),
  }, {
    name: "pae a pointer changed in memory counts after a reload of CR3",
    setup(asm) {
      asm.call("buildPaeTables");
      enable(asm);
      asm.mov(mem32(second), AT.PAE_DIRECTORY | PAGE.P).mov(eax, cr3).mov(cr3, eax);
    },
    body: (asm) => asm.mov(ecx, mem(HALF_GIB_WINDOW + AT.FRAMES)),
    show: registers("ecx"),
  }, {
    name: "pae a pointer changed in memory does not count before",
    setup(asm) {
      asm.call("buildPaeTables");
      asm.mov(mem32(second), AT.PAE_DIRECTORY | PAGE.P);
      enable(asm);
      asm.mov(mem32(second), 0);
    },
    body: (asm) => asm.mov(ecx, mem(HALF_GIB_WINDOW + AT.FRAMES)),
    show: registers("ecx"),
  }, {
    name: "pae table aligned to 32 bytes",
    setup(asm) {
      asm.call("buildPaeTables").mov(eax, mem(AT.PAE_POINTERS)).mov(mem32(AT.FRAMES + 0x20), eax);
      asm.mov(mem32(AT.FRAMES + 0x28), 0).mov(mem32(AT.FRAMES + 0x30), 0).mov(mem32(AT.FRAMES + 0x38), 0);
      enablePaging(asm, { cr4: CR4.PAE, directory: AT.FRAMES + 0x20 + 0x18 });
    },
    body: (asm) => asm.mov(ecx, cr3),
    show: registers("ecx"),
  }, {
    name: "pae INVLPG of a large page",
    setup(asm) {
      asm.call("buildPaeTables").mov(mem32(PDE), AT.FRAMES | OPEN | PAGE.PS);
      asm.mov(mem32(AT.FRAMES + PAGE_BYTES), 1).mov(mem32(0x40_0000 + PAGE_BYTES), 2);
      enable(asm);
      asm.mov(eax, mem(AT.WINDOW + PAGE_BYTES)).mov(mem32(PDE), 0x40_0000 | OPEN | PAGE.PS);
      asm.invlpg(mem(AT.WINDOW + 0x1f_f000));
    },
    body: (asm) => asm.mov(ecx, mem(AT.WINDOW + PAGE_BYTES)),
    show: registers("ecx"),
  }, {
    name: "pae paging off and on",
    setup(asm) {
      asm.call("buildPaeTables").mov(mem32(PTE), AT.FRAMES | OPEN);
      enable(asm);
      asm.mov(eax, cr0).mov(ebx, eax).and(ebx, ~CR0.PG).mov(cr0, ebx).mov(cr0, eax);
    },
    body: accesses.write,
    show: entries,
  });
  return cases;
}
