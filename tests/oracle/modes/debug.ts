// Debug registers (Intel SDM volume 3B, chapter 17): instruction, data and I/O breakpoints, general detect, single steps, RF,
// and what DR6 says of each. The handler logs DR6 and the RF that was pushed, and clears DR6.

import {
  addr,
  al,
  type Assembler,
  ax,
  cr4,
  cx,
  dr0,
  dr1,
  dr2,
  dr3,
  dr6,
  dr7,
  ds,
  dx,
  eax,
  ebx,
  ecx,
  edi,
  esi,
  esp,
  fs,
  type Immediate,
  mem,
  mem16,
  mem32,
  mem8,
  ss,
} from "../../../guests/assembler/mod.ts";
import { defineGate, registers, type TortureCase, word } from "../torture/harness.ts";
import { access, AT, FLAG, PAGE_BYTES, SELECTOR, TYPE, VECTOR } from "../torture/layout.ts";

/** Data that breakpoints watch, and the handler's log: a count, then DR6 and RF of each event. */
const WATCHED = AT.FRAMES + 0x100, LOG = AT.FRAMES + 3 * PAGE_BYTES, LOG_COUNT = LOG + 0xffc;
const LOGGED = 4;

const CR4_DE = 8;
/** Conditions and lengths as DR7 has them. */
const EXECUTE = 0, WRITE = 1, IO = 2, ACCESS = 3;
const LEN = { 1: 0, 2: 1, 4: 3 } as const;

interface Breakpoint {
  readonly at: Immediate;
  readonly condition?: number;
  readonly length?: 1 | 2 | 4;
  /** Enabled globally, unless told locally or not at all. */
  readonly enable?: 0 | 1 | 2;
}

const REGISTERS = [dr0, dr1, dr2, dr3];

/** Sets breakpoints; clobbers eax. */
function arm(asm: Assembler, breakpoints: readonly Breakpoint[], extra = 0): void {
  let control = extra;
  breakpoints.forEach(({ at, condition = EXECUTE, length = 1, enable = 2 }, i) => {
    asm.mov(eax, at).mov(REGISTERS[i], eax);
    control |= (enable << (2 * i)) | ((condition | (LEN[length] << 2)) << (16 + 4 * i));
  });
  asm.mov(eax, control >>> 0).mov(dr7, eax);
}

const logs = Array.from({ length: LOGGED }, (_, i) => [
  word(`dr6.${i}`, LOG + 8 * i),
  word(`rf.${i}`, LOG + 8 * i + 4, FLAG.RF),
]).flat();

interface DebugCase extends Omit<TortureCase, "hook" | "continues"> {
  /** Set before the body. */
  readonly breakpoints?: readonly Breakpoint[];
  /** Bits of DR7 beside the breakpoints'. */
  readonly control?: number;
  /** RF is set in what the handler returns to. */
  readonly resume?: boolean;
  readonly continues?: readonly number[];
}

function debugCase(each: DebugCase): TortureCase {
  const { breakpoints = [], control = 0, resume = false, continues = [VECTOR.DB], show = [] } = each;
  return {
    ...each,
    continues,
    setup(asm) {
      asm.xor(eax, eax).mov(dr7, eax).mov(dr6, eax).mov(mem(LOG_COUNT), eax);
      each.setup?.(asm);
      arm(asm, breakpoints, control);
    },
    hook(asm) {
      const more = asm.uniqueLabel("debug.more");
      asm.mov(ecx, mem(LOG_COUNT)).lea(edi, mem(LOG)).shl(ecx, 3).add(edi, ecx);
      asm.mov(eax, dr6).mov(mem(edi), eax).mov(eax, mem(addr("saved.eflags"))).mov(mem(edi, { disp: 4 }), eax);
      asm.inc(mem32(LOG_COUNT)).xor(eax, eax).mov(dr6, eax);
      if (resume) asm.mov(edi, mem(addr("saved.esp"))).or(mem32(edi, { disp: EFLAGS_IN_FRAME }), FLAG.RF);
      // An event that ends the case disarms.
      for (const vector of continues) asm.cmp(mem32(addr("saved.vector")), vector).je(more);
      asm.mov(dr7, eax).label(more);
    },
    show: [...logs, ...show],
  };
}

