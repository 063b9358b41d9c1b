// What the torture guest must print, from what it printed under QEMU and Bochs. Where the two agree that is it, unless both
// take a liberty that we do not; where they differ, or one of them is not what the Intel manual says, it is stated here whom
// to follow and why. A difference that nobody explains is an error.

import type { Oracle } from "./sections.ts";

/** A rule for the lines of one section that start as `cases` says: whose line counts, and what is replaced in it. */
interface Deviation {
  readonly section: string;
  readonly cases: RegExp;
  readonly follow: Oracle;
  readonly replace?: readonly (readonly [from: string | RegExp, to: string])[];
  readonly reason: string;
}

const P_FLAG = "P is set with RSVD (SDM 3A 4.7: reserved bits are not checked where P is 0); QEMU leaves it clear";
const RF = "a fault pushes RF set (SDM 3B 17.3.1.1); QEMU pushes it as it was";
const ACCESSED =
  "a transfer marks the descriptors that it loads into CS and SS accessed (SDM 3A 3.4.5.1); QEMU does not";
const LIMIT =
  "an offset beyond the target's limit is #GP(0) (SDM 2A and 2B, each instruction); QEMU checks few of them";
const LATE_A =
  "whether A of a directory entry is set though the table's entry then faults is open (SDM 3A 4.8); ours sets it last, as " +
  "the 80386 and Bochs do";
const NOTHING_WRITTEN =
  "no trace of an instruction that faults; the manual leaves open what of several stores has reached memory";

