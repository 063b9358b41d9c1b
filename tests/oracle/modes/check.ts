// Compares what a section prints in the host with what it printed under Bochs, but for the lines where Bochs is not what the
// Intel manual says.

import { runImage } from "../torture/run.ts";
import { modeSections } from "./sections.ts";

/** A correction: in lines of one section whose start matches `cases`, texts are replaced. */
interface Deviation {
  readonly section: string;
  readonly cases: RegExp;
  readonly replace: readonly (readonly [from: string | RegExp, to: string])[];
  readonly reason: string;
}

const deviations: readonly Deviation[] = [
  {
    section: "tasks",
    cases: /^local breakpoints go/,
    replace: [["eax=6aa", "eax=7aa"]],
    reason: "a task switch clears L0 to L3; of LE the manual says nothing (SDM 3B, 17.2.4)",
  },
  {
    section: "debug",
    cases: /^dr7 takes ones/,
    replace: [["ebx=ffff0f00", "ebx=ffff0700"]],
    reason: "bit 11 of DR7 is zero (SDM 3B, figure 17-1)",
  },
  {
    section: "debug",
    cases: /^general detect on a /,
    replace: [["dr6.0=ffff2ff0 rf.0=0", "dr6.0=ffff2ff0 rf.0=10000"]],
    reason: "faults push RF set, but for instruction breakpoints (SDM 3B, 17.3.1.1)",
  },
  {
    section: "debug",
    cases: /^general detect goes with/,
    replace: [[
      / 1:0@8\+1.*/,
      " 1:0@8+1/2,10:1d3000 40:0@8+6/2,10:1d3000 dr6.0=ffff0ff0 rf.0=0 dr6.1=ffff0ff0 rf.1=0 " +
      "dr6.2=0 rf.2=0 dr6.3=0 rf.3=0 ebx=400",
    ]],
    reason: "GD is clear in the debug exception's handler, INT1's too (SDM 3B, 17.2.4)",
  },
  {
    section: "debug",
    cases: /^(watched: rep stosb)/,
    replace: [[/(dr6\.\d=ffff0ff1 rf\.\d)=0/g, "$1=10000"]],
    reason: "a trap between the iterations of a repeated instruction pushes RF set (SDM 3B, 17.3.1.1)",
  },
  {
    section: "debug",
    cases: /^(watched: rep lodsd|port: rep outsb|step: rep movsb)/,
    replace: [[/(dr6\.0=\w+ rf\.0)=0/, "$1=10000"]],
    reason: "a trap between the iterations of a repeated instruction pushes RF set (SDM 3B, 17.3.1.1)",
  },
  {
    section: "debug",
    cases: /^(a data breakpoint and one on the next|step: a breakpoint on the next)/,
    replace: [[/dr6\.0=ffff(\w)ff[13]/, "dr6.0=ffff$1ff#"], ["ffff0ff#", "ffff0ff1"], ["ffff4ff#", "ffff4ff0"]],
    reason:
      "the trap after an instruction comes before the breakpoint on the next, which has not been met yet (SDM 3A, table 6-2)",
  },
  {
    section: "debug",
    cases: /^watched: load of ss, then int n/,
    replace: [[
      / 40:0.*/,
      " 1:0@8+9/2,10:1d2ff4 40:0@8+c/2,10:1d2ff4 dr6.0=ffff0ff1 rf.0=0 dr6.1=ffff0ff0 rf.1=0 " +
      "dr6.2=0 rf.2=0 dr6.3=0 rf.3=0",
    ]],
    reason:
      "a trap held back by a load of SS is delivered after the next instruction, in INT's handler (SDM 3A, 6.8.3)",
  },
  {
    section: "v86",
    cases: /^iretd beyond 64 KiB, iopl 3/,
    replace: [["d:0@3=10000/23002,2203:800", "d:0@1003+c/23202,2203:7f4"]],
    reason: 'IRET checks EIP against the limit of CS and faults before anything has changed (SDM 2A, "IRET")',
  },
  {
    section: "v86",
    cases: /^iretd with EIP beyond 64 KiB/,
    replace: [[/ 40:0.*/, " d:0@8+2d/2,10:1d2fdc gs=0 fs=0 ds=0 es=0 eax=1a1a1a1a ebx=4b4b4b4b in=10 stack=0"]],
    reason: "as above; Bochs cuts EIP to 16 bits",
  },
  {
    section: "v86",
    cases: /^rep insb of nothing, map (none|closed|ending a byte early), iopl 0/,
    replace: [["d:0@1003+8", "d:0@1003+a"]],
    reason: 'with a count of zero REP executes nothing; the INT after it faults (SDM 2B, "REP")',
  },
  {
    section: "v86",
    cases: /^rep insb of nothing, map (none|closed|ending a byte early), iopl 3/,
    replace: [["d:0@1003+8", "40:0@1003+c"]],
    reason: 'with a count of zero REP executes nothing (SDM 2B, "REP")',
  },
  {
    section: "alignment",
    cases: /^fnsave at [048] /,
    replace: [["11:0@1b+2", "40:0@1b+a"]],
    reason: "FSAVE's area needs an alignment of four (SDM 3A, table 6-7); Bochs asks for eight of each register in it",
  },
];

/** Lines that differ from what is expected, as "- expected" and "+ printed", 20 pairs at most; empty where all agree. */
export async function differences(section: string): Promise<string> {
  const fixture = await Deno.readTextFile(new URL(`../../fixtures/modes/${section}.txt`, import.meta.url));
  const expected = fixture.split("\n").map((line) => expectedLine(section, line));
  const printed = runImage(section, modeSections[section]());
  const differing = expected.flatMap((line, i) => printed[i] === line ? [] : [`- ${line}\n+ ${printed[i]}`]);
  if (printed.length !== expected.length) differing.push(`${printed.length} lines; expected ${expected.length}`);
  return differing.slice(0, 20).join("\n");
}

function expectedLine(section: string, line: string): string {
  let expected = line;
  for (const deviation of deviations) {
    if (deviation.section !== section || !deviation.cases.test(line)) continue;
    for (const [from, to] of deviation.replace) expected = expected.replace(from, to);
  }
  return expected;
}