/** From where the handler saved ESP: DS, vector, error code, EIP, CS, then EFLAGS. */
const EFLAGS_IN_FRAME = 20;

export function debugCases(): TortureCase[] {
  return [...registerCases(), ...instructions(), ...data(), ...ports(), ...steps()].map(debugCase);
}

/** What MOV to and from debug registers does, and who may. */
function registerCases(): DebugCase[] {
  const ones = (asm: Assembler) => asm.mov(eax, -1);
  const cases: DebugCase[] = [
    { name: "dr6 takes ones", body: (asm) => ones(asm).mov(dr6, eax).mov(ebx, dr6) },
    { name: "dr6 takes zeros", body: (asm) => asm.xor(eax, eax).mov(dr6, eax).mov(ebx, dr6) },
    { name: "dr7 takes zeros", body: (asm) => asm.xor(eax, eax).mov(dr7, eax).mov(ebx, dr7) },
    {
      name: "dr7 takes ones but for enables and GD",
      body: (asm) => asm.mov(eax, 0xffff_df00).mov(dr7, eax).mov(ebx, dr7),
    },
    { name: "dr3 takes anything", body: (asm) => asm.mov(eax, 0x8765_4321).mov(dr3, eax).mov(ebx, dr3) },
    { name: "dr4 is dr6", body: (asm) => asm.mov(eax, 0xffff_0ff5).bytes([0x0f, 0x23, 0xe0]).mov(ebx, dr6) },
    { name: "dr5 is dr7", body: (asm) => asm.mov(eax, 0x0001_0000).bytes([0x0f, 0x23, 0xe8]).mov(ebx, dr7) },
    { name: "read of dr5", body: (asm) => asm.bytes([0x0f, 0x21, 0xeb]) },
    { name: "general detect on a read", control: 0x2000, body: (asm) => asm.mov(ebx, dr0) },
    { name: "general detect on a write", control: 0x2000, body: (asm) => asm.mov(dr0, ebx).mov(ebx, dr7) },
    { name: "general detect goes with the handler's entry", control: 0x2000, body: (asm) => asm.int1().mov(ebx, dr7) },
  ];
  for (const [name, bytes] of [["write", 0x23], ["read", 0x21]] as const) {
    cases.push({
      name: `${name} of dr4 with CR4.DE`,
      setup: (asm) => asm.mov(eax, CR4_DE).mov(cr4, eax),
      body: (asm) => asm.bytes([0x0f, bytes, 0xe0]),
    }, {
      name: `${name} of dr0 at CPL 3`,
      level: 3,
      body: (asm) => asm.bytes([0x0f, bytes, 0xc0]),
    });
  }
  return cases.map((each) => ({ ...each, show: registers("ebx") }));
}