export const deviations: readonly Deviation[] = [
  { section: "paging", cases: /^page pde=/, follow: "bochs", reason: LATE_A },
  {
    section: "paging",
    cases: /^large page reserved bit (13|15|17|18|20) /,
    follow: "qemu",
    replace: [
      ["40:0@8+7/2,10:1d3000 pde=a7", "e:9@8+0/2,10:1d3000[400020] pde=87"],
      ["40:0@1b+c/2,23:1db000 pde=e7", "e:f@1b+0/2,23:1db000[400020] pde=87"],
    ],
    reason: "without PSE-36 bits 13 to 21 are reserved (SDM 3A table 4-4); both oracles' CPUs have it",
  },
  { section: "paging", cases: /^large page reserved bit 21 /, follow: "bochs", reason: P_FLAG },
  {
    section: "paging",
    cases: /^a CR3 reload keeps a global page/,
    follow: "bochs",
    reason: "the architectural TLB keeps global entries (SDM 3A 4.10.2.4); QEMU drops all",
  },

  { section: "pae", cases: /^pae pde=/, follow: "bochs", reason: LATE_A },
  { section: "pae", cases: /^pae reserved bit \d+ of a (pde|large page)/, follow: "bochs", reason: P_FLAG },
  {
    section: "pae",
    cases: /^pae reserved bit \d+ of a pte/,
    follow: "bochs",
    reason: `${P_FLAG}; ${LATE_A}`,
  },
  {
    section: "pae",
    cases: /^pae (pointer with bits|pointer beyond|enabling paging with a bad pointer|a pointer changed)/,
    follow: "bochs",
    reason: "the pointers are loaded and checked with CR3 (SDM 3A 4.4.1); QEMU reads them at each walk",
  },

  {
    section: "restart",
    cases: /^(sgdt|fnstenv|fnsave) across the end/,
    follow: "qemu",
    replace: [[/below=\w+/, "below=44444444"]],
    reason: NOTHING_WRITTEN,
  },
  {
    section: "restart",
    cases: /^(lds|frstor) across the end/,
    follow: "qemu",
    reason: "which part of the operand faults first, and what it marks before, is open; ours reads upwards, as QEMU",
  },
  {
    section: "restart",
    cases: /^rcl across the end/,
    follow: "bochs",
    reason: "flags are as before the instruction that faults (SDM 3A 6.5); QEMU has changed CF",
  },
  {
    section: "restart",
    cases: /^arpl without change/,
    follow: "bochs",
    replace: [["e:3@8+0/8d7,10:1d3000[400000]", "40:0@8+8/897,10:1d3000"]],
    reason:
      'ARPL writes where it adjusts (SDM 2A, "ARPL", Operation), on the 80386 there alone; both oracles always do',
  },
  {
    section: "restart",
    cases: /^bts already set/,
    follow: "bochs",
    reason: "ours checks a read-modify-write as a write from the start; the manual leaves the order open",
  },
  {
    section: "restart",
    cases: /^pusha[dw] over the end/,
    follow: "bochs",
    replace: [["above=4b4b4b4b", "above=1010101"], ["above=2c2c3d3d", "above=1010101"]],
    reason: NOTHING_WRITTEN,
  },
  {
    section: "restart",
    cases: /^popad over the end/,
    follow: "bochs",
    reason: "registers are as before the instruction that faults (SDM 3A 6.5); QEMU has popped some",
  },
  {
    section: "restart",
    cases: /^call far over the end/,
    follow: "bochs",
    replace: [["above=1b", "above=1010101"]],
    reason: `pushes at CPL 3 are user accesses, in QEMU those of a supervisor; ${NOTHING_WRITTEN}`,
  },
  {
    section: "restart",
    cases: /^enter nested over the end of a page, the lower/,
    follow: "bochs",
    replace: [["above=0", "above=1010101"]],
    reason: NOTHING_WRITTEN,
  },
  {
    section: "restart",
    cases: /^(ret far|iret) over the end/,
    follow: "qemu",
    replace: [["e:0@", "e:4@"]],
    reason: "pops at CPL 3 are user accesses, in QEMU those of a supervisor; Bochs pops the selector first",
  },
  {
    section: "restart",
    cases: /^push sreg over the end of a page, the upper/,
    follow: "bochs",
    reason: 'PUSH of a segment register may write 16 of the 32 bits (SDM 2B, "PUSH"); ours does, as Bochs',
  },
  { section: "restart", cases: / whose inner stack is absent becomes/, follow: "bochs", reason: RF },
  {
    section: "restart",
    cases: /^setting a descriptor's accessed bit/,
    follow: "qemu",
    reason: "whether the bit is written as a byte or as its word shows in CR2 alone, and is open",
  },

  {
    section: "segments",
    cases: /^(load es from LDT entry 3|.* null (ds|es|fs)|pop fs null)/,
    follow: "bochs",
    reason: "a null segment and an offset beyond the limit are #GP(0) (SDM 3A 5.3 and 5.4.1); QEMU checks neither",
  },
  {
    section: "segments",
    cases: /^ltr null/,
    follow: "bochs",
    reason: 'LTR of a null selector is #GP(0) (SDM 2A, "LTR"); QEMU loads it',
  },

  {
    section: "transfers",
    cases: /^(jmp|call) far (plain|execute-only|conforming) /,
    follow: "bochs",
    reason: ACCESSED,
  },
  { section: "transfers", cases: /^call far beyond the limit/, follow: "bochs", reason: LIMIT },
  { section: "transfers", cases: /^(call|jmp) gate (dpl|not present)/, follow: "bochs", reason: RF },
  {
    section: "transfers",
    cases: /^(call|jmp) gate to /,
    follow: "bochs",
    reason:
      `${RF}; ${LIMIT}; a gate to conforming code keeps CPL (SDM 3A 5.8.2), which QEMU lowers, and JMP to a gate ` +
      "whose code is absent is #NP, in QEMU #GP",
  },
  {
    section: "transfers",
    cases: /^(call gate|int), inner stack /,
    follow: "bochs",
    reason: `${RF}; an inner stack that is absent or too small is #SS (SDM 3A 6.15), in QEMU #TS or not noticed`,
  },
  {
    section: "transfers",
    cases: /^(retf|iret) to (conforming code of ring 3|execute-only code|ring 3 with a stack (of 16 bits|not yet))/,
    follow: "bochs",
    reason: ACCESSED,
  },
  { section: "transfers", cases: /^(retf|iret) to beyond a limit/, follow: "bochs", reason: LIMIT },
  {
    section: "transfers",
    cases: /^retf to ring 3 with a stack absent/,
    follow: "bochs",
    reason: '#SS(selector) (SDM 2B, "RET"); QEMU raises #NP',
  },
  {
    section: "transfers",
    cases: /^iret at CPL 3 does not set VM/,
    follow: "bochs",
    reason: 'VM changes at CPL 0 alone (SDM 2A, "IRET"); QEMU enters V86 mode',
  },
  {
    section: "transfers",
    cases: /^(sysenter|sysexit) cpl\d cs3/,
    follow: "bochs",
    reason: 'IA32_SYSENTER_CS with its RPL taken off is 0: #GP(0) (SDM 2B, "SYSENTER"); QEMU looks at all of it',
  },

  {
    section: "exceptions",
    cases: /^(int1 at CPL 3|f1 \(opcode\))/,
    follow: "bochs",
    reason: 'INT1 is an instruction, and looks at no DPL (SDM 2A, "INT n"); QEMU\'s Pentium III has none',
  },
  {
    section: "exceptions",
    cases: /^(c6 \/1|c7 \/7|8f \/1|f6 \/1)/,
    follow: "bochs",
    reason: "undefined encodings are #UD, and F6 /1 is TEST (SDM 2D A.4); QEMU decodes them otherwise",
  },
  {
    section: "exceptions",
    cases: /^lock /,
    follow: "bochs",
    reason: 'LOCK with what it may not precede is #UD (SDM 2A, "LOCK"); QEMU ignores it',
  },
  {
    section: "exceptions",
    cases: /^(rdmsr|wrmsr) unknown/,
    follow: "bochs",
    reason: 'an unknown MSR is #GP(0) (SDM 2B, "RDMSR"); QEMU reads 0',
  },
  {
    section: "exceptions",
    cases: /^ltr cpl0/,
    follow: "bochs",
    reason: 'LTR of a null selector is #GP(0) (SDM 2A, "LTR"); QEMU loads it',
  },
  {
    section: "exceptions",
    cases: /^port rep outsb of none denied/,
    follow: "qemu",
    replace: [["d:0@1b+a/", "40:0@1b+e/"]],
    reason: 'with a count of zero nothing is executed (SDM 2B, "REP"); both oracles look at the port first',
  },
  { section: "exceptions", cases: /^int (interrupt|trap) gate beyond a limit/, follow: "bochs", reason: LIMIT },
  { section: "exceptions", cases: /pushes RF/, follow: "bochs", reason: RF },
  {
    section: "exceptions",
    cases: /^sti and cli \(single step\)/,
    follow: "bochs",
    reason: 'STI holds back interrupts, not single steps (SDM 2B, "STI"); QEMU\'s comes an instruction late',
  },
  {
    section: "exceptions",
    cases: /^sti (mov|pop) ss/,
    follow: "bochs",
    reason: "a load of SS holds interrupts back of its own accord (SDM 3A 6.8.3); of two shields in a row QEMU has one",
  },
  {
    section: "exceptions",
    cases: /^sti rep movsb/,
    follow: "bochs",
    reason: "the shield ends after an iteration of a repeated string instruction; QEMU completes it",
  },
  {
    section: "exceptions",
    cases: /^(#UD|#BR|a single step) whose gate is /,
    follow: "bochs",
    reason: "EXT is set in the error code where delivery of an exception failed (SDM 3A 6.13); QEMU leaves it clear",
  },

  {
    section: "real",
    cases: /^real /,
    follow: "bochs",
    reason:
      "offsets beyond 64 KiB, or beyond the limit a segment kept, are #GP or #SS (SDM 3A 20.1.1); QEMU checks none",
  },

  {
    section: "limits",
    cases: /^limit full offset fffffff/,
    follow: "bochs",
    replace: [
      ["fffffffd size 4 d:0@1b+0/2,23:1db000 ebx=4b4b4b4b", "fffffffd size 4 40:0@1b+9/2,23:1db000 ebx=0"],
      ["ffffffff size 2 d:0@1b+0/2,23:1db000 ebx=4b4b4b4b", "ffffffff size 2 40:0@1b+a/2,23:1db000 ebx=4b4b0000"],
      ["ffffffff size 4 d:0@1b+0/2,23:1db000 ebx=4b4b4b4b", "ffffffff size 4 40:0@1b+9/2,23:1db000 ebx=0"],
    ],
    reason: "whether an access that wraps at 4 GiB faults is open (SDM 3A 5.3): ours wraps, Bochs faults",
  },
  {
    section: "limits",
    cases: /^stack pushad /,
    follow: "bochs",
    replace: [[/m0=\w+/, "m0=0"]],
    reason: NOTHING_WRITTEN,
  },
];

/**
 * The line that the guest must print, given what it printed under each oracle of the section. Throws where the oracles
 * differ and no deviation says whom to follow.
 */
export function expectedLine(section: string, lines: Partial<Record<Oracle, string>>): string {
  const printed = [...new Set(Object.values(lines))];
  const rule = deviations.find((each) => each.section === section && each.cases.test(printed[0]));
  if (rule === undefined) {
    if (printed.length === 1) return printed[0];
    throw new Error(`section ${section}: no deviation explains\n${printed.join("\n")}`);
  }
  let line = lines[rule.follow] ?? printed[0];
  for (const [from, to] of rule.replace ?? []) line = line.replace(from, to);
  return line;
}
