// Control transfers between segments and levels: far JMP, CALL and RET, call gates, IRET, SYSENTER and SYSEXIT, and the stack
// switches that come with them (Intel SDM volume 3A, section 5.8; volume 2 under each instruction).

import {
  addr,
  type Assembler,
  ax,
  ds,
  eax,
  ecx,
  edx,
  es,
  far,
  fs,
  gs,
  mem,
  mem16,
  mem32,
} from "../../../guests/assembler/mod.ts";
import { defineDescriptor, defineGate, registers, setBase, type TortureCase, word } from "./harness.ts";
import { access, AT, FLAG, PRESENT, segment, SELECTOR, STATUS, TSS, TSS16, TYPE, VECTOR } from "./layout.ts";

const FREE = SELECTOR.FREE;
/** A further descriptor of a case's own. */
const SECOND = FREE + 8;

export function transferCases(): TortureCase[] {
  return [
    ...direct(),
    ...gates(),
    ...gateTargets(),
    ...innerStacks(),
    ...parameters(),
    ...returns(),
    ...returnStacks(),
    ...droppedSegments(),
    ...interruptReturns(),
    ...systemCalls(),
  ];
}

let bodies = 0;

/** A body that transfers to a label further down in itself: what follows the transfer is an INT, what is there `then`. */
function transferring(
  transfer: (asm: Assembler, target: string) => unknown,
  then: (asm: Assembler) => unknown = () => {},
): (asm: Assembler) => void {
  const target = `transfer.target.${bodies++}`;
  return (asm) => {
    transfer(asm, target);
    asm.int(VECTOR.END).label(target);
    then(asm);
  };
}

/** Words at the top of a level's stack, the first pushed first. */
function pushed(level: 0 | 1 | 2, ...names: readonly (string | undefined)[]) {
  return names.flatMap((name, i) => name === undefined ? [] : [word(name, AT.RING_STACK[level] - 4 * (i + 1))]);
}

/** Far JMP and CALL to code segments of all kinds. */
function direct(): TortureCase[] {
  const cases: TortureCase[] = [];
  const kinds = { plain: TYPE.CODE_XR, "execute-only": TYPE.CODE_XO, conforming: TYPE.CODE_XR_CONFORMING } as const;
  const both = {
    jmp: (selector: number) => (asm: Assembler, target: string) => asm.jmpFar(far(selector, addr(target))),
    call: (selector: number) => (asm: Assembler, target: string) => asm.callFar(far(selector, addr(target))),
  };
  for (const [instruction, transfer] of Object.entries(both)) {
    for (const [kind, type] of Object.entries(kinds)) {
      for (const dpl of [0, 1, 3]) {
        for (const level of [0, 1, 3] as const) {
          for (const rpl of [0, 3]) {
            if (kind === "execute-only" && dpl !== level) continue;
            cases.push({
              name: `${instruction} far ${kind} dpl${dpl} cpl${level} rpl${rpl}`,
              level,
              setup: (asm) => defineDescriptor(asm, FREE, segment({ access: access(type, dpl) })),
              body: transferring(transfer(FREE | rpl)),
              show: [word("descriptor", AT.GDT + FREE + 4)],
            });
          }
        }
      }
    }
    const odd: readonly [string, number, [number, number]?][] = [
      ["null", 0],
      ["null with RPL 3", 3],
      ["beyond the GDT", 0x200],
      ["without an LDT", 4],
      ["data", FREE, segment({ access: access(TYPE.DATA_RW) })],
      ["an LDT", FREE, segment({ access: access(TYPE.LDT) })],
      ["an interrupt gate", FREE, segment({ access: access(TYPE.INTERRUPT_GATE32) })],
      ["a busy TSS", FREE, segment({ access: access(TYPE.TSS32_BUSY) })],
      ["an empty descriptor", FREE, [0, 0]],
      ["not present", FREE, segment({ access: access(TYPE.CODE_XR) & ~PRESENT })],
      ["not present, of another level", FREE, segment({ access: access(TYPE.CODE_XR, 3) & ~PRESENT })],
      ["beyond the limit", FREE, segment({ limit: 0xfff, pages: false, access: access(TYPE.CODE_XR) })],
    ];
    for (const [what, selector, words] of odd) {
      cases.push({
        name: `${instruction} far ${what}`,
        setup: (asm) => words && defineDescriptor(asm, FREE, words),
        body: transferring(transfer(selector)),
        show: [word("descriptor", AT.GDT + FREE + 4), ...registers("esp")],
      });
    }
  }
  cases.push({
    name: "call far through memory pushes CS as 32 bits",
    setup: (asm) => asm.mov(mem32(AT.CASE_STACK - 4), -1),
    body: transferring((asm, target) => {
      asm.mov(mem32(AT.FRAMES), addr(target)).mov(mem16(AT.FRAMES + 4), SELECTOR.CODE);
      asm.callFar(mem(AT.FRAMES, { size: 48 }));
    }),
    show: [word("cs", AT.CASE_STACK - 4, 0xffff)],
  }, {
    name: "jmp far of a register",
    body: (asm) => asm.bytes([0xff, 0xe8]),
  }, {
    name: "call far of a register",
    body: (asm) => asm.bytes([0xff, 0xd8]),
  });
  return cases;
}