/** Breakpoints on instructions: faults before them, once for each, and RF. */
function instructions(): DebugCase[] {
  const bodies: Readonly<Record<string, (asm: Assembler, at: string) => unknown>> = {
    "a nop": (asm, at) => asm.nop().label(at).nop().nop(),
    "an instruction with a prefix": (asm, at) => asm.nop().label(at).mov(ax, cx),
    "the middle of an instruction": (asm, at) => asm.bytes([0xb8]).label(at).dd(0x9090_9090),
    "an invalid instruction": (asm, at) => asm.nop().label(at).ud2(),
    "the instruction after a load of ss": (asm, at) => asm.mov(eax, ss).mov(ss, eax).label(at).nop().nop(),
    "int n": (asm, at) => asm.nop().label(at).int(VECTOR.USER),
    "the target of a jump": (asm, at) => asm.jmp(at).ud2().label(at).nop(),
    "a rep movsb": (asm, at) => {
      asm.mov(esi, WATCHED).mov(edi, WATCHED + 8).mov(ecx, 3).label(at).rep().movsb().nop();
    },
    "a loop": (asm, at) => asm.mov(ecx, 3).label(at).loop(at),
    "popf": (asm, at) => asm.push(FLAG.FIXED).label(at).popf().nop(),
    "a page read by the same instruction": (asm, at) => asm.label(at).mov(eax, mem(addr(at))),
  };
  const cases: DebugCase[] = [];
  for (const [name, body] of Object.entries(bodies)) {
    for (const level of [0, 3] as const) {
      if (level === 3 && name.includes("ss")) continue;
      const at = `debug.${cases.length}`;
      cases.push({
        name: `breakpoint on ${name} at CPL ${level}`,
        level,
        breakpoints: [{ at: addr(at) }],
        resume: true,
        continues: [VECTOR.DB, VECTOR.USER],
        body: (asm) => body(asm, at),
        show: registers("ecx"),
      });
    }
  }
  cases.push({
    name: "two breakpoints on one instruction",
    breakpoints: [{ at: addr("debug.two"), enable: 1 }, { at: 0 }, { at: addr("debug.two") }],
    resume: true,
    body: (asm) => asm.nop().label("debug.two").nop(),
  }, {
    name: "a breakpoint that is not enabled",
    breakpoints: [{ at: addr("debug.off"), enable: 0 }],
    resume: true,
    body: (asm) => asm.nop().label("debug.off").nop(),
  }, {
    name: "without RF the breakpoint fires again",
    breakpoints: [{ at: addr("debug.again") }],
    body: (asm) => asm.nop().label("debug.again").nop(),
  }, {
    name: "iret sets RF for the breakpoint's instruction",
    breakpoints: [{ at: addr("debug.rf") }],
    body: (asm) =>
      asm.push(FLAG.FIXED | FLAG.RF).push(SELECTOR.CODE).push(addr("debug.rf")).iretd().label("debug.rf").nop(),
  }, {
    name: "RF is gone after one instruction",
    breakpoints: [{ at: addr("debug.rf2") }],
    resume: true,
    body: (asm) =>
      asm.push(FLAG.FIXED | FLAG.RF).push(SELECTOR.CODE).push(addr("debug.rf1")).iretd().label("debug.rf1").nop().label(
        "debug.rf2",
      ).nop(),
  }, {
    name: "pushf does not show RF",
    body: (asm) =>
      asm.push(FLAG.FIXED | FLAG.RF).push(SELECTOR.CODE).push(addr("debug.rf3")).iretd().label("debug.rf3").pushf().pop(
        ebx,
      ),
    show: registers("ebx"),
  });
  return cases;
}