/** A gate in FREE to the body's target; the target selector is by default flat code of CPL 0. */
function throughGate(
  name: string,
  { type = TYPE.CALL_GATE32, dpl = 3, present = true, selector = SELECTOR.CODE, count = 0, jump = false, ...rest }: {
    readonly type?: number;
    readonly dpl?: number;
    readonly present?: boolean;
    readonly selector?: number;
    readonly count?: number;
    readonly jump?: boolean;
    readonly rpl?: number;
    readonly level?: 0 | 1 | 2 | 3;
    readonly setup?: (asm: Assembler) => unknown;
    readonly before?: (asm: Assembler) => unknown;
    readonly then?: (asm: Assembler) => unknown;
    readonly show?: TortureCase["show"];
    readonly origin?: TortureCase["origin"];
  },
): TortureCase {
  const { rpl = 0, level = 3, setup, before, then, show, origin } = rest;
  const target = `gate.target.${bodies++}`;
  return {
    name,
    level,
    flags: STATUS,
    origin,
    before,
    setup(asm) {
      const bits = access(type, dpl) & (present ? 0xff : ~PRESENT);
      defineGate(asm, { selector: FREE }, { access: bits, selector, offset: addr(target), parameters: count });
      setup?.(asm);
    },
    body(asm) {
      if (jump) asm.jmpFar(far(FREE | rpl, 0));
      else asm.callFar(far(FREE | rpl, 0));
      asm.int(VECTOR.END).label(target);
      then?.(asm);
    },
    show,
  };
}

/** Who may go through which gate. */
function gates(): TortureCase[] {
  const cases: TortureCase[] = [];
  for (const jump of [false, true]) {
    const name = jump ? "jmp" : "call";
    for (const dpl of [0, 1, 3]) {
      for (const level of [0, 1, 3] as const) {
        for (const rpl of [0, 3]) {
          cases.push(throughGate(`${name} gate dpl${dpl} cpl${level} rpl${rpl}`, {
            dpl,
            level,
            rpl,
            jump,
            show: pushed(0, "ss", "esp", "cs"),
          }));
        }
      }
    }
    cases.push(throughGate(`${name} gate not present`, { present: false, jump }));
    cases.push(throughGate(`${name} gate not present, of a more inner level`, { present: false, dpl: 0, jump }));
  }
  return cases;
}

/** What gates may lead to. */
function gateTargets(): TortureCase[] {
  const cases: TortureCase[] = [];
  for (const jump of [false, true]) {
    const name = jump ? "jmp" : "call";
    const one = (what: string, selector: number, words?: [number, number], level: 0 | 3 = 3) =>
      cases.push(throughGate(`${name} gate to ${what} cpl${level}`, {
        jump,
        selector,
        level,
        setup: (asm) => words && defineDescriptor(asm, SECOND, words),
        show: [
          word("descriptor", AT.GDT + SECOND + 4),
          ...pushed(0, "ss", "esp", "cs"),
          ...pushed(1, "ss1", "esp1", "cs1"),
        ],
      }));
    for (const level of [0, 3] as const) {
      one("null", 0, undefined, level);
      one("beyond the GDT", 0x203, undefined, level);
      one("data", SELECTOR.DATA, undefined, level);
      one("a TSS", SELECTOR.TSS, undefined, level);
      one("ring 1", SELECTOR.CODE1, undefined, level);
      one("ring 1 with RPL 3", SELECTOR.CODE1 | 3, undefined, level);
      one("ring 3", SELECTOR.CODE3, undefined, level);
      one("conforming code", SELECTOR.CONFORMING, undefined, level);
      one("conforming code of ring 3", SECOND, segment({ access: access(TYPE.CODE_XR_CONFORMING, 3) }), level);
      one("absent code", SECOND, segment({ access: access(TYPE.CODE_XR) & ~PRESENT }), level);
      one("absent code of ring 3", SECOND, segment({ access: access(TYPE.CODE_XR, 3) & ~PRESENT }), level);
      one("beyond a limit", SECOND, segment({ limit: 0xfff, pages: false, access: access(TYPE.CODE_XR) }), level);
      one("code not yet accessed", SECOND, segment({ access: access(TYPE.CODE_XR) }), level);
    }
  }
  return cases;
}

/** Bad stacks in the TSS: #TS for most, #SS where absent or too small. */
function innerStacks(): TortureCase[] {
  const stacks: readonly [string, selector: number, words?: [number, number], esp0?: number][] = [
    ["null", 0],
    ["null with RPL 3", 3],
    ["beyond the GDT", 0x200],
    ["of RPL 3", SELECTOR.DATA | 3],
    ["of DPL 3", FREE + 8, segment({ access: access(TYPE.DATA_RW, 3) })],
    ["of DPL 3 and RPL 3", SELECTOR.DATA3],
    ["read-only", SECOND, segment({ access: access(TYPE.DATA_RO) })],
    ["code", SELECTOR.CODE],
    ["a TSS", SELECTOR.TSS],
    ["absent", SECOND, segment({ access: access(TYPE.DATA_RW) & ~PRESENT })],
    ["too small", SECOND, segment({ limit: 0xff, pages: false, access: access(TYPE.DATA_RW) })],
    ["with room for three words", SECOND, segment({ base: AT.FRAMES, access: access(TYPE.DATA_RW) }), 12],
    ["not yet accessed", SECOND, segment({ access: access(TYPE.DATA_RW) })],
    [
      "of 16 bits",
      SECOND,
      segment({ base: AT.FRAMES, limit: 0xffff, big: false, access: access(TYPE.DATA_RW) }),
      0xabcd_0100,
    ],
  ];
  const cases: TortureCase[] = [];
  for (const [what, selector, words, esp0] of stacks) {
    // The handler of the fault must not need the same stack: it runs at ring 1.
    const setup = (asm: Assembler) => {
      if (words !== undefined) defineDescriptor(asm, SECOND, words);
      asm.mov(mem16(AT.TSS + TSS.SS0), selector);
      if (esp0 !== undefined) asm.mov(mem32(AT.TSS + TSS.ESP0), esp0);
      for (const vector of [VECTOR.DF, VECTOR.TS, VECTOR.SS, VECTOR.GP, VECTOR.NP]) {
        defineGate(asm, { vector }, {
          access: access(TYPE.INTERRUPT_GATE32, 3),
          selector: SELECTOR.CODE1,
          offset: addr(`stack.vector${vector}`),
        });
      }
    };
    const frame = ["ss", "esp", "eflags", "cs", undefined, "error"];
    const show = [
      ...pushed(1, ...frame),
      word("descriptor", AT.GDT + SECOND + 4),
      word("m", AT.FRAMES + 0xf4),
      ...registers("eax"),
    ];
    const fine = esp0 !== undefined || what === "not yet accessed";
    const then = fine ? repairStack : undefined;
    const origin = fine ? undefined : addr(`stack.vector${VECTOR.DF}`);
    cases.push(throughGate(`call gate, inner stack ${what}`, { setup, then, show, origin }));
    cases.push({
      name: `int, inner stack ${what}`,
      level: 3,
      origin,
      setup(asm) {
        setup(asm);
        defineGate(asm, { vector: VECTOR.USER }, {
          access: access(TYPE.INTERRUPT_GATE32, 3),
          selector: SELECTOR.CODE,
          offset: addr(`stack.int.${what}`),
        });
      },
      body(asm) {
        asm.int(VECTOR.USER).label(`stack.int.${what}`);
        then?.(asm);
      },
      show,
    });
  }
  cases[0] = { ...cases[0], routines: ringOneHandlers };
  cases.push(
    throughGate("call gate, TSS too short for SS1", {
      selector: SELECTOR.CODE1,
      setup(asm) {
        const short = segment({
          base: AT.TSS,
          limit: TSS.SS1 - 1,
          access: access(TYPE.TSS32),
          big: false,
          pages: false,
        });
        defineDescriptor(asm, SECOND, short);
        asm.mov(eax, SECOND).ltr(ax);
      },
    }),
    throughGate("call gate, a 16-bit TSS", {
      setup(asm) {
        asm.mov(mem16(AT.TSS16 + TSS16.SP0), 0x8000).mov(mem16(AT.TSS16 + TSS16.SS0), SELECTOR.DATA);
        asm.mov(eax, SELECTOR.TSS16).ltr(ax);
      },
    }),
  );
  return cases;
}