/** Breakpoints on data: traps after the instruction. */
function data(): DebugCase[] {
  const cases: DebugCase[] = [];
  for (const condition of [WRITE, ACCESS]) {
    for (const length of [1, 2, 4] as const) {
      for (const [what, access] of [["read", false], ["write", true]] as const) {
        for (const size of [1, 4] as const) {
          const each = (offset: number): DebugCase => ({
            name: `${what} of ${size} at ${offset}, condition ${condition}, length ${length}`,
            breakpoints: [{ at: WATCHED + 4, condition, length }],
            body(asm) {
              const at = WATCHED + 4 + offset, operand = size === 1 ? mem8(at) : mem32(at);
              if (access) asm.mov(operand, 1);
              else asm.cmp(operand, 1);
              asm.nop().nop();
            },
          });
          const offsets = [-size, 1 - size, 0, length - 1, length];
          for (const offset of new Set(offsets)) cases.push(each(offset));
        }
      }
    }
  }
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    "inc": (asm) => asm.inc(mem32(WATCHED)).nop(),
    "xchg": (asm) => asm.xchg(mem(WATCHED), ebx).nop(),
    "cmpxchg that fails": (asm) => asm.cmpxchg(mem32(WATCHED), ebx).nop(),
    "bt": (asm) => asm.bt(mem32(WATCHED), 3).nop(),
    "movsd, source": (asm) => asm.mov(esi, WATCHED).mov(edi, WATCHED + 0x40).movsd().nop(),
    "movsd, destination": (asm) => asm.mov(edi, WATCHED).mov(esi, WATCHED + 0x40).movsd().nop(),
    "rep stosb over it": (asm) => asm.mov(edi, WATCHED - 1).mov(ecx, 6).rep().stosb().nop(),
    "rep lodsd with one hit": (asm) => asm.mov(esi, WATCHED - 4).mov(ecx, 3).rep().lodsd().nop(),
    "push": (asm) => asm.mov(esp, WATCHED + 4).push(1).nop(),
    "pop": (asm) => asm.mov(esp, WATCHED).pop(ebx).nop(),
    "ret": (asm) => asm.mov(mem32(WATCHED), addr("debug.ret")).mov(esp, WATCHED).ret().label("debug.ret"),
    "load of ss, then nop": (asm) => asm.mov(mem16(WATCHED), SELECTOR.DATA).mov(ss, mem16(WATCHED)).nop().nop(),
    "lgdt": (asm) => asm.mov(eax, ds).sgdt(mem(WATCHED)).lgdt(mem(WATCHED)).nop(),
    "an access that faults": (asm) =>
      asm.mov(ebx, 0).mov(fs, ebx).mov(eax, mem(WATCHED)).mov(mem(0, { segment: fs }), eax),
    "a push that faults after its read": (asm) => asm.mov(eax, 0).mov(fs, eax).push(mem32(WATCHED, { segment: fs })),
    "fld": (asm) => asm.fninit().fld(mem32(WATCHED)).nop(),
  };
  for (const [name, body] of Object.entries(bodies)) {
    cases.push({
      name: `watched: ${name}`,
      // At CPL 0 the events would be pushed over the watched stack.
      level: ["push", "pop", "ret"].includes(name) ? 3 : 0,
      breakpoints: [{ at: WATCHED, condition: ACCESS, length: 4 }],
      continues: [VECTOR.DB, VECTOR.USER],
      body,
      show: registers("ecx", "ebx"),
    });
  }
  cases.push({
    name: "watched: load of ss, then int n: the trap comes at the handler's first instruction",
    breakpoints: [{ at: WATCHED, condition: ACCESS, length: 4 }],
    setup(asm) {
      asm.mov(mem16(WATCHED), SELECTOR.DATA);
      const offset = addr("debug.entered");
      defineGate(asm, { vector: VECTOR.KERNEL }, { access: access(TYPE.TRAP_GATE32), selector: SELECTOR.CODE, offset });
    },
    body: (asm) => asm.mov(ss, mem16(WATCHED)).int(VECTOR.KERNEL).nop().label("debug.entered").nop(),
  }, {
    name: "two data breakpoints at once",
    breakpoints: [{ at: WATCHED, condition: WRITE, length: 4 }, { at: WATCHED + 2, condition: ACCESS, length: 2 }],
    body: (asm) => asm.mov(mem32(WATCHED), 1).nop(),
  }, {
    name: "a data breakpoint and one on the next instruction",
    breakpoints: [{ at: WATCHED, condition: WRITE, length: 4 }, { at: addr("debug.next") }],
    resume: true,
    body: (asm) => asm.mov(mem32(WATCHED), 1).label("debug.next").nop(),
  }, {
    name: "an unaligned breakpoint watches what its length covers",
    breakpoints: [{ at: WATCHED + 3, condition: WRITE, length: 4 }],
    body: (asm) => asm.mov(mem8(WATCHED), 1).nop(),
  });
  return cases;
}