/** Puts SS0 and ESP0 right and tells in eax at which vector. */
function ringOneHandlers(asm: Assembler): void {
  for (const vector of [VECTOR.DF, VECTOR.TS, VECTOR.SS, VECTOR.GP, VECTOR.NP]) {
    asm.label(`stack.vector${vector}`).mov(eax, SELECTOR.DATA1).mov(ds, ax).mov(eax, vector);
    repairStack(asm);
    asm.int(VECTOR.END);
  }
}

function repairStack(asm: Assembler): void {
  asm.mov(mem16(AT.TSS + TSS.SS0), SELECTOR.DATA).mov(mem32(AT.TSS + TSS.ESP0), AT.RING_STACK[0]);
}

/** Parameters copied to the inner stack, by 32-bit and 16-bit gates, and RET n back. */
function parameters(): TortureCase[] {
  const words = [1, 2, 3].map((i) => word(`p${i}`, AT.RING_STACK[0] - 8 - 4 * i));
  const cases = [0, 1, 2, 3, 31, 32].map((count) =>
    throughGate(`call gate copies ${count} parameters`, {
      count,
      before: (asm) => asm.push(0x11).push(0x22).push(0x33),
      show: [...pushed(0, "ss", "esp"), ...words],
    })
  );
  const back = throughGate("call gate with parameters and back", {
    count: 2,
    before: (asm) => asm.push(0x11).push(0x22).push(0x33),
    then: (asm) => asm.retf(8),
    show: registers("ds", "es", "fs"),
  });
  const inner = throughGate("call gate from ring 1 to ring 0 copies from ring 1's stack", {
    level: 1,
    count: 1,
    before: (asm) => asm.push(0x77),
    show: [...pushed(0, "ss", "esp", "p1", "cs")],
  });
  // 16-bit gates reach offsets below 64 KiB only: the target segment is based at the body's target.
  const sixteen = [[0, 3], [2, 3], [2, 0], [0, 0]].map(([count, level]): TortureCase => ({
    name: `16-bit call gate with ${count} parameters cpl${level}`,
    level: level === 3 ? 3 : 0,
    setup(asm) {
      defineDescriptor(asm, SECOND, segment({ access: access(TYPE.CODE_XR), big: false, limit: 0xffff, pages: false }));
      setBase(asm, SECOND, addr(`sixteen.${count}.${level}`));
      defineGate(asm, { selector: FREE }, {
        access: access(TYPE.CALL_GATE16, 3),
        selector: SECOND,
        offset: 0,
        parameters: count,
      });
    },
    before: (asm) => asm.push(0x1111_2222).push(0x3333_4444),
    body(asm) {
      asm.callFar(far(FREE, 0)).int(VECTOR.END).label(`sixteen.${count}.${level}`).int(VECTOR.END);
    },
    show: [1, 2, 3, 4].map((i) => word(`w${i}`, (level === 3 ? AT.RING_STACK[0] : AT.CASE_STACK - 8) - 4 * i)),
  }));
  return [...cases, back, inner, ...sixteen];
}

/** RETF and IRET to code selectors of all kinds, from CPL 0, 1 and 3. */
function returns(): TortureCase[] {
  const cases: TortureCase[] = [];
  const selectors: readonly [string, number, [number, number]?][] = [
    ["null", 0],
    ["beyond the GDT", 0x203],
    ["data", SELECTOR.DATA],
    ["data of ring 3", SELECTOR.DATA3],
    ["ring 0", SELECTOR.CODE],
    ["ring 0 with RPL 3", SELECTOR.CODE | 3],
    ["ring 1", SELECTOR.CODE1],
    ["ring 3", SELECTOR.CODE3],
    ["ring 3 with RPL 0", SELECTOR.CODE3 & ~3],
    ["conforming code", SELECTOR.CONFORMING],
    ["conforming code with RPL 3", SELECTOR.CONFORMING | 3],
    ["conforming code of ring 3 with RPL 0", FREE, segment({ access: access(TYPE.CODE_XR_CONFORMING, 3) })],
    ["conforming code of ring 3 with RPL 3", FREE | 3, segment({ access: access(TYPE.CODE_XR_CONFORMING, 3) })],
    ["absent code", FREE, segment({ access: access(TYPE.CODE_XR) & ~PRESENT })],
    ["absent code of ring 3", FREE | 3, segment({ access: access(TYPE.CODE_XR, 3) & ~PRESENT })],
    ["beyond a limit", FREE, segment({ limit: 0xfff, pages: false, access: access(TYPE.CODE_XR) })],
    ["beyond a limit of ring 3", FREE | 3, segment({ limit: 0xfff, pages: false, access: access(TYPE.CODE_XR, 3) })],
    ["execute-only code of ring 3", FREE | 3, segment({ access: access(TYPE.CODE_XO, 3) })],
  ];
  for (const kind of ["retf", "iret"] as const) {
    for (const [what, selector, words] of selectors) {
      for (const level of [0, 1, 3] as const) {
        const rpl = selector & 3;
        const stackSelector = [SELECTOR.DATA, SELECTOR.DATA1, SELECTOR.DATA2, SELECTOR.DATA3][rpl];
        cases.push({
          name: `${kind} to ${what} cpl${level}`,
          level,
          setup: (asm) => words && defineDescriptor(asm, FREE, words),
          body: transferring((asm, target) => {
            asm.push(stackSelector).push(AT.RING_STACK[3] - 0x40);
            if (kind === "iret") asm.push(STATUS | FLAG.FIXED);
            asm.push(selector).push(addr(target));
            if (kind === "iret") asm.iretd();
            else asm.retf();
          }),
          show: [word("descriptor", AT.GDT + FREE + 4), ...registers("ds")],
        });
      }
    }
  }
  cases.push({
    name: "retf n within a level releases n bytes",
    body: transferring((asm, target) => asm.push(1).push(2).push(SELECTOR.CODE).push(addr(target)).retf(8)),
  }, {
    name: "retf n to ring 3 releases n bytes of both stacks",
    body: transferring((asm, target) => {
      asm.push(SELECTOR.DATA3).push(AT.RING_STACK[3] - 0x40).push(1).push(2).push(SELECTOR.CODE3).push(addr(target))
        .retf(8);
    }),
  }, {
    name: "ret n",
    body: transferring((asm, target) => asm.push(1).push(addr(target)).ret(4)),
  }, {
    name: "16-bit retf",
    setup(asm) {
      defineDescriptor(asm, FREE, segment({ access: access(TYPE.CODE_XR), limit: 0xffff, pages: false }));
      setBase(asm, FREE, addr("retf.sixteen"));
    },
    body: (asm) => asm.push((FREE << 16) | 0).o16().retf().int(VECTOR.END).label("retf.sixteen").int(VECTOR.END),
  });
  return cases;
}