/** Breakpoints on ports, with CR4.DE. */
function ports(): DebugCase[] {
  const PORT = 0x80;
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    "out byte": (asm) => asm.out(PORT, al).nop(),
    "out dword below": (asm) => asm.out(PORT - 3, eax).nop(),
    "out word, the port before": (asm) => asm.out(PORT - 2, ax).nop(),
    "in byte": (asm) => asm.in(al, PORT).nop(),
    "outsb": (asm) => asm.mov(dx, PORT).mov(esi, WATCHED).outsb().nop(),
    "rep outsb": (asm) => asm.mov(dx, PORT).mov(esi, WATCHED).mov(ecx, 2).rep().outsb().nop(),
    "memory at the port's address": (asm) => asm.mov(al, mem8(PORT)).nop(),
  };
  return Object.entries(bodies).map(([name, body]) => ({
    name: `port: ${name}`,
    breakpoints: [{ at: PORT, condition: IO, length: 1 }],
    setup: (asm) => asm.mov(eax, CR4_DE).mov(cr4, eax),
    body,
    show: registers("ecx"),
  }));
}

/** Single steps. */
function steps(): DebugCase[] {
  const popTf = (asm: Assembler) => asm.push(FLAG.FIXED | FLAG.TF).popf();
  const stop = (asm: Assembler) => asm.push(FLAG.FIXED).popf();
  const bodies: Readonly<Record<string, (asm: Assembler) => unknown>> = {
    "popf and two instructions": (asm) => popTf(asm).nop().nop(),
    "until popf clears TF": (asm) => stop(popTf(asm)).nop().nop(),
    "a load of ss": (asm) => popTf(asm.mov(eax, ss)).mov(ss, eax).nop().nop(),
    "int n": (asm) => popTf(asm).int(VECTOR.USER).nop(),
    "int3": (asm) => popTf(asm).int3().nop(),
    "int1": (asm) => popTf(asm).int1().nop(),
    "rep movsb": (asm) => popTf(asm.mov(esi, WATCHED + 0x40).mov(edi, WATCHED + 0x80).mov(ecx, 2)).rep().movsb().nop(),
    "pushf shows TF": (asm) => popTf(asm).pushf().pop(ebx),
    "a data breakpoint too": (asm) => popTf(asm).mov(mem32(WATCHED), 1).nop(),
    "an invalid instruction": (asm) => popTf(asm).ud2(),
    "iret sets TF": (asm) =>
      asm.push(FLAG.FIXED | FLAG.TF).push(SELECTOR.CODE).push(addr("debug.step")).iretd().label("debug.step").nop(),
    "cpuid": (asm) => popTf(asm.xor(eax, eax)).cpuid().nop(),
    "sti, then cli": (asm) => popTf(asm).sti().cli().nop(),
  };
  const cases: DebugCase[] = [];
  for (const [name, body] of Object.entries(bodies)) {
    cases.push({
      name: `step: ${name}`,
      breakpoints: [{ at: WATCHED, condition: WRITE, length: 4 }],
      continues: [VECTOR.DB, VECTOR.USER, VECTOR.BP],
      body,
      show: registers("ecx", "ebx"),
    });
  }
  cases.push({
    name: "int1 without single step sets nothing",
    body: (asm) => asm.int1().nop(),
  }, {
    name: "step: a breakpoint on the next instruction",
    breakpoints: [{ at: addr("debug.stepped") }],
    resume: true,
    body: (asm) => popTf(asm).nop().label("debug.stepped").nop(),
  }, {
    name: "step: at CPL 3, over a gate to CPL 0",
    level: 3,
    continues: [VECTOR.DB, VECTOR.USER],
    setup: (asm) =>
      defineGate(asm, { vector: VECTOR.KERNEL }, {
        access: access(TYPE.TRAP_GATE32, 3),
        selector: SELECTOR.CODE,
        offset: addr("debug.gate"),
      }),
    body: (asm) => popTf(asm).int(VECTOR.KERNEL).nop(),
    routines: (asm) => asm.label("debug.gate").nop().iretd(),
  });
  return cases;
}