/** The stack of the outer level in RETF and IRET. */
function returnStacks(): TortureCase[] {
  const stacks: readonly [string, number, [number, number]?][] = [
    ["null", 0],
    ["null with RPL 3", 3],
    ["beyond the GDT", 0x203],
    ["of RPL 0", SELECTOR.DATA3 & ~3],
    ["of DPL 0", SELECTOR.DATA | 3],
    ["read-only", FREE | 3, segment({ access: access(TYPE.DATA_RO, 3) })],
    ["code", SELECTOR.CODE3],
    ["absent", FREE | 3, segment({ access: access(TYPE.DATA_RW, 3) & ~PRESENT })],
    ["of 16 bits", FREE | 3, segment({ base: AT.FRAMES, limit: 0xffff, big: false, access: access(TYPE.DATA_RW, 3) })],
    ["not yet accessed", FREE | 3, segment({ access: access(TYPE.DATA_RW, 3) })],
  ];
  return (["retf", "iret"] as const).flatMap((kind) =>
    stacks.map(([what, selector, words]): TortureCase => ({
      name: `${kind} to ring 3 with a stack ${what}`,
      setup: (asm) => words && defineDescriptor(asm, FREE, words),
      body: transferring((asm, target) => {
        asm.push(selector).push(0x1234_0100);
        if (kind === "iret") asm.push(STATUS | FLAG.FIXED);
        asm.push(SELECTOR.CODE3).push(addr(target));
        if (kind === "iret") asm.iretd();
        else asm.retf();
      }),
      show: [word("descriptor", AT.GDT + FREE + 4), ...registers("ds")],
    }))
  );
}

/** Data segments that the outer level may not use become null. */
function droppedSegments(): TortureCase[] {
  const segments: readonly [string, number, [number, number]?][] = [
    ["data of ring 0", SELECTOR.DATA],
    ["data of ring 1", SELECTOR.DATA1 & ~3],
    ["data of ring 3", SELECTOR.DATA3],
    ["code of ring 0", SELECTOR.CODE],
    ["conforming code of ring 0", SELECTOR.CONFORMING],
    ["code of ring 3", SELECTOR.CODE3],
    ["null", 0],
  ];
  return (["retf", "iret"] as const).flatMap((kind) =>
    segments.flatMap(([what, selector]) =>
      ([SELECTOR.CODE3, SELECTOR.CODE1] as const).map((code): TortureCase => ({
        name: `${kind} to ring ${code & 3} with ${what} in data segments`,
        before(asm) {
          asm.mov(eax, selector);
          for (const register of [ds, es, fs, gs]) asm.mov(register, ax);
        },
        body: transferring((asm, target) => {
          asm.push((code & 3) === 3 ? SELECTOR.DATA3 : SELECTOR.DATA1).push(AT.RING_STACK[3] - 0x40);
          if (kind === "iret") asm.push(FLAG.FIXED);
          asm.push(code).push(addr(target));
          if (kind === "iret") asm.iretd();
          else asm.retf();
        }),
        show: registers("ds", "es", "fs", "gs"),
      }))
    )
  );
}

/** What IRET and POPF change of EFLAGS, by CPL and IOPL and operand size. */
function interruptReturns(): TortureCase[] {
  const cases: TortureCase[] = [];
  const all = 0x3f_7fd7 & ~(FLAG.VM | FLAG.TF | FLAG.NT | 0x18_0000);
  for (const level of [0, 1, 3] as const) {
    for (const iopl of [0, 1, 3]) {
      for (const [from, to] of [[FLAG.FIXED, all], [all & ~FLAG.IOPL3, FLAG.FIXED]] as const) {
        const flags = (from & ~FLAG.IOPL3) | (iopl << 12);
        const name = `cpl${level} iopl${iopl} ${to === all ? "sets" : "clears"}`;
        cases.push({
          name: `popf ${name}`,
          level,
          flags,
          body: (asm) => asm.push(to).popf(),
        }, {
          name: `popfw ${name}`,
          level,
          flags,
          body: (asm) => asm.push(to).o16().popf().pop(ax),
        }, {
          name: `iret ${name}`,
          level,
          flags,
          body: transferring((asm, target) =>
            asm.push(to).push([SELECTOR.CODE, SELECTOR.CODE1, 0, SELECTOR.CODE3][level]).push(addr(target)).iretd()
          ),
        });
      }
    }
  }
  cases.push({
    name: "iret sets NT",
    body: transferring((asm, target) => asm.push(FLAG.FIXED | FLAG.NT).push(SELECTOR.CODE).push(addr(target)).iretd()),
  }, {
    name: "popf at CPL 3 does not set VM",
    level: 3,
    body: (asm) => asm.push(FLAG.FIXED | FLAG.VM | FLAG.RF).popf(),
  }, {
    name: "iret at CPL 3 does not set VM",
    level: 3,
    body: transferring((asm, target) => asm.push(FLAG.FIXED | FLAG.VM).push(SELECTOR.CODE3).push(addr(target)).iretd()),
  }, {
    name: "iretw keeps the upper half of EFLAGS",
    flags: FLAG.ID | FLAG.AC,
    setup(asm) {
      defineDescriptor(asm, FREE, segment({ access: access(TYPE.CODE_XR), limit: 0xffff, pages: false }));
      setBase(asm, FREE, addr("iretw.sixteen"));
    },
    body: (asm) =>
      asm.pushw(STATUS).pushw(FREE).pushw(0).iretw().int(VECTOR.END).label("iretw.sixteen").int(VECTOR.END),
  }, {
    name: "iretw to ring 3 with a 16-bit stack",
    setup(asm) {
      defineDescriptor(asm, FREE, segment({ access: access(TYPE.CODE_XR, 3), limit: 0xffff, pages: false }));
      setBase(asm, FREE, addr("iretw.ring3"));
      defineDescriptor(
        asm,
        SECOND,
        segment({ base: AT.FRAMES, limit: 0xffff, big: false, access: access(TYPE.DATA_RW, 3) }),
      );
    },
    body(asm) {
      asm.pushw(SECOND | 3).pushw(0x100).pushw(STATUS).pushw(FREE | 3).pushw(0).iretw();
      asm.int(VECTOR.END).label("iretw.ring3").int(VECTOR.END);
    },
  });
  return cases;
}

const MSR_SYSENTER_CS = 0x174;

/** SYSENTER and SYSEXIT. */
function systemCalls(): TortureCase[] {
  const setMsrs = (cs: number, entry?: string) => (asm: Assembler) => {
    asm.xor(edx, edx);
    asm.mov(ecx, MSR_SYSENTER_CS).mov(eax, cs).wrmsr();
    asm.mov(ecx, MSR_SYSENTER_CS + 1).mov(eax, AT.RING_STACK[0] - 0x40).wrmsr();
    asm.mov(ecx, MSR_SYSENTER_CS + 2).mov(eax, entry === undefined ? 0 : addr(entry)).wrmsr();
  };
  const cases: TortureCase[] = [];
  for (const level of [0, 3] as const) {
    for (const cs of [0, 3, SELECTOR.CODE, SELECTOR.CODE | 3, 0x1_0008]) {
      const entry = `sysenter.${level}.${cs}`;
      cases.push({
        name: `sysenter cpl${level} cs${cs.toString(16)}`,
        level,
        flags: STATUS | FLAG.IF,
        setup: setMsrs(cs, entry),
        body: (asm) => asm.sysenter().int(VECTOR.END).label(entry),
        show: registers("eax", "ecx", "edx", "ds"),
      });
      const exit = `sysexit.${level}.${cs}`;
      cases.push({
        name: `sysexit cpl${level} cs${cs.toString(16)}`,
        level,
        flags: STATUS | FLAG.IF,
        setup: setMsrs(cs),
        before: (asm) => asm.mov(ecx, AT.RING_STACK[3] - 0x20).mov(edx, addr(exit)),
        body: (asm) => asm.sysexit().int(VECTOR.END).label(exit),
        show: registers("ecx", "ds"),
      });
    }
  }
  cases.push({
    name: "rdmsr and wrmsr at CPL 3",
    level: 3,
    before: (asm) => asm.mov(ecx, MSR_SYSENTER_CS),
    body: (asm) => asm.rdmsr(),
  }, {
    name: "the MSRs of sysenter keep what is written",
    setup: setMsrs(SELECTOR.CODE),
    body: (asm) => asm.mov(ecx, MSR_SYSENTER_CS + 1).rdmsr(),
    show: registers("eax", "edx"),
  });
  return cases;
}
