// Hardware task switches (Intel SDM volume 3A, chapter 7): every way in and out between 32-bit and 16-bit tasks, what the
// old task's segment and the descriptors say afterwards, and faults on both sides of the commit point.

import {
  addr,
  type Assembler,
  ax,
  cr0,
  cr3,
  dr6,
  dr7,
  eax,
  ebx,
  ecx,
  edx,
  esp,
  far,
  fs,
  type Immediate,
  mem,
  mem16,
  mem32,
} from "../../../guests/assembler/mod.ts";
import { defineDescriptor, defineGate, enablePaging, registers, type TortureCase, word } from "../torture/harness.ts";
import {
  access,
  AT,
  CODE_OF,
  DATA_OF,
  FLAG,
  PAGE,
  PAGE_BYTES,
  segment,
  SELECTOR,
  TSS,
  TSS16,
  TSS16_LIMIT,
  TSS_LIMIT,
  TYPE,
  VECTOR,
} from "../torture/layout.ts";

/** The task switched to, and the one that handles its faults: segments, and descriptors in the GDT. */
const TASK_AT = AT.FRAMES + PAGE_BYTES, HANDLER_AT = AT.FRAMES + 2 * PAGE_BYTES;
const TASK = SELECTOR.FREE, HANDLER = SELECTOR.FREE + 8, GATE = SELECTOR.FREE + 16, BAD = SELECTOR.FREE + 24;
/** Tops of their stacks. */
const TASK_STACK = AT.FRAMES + 0x800, HANDLER_STACK = AT.FRAMES + 0xc00, INNER_STACK = AT.FRAMES + 0x400;

/** Offsets in 32-bit and 16-bit task-state segments. */
const AT32 = { CR3: 0x1c, EIP: 0x20, EFLAGS: 0x24, EAX: 0x28, ESP: 0x38, ES: 0x48, LDT: 0x60, TRAP: 0x64 } as const;
const AT16 = { IP: 0x0e, FLAGS: 0x10, AX: 0x12, SP: 0x1a, ES: 0x22, LDT: 0x2a } as const;

/** What a task-state segment is filled with. */
interface TaskFields {
  readonly eip: Immediate;
  readonly eflags?: number;
  /** ES, CS, SS, DS, FS, GS. */
  readonly selectors?: Partial<Record<"es" | "cs" | "ss" | "ds" | "fs" | "gs", number>>;
  readonly level?: 0 | 3;
  readonly ldt?: number;
  readonly trap?: number;
  readonly esp?: number;
}

const SEGMENT_NAMES = ["es", "cs", "ss", "ds", "fs", "gs"] as const;

function selectorsOf({ selectors = {}, level = 0 }: TaskFields): number[] {
  return SEGMENT_NAMES.map((name) => selectors[name] ?? (name === "cs" ? CODE_OF : DATA_OF)[level]);
}

function writeTask32(asm: Assembler, at: number, task: TaskFields): void {
  asm.mov(mem32(at + AT32.EIP), task.eip).mov(mem32(at + AT32.EFLAGS), task.eflags ?? FLAG.FIXED);
  for (let i = 0; i < 8; i++) asm.mov(mem32(at + AT32.EAX + 4 * i), 0x1111_1111 * (i + 8));
  asm.mov(mem32(at + AT32.ESP), task.esp ?? TASK_STACK);
  selectorsOf(task).forEach((selector, i) => asm.mov(mem32(at + AT32.ES + 4 * i), selector));
  asm.mov(mem32(at + AT32.LDT), task.ldt ?? 0).mov(mem16(at + AT32.TRAP), task.trap ?? 0);
  asm.mov(mem32(at + TSS.ESP0), INNER_STACK).mov(mem32(at + TSS.SS0), SELECTOR.DATA);
}

/** A 16-bit task has 16 bits of EIP: its code lies where 16-bit code does. */
function writeTask16(asm: Assembler, at: number, task: TaskFields): void {
  asm.mov(mem16(at + AT16.IP), task.eip).mov(mem16(at + AT16.FLAGS), task.eflags ?? FLAG.FIXED);
  for (let i = 0; i < 8; i++) asm.mov(mem16(at + AT16.AX + 2 * i), 0x1111 * (i + 7));
  asm.mov(mem16(at + AT16.SP), 0x800);
  const selectors = [SELECTOR.DATA, SELECTOR.CODE16, SELECTOR.DATA16, SELECTOR.DATA];
  selectors.forEach((selector, i) => asm.mov(mem16(at + AT16.ES + 2 * i), selector));
  asm.mov(mem16(at + AT16.LDT), 0).mov(mem16(at + TSS16.SP0), 0x400).mov(mem16(at + TSS16.SS0), SELECTOR.DATA16);
}

const tss32 = (base: number, bits = access(TYPE.TSS32), limit: number = TSS_LIMIT) =>
  segment({ base, limit, access: bits, big: false });
const tss16 = (base: number, bits = access(TYPE.TSS16), limit: number = TSS16_LIMIT) =>
  segment({ base, limit, access: bits, big: false });
const taskGate = (selector: number, bits = access(TYPE.TASK_GATE)): [number, number] => [selector << 16, bits << 8];

/** Copies 16-bit code to where CODE16, and the stack to where DATA16, reach it. */
function placeLow(asm: Assembler, label: string): void {
  asm.mov(eax, mem(addr(label))).mov(mem(AT.LOW_CODE), eax).mov(eax, mem(addr(label, 4))).mov(
    mem(AT.LOW_CODE + 4),
    eax,
  );
  asm.mov(eax, mem(addr(label, 8))).mov(mem(AT.LOW_CODE + 8), eax);
  defineDescriptor(asm, SELECTOR.CODE16, segment({ base: AT.LOW_CODE, limit: 0xffff, access: 0x9b, big: false }));
  defineDescriptor(asm, SELECTOR.DATA16, segment({ base: AT.LOW_DATA, limit: 0xffff, access: 0x93, big: false }));
}

/** The busy bits, the back link, and what was saved of the old task but its EIP, which IRET tells. */
const aftermath = [
  word("old", AT.GDT + SELECTOR.TSS + 4, 0xff00),
  word("new", AT.GDT + TASK + 4, 0xff00),
  word("link", TASK_AT, 0xffff),
];
const savedState = [
  word("flags", AT.TSS + AT32.EFLAGS),
  word("eax", AT.TSS + AT32.EAX),
  word("esp", AT.TSS + AT32.ESP),
  word("es", AT.TSS + AT32.ES),
  word("cs", AT.TSS + AT32.ES + 4),
  word("edi", AT.TSS + AT32.EAX + 28),
];

let count = 0;
/** A label of its own for each case's task. */
const taskLabel = (): string => `tasks.${count++}`;

/** Ways from one task to another, after `setup` of the task's segment. */
const entries: Readonly<Record<string, { setup?: (asm: Assembler) => unknown; body: (asm: Assembler) => unknown }>> = {
  "jmp to the TSS": { body: (asm) => asm.jmpFar(far(TASK, 0x1234)) },
  "call to the TSS": { body: (asm) => asm.callFar(far(TASK, 0x1234)) },
  "jmp to a gate": {
    setup: (asm) => defineDescriptor(asm, GATE, taskGate(TASK)),
    body: (asm) => asm.jmpFar(far(GATE, 0)),
  },
  "call to a gate": {
    setup: (asm) => defineDescriptor(asm, GATE, taskGate(TASK)),
    body: (asm) => asm.callFar(far(GATE, 0)),
  },
  "call to a gate in the LDT": {
    setup(asm) {
      const [low, high] = taskGate(TASK);
      asm.mov(mem32(AT.LDT), low).mov(mem32(AT.LDT + 4), high).mov(eax, SELECTOR.LDT).lldt(ax);
    },
    body: (asm) => asm.callFar(far(4, 0)),
  },
  "int n": { setup: idtGate(VECTOR.KERNEL), body: (asm) => asm.int(VECTOR.KERNEL) },
  "int3": { setup: idtGate(VECTOR.BP), body: (asm) => asm.int3() },
  "#UD": { setup: idtGate(VECTOR.UD), body: (asm) => asm.ud2() },
  "#GP with its error code": { setup: idtGate(VECTOR.GP), body: (asm) => asm.mov(eax, 0x1f8).mov(fs, ax) },
  "#DF after #GP without a gate": {
    setup(asm) {
      idtGate(VECTOR.DF)(asm);
      defineGate(asm, { vector: VECTOR.GP }, { access: access(TYPE.INTERRUPT_GATE32) & ~0x80, selector: 8, offset: 0 });
    },
    body: (asm) => asm.mov(eax, 0x1f8).mov(fs, ax),
  },
};

function idtGate(vector: number, bits = access(TYPE.TASK_GATE), selector: number = TASK): (asm: Assembler) => void {
  return (asm) => {
    const [low, high] = taskGate(selector, bits);
    asm.mov(mem32(AT.IDT + vector * 8), low).mov(mem32(AT.IDT + vector * 8 + 4), high);
  };
}

export function taskCases(): TortureCase[] {
  count = 0;
  return [
    ...switches(),
    ...returns(),
    ...refusals(),
    ...badLinks(),
    ...faultsInNewTask(),
    ...handledByTasks(),
    ...specialStates(),
  ];
}

/** Every way in, from a 32-bit and a 16-bit task to a 32-bit and a 16-bit task. */
function switches(): TortureCase[] {
  const cases: TortureCase[] = [];
  for (const [name, { setup, body }] of Object.entries(entries)) {
    for (const to of [32, 16] as const) {
      for (const from of [32, 16] as const) {
        const label = taskLabel();
        cases.push({
          name: `${name} from ${from} to ${to}`,
          flags: FLAG.CF | FLAG.DF,
          setup(asm) {
            if (from === 16) asm.mov(eax, SELECTOR.TSS16).ltr(ax);
            if (to === 32) writeTask32(asm, TASK_AT, { eip: addr(label), eflags: FLAG.FIXED | FLAG.ZF | FLAG.ID });
            else {
              placeLow(asm, label);
              writeTask16(asm, TASK_AT, { eip: 0, eflags: FLAG.FIXED | FLAG.ZF });
            }
            defineDescriptor(asm, TASK, to === 32 ? tss32(TASK_AT) : tss16(TASK_AT));
            setup?.(asm);
          },
          body,
          routines(asm) {
            asm.align(16).bits(to).label(label).str(ebx).int(VECTOR.END).zeros(16).bits(32);
          },
          show: [
            ...aftermath,
            ...registers("eax", "ecx", "esp", "ebp", "edi", "ds", "es", "fs", "gs"),
            word("tr", addr("saved.ebx"), 0xffff),
            word("pushed", to === 32 ? TASK_STACK - 4 : AT.LOW_DATA + 0x7fc),
            ...(from === 32 ? savedState : [
              word("old16", AT.GDT + SELECTOR.TSS16 + 4, 0xff00),
              word("flags", AT.TSS16 + AT16.FLAGS),
              word("sp", AT.TSS16 + AT16.SP),
              word("ds", AT.TSS16 + AT16.ES + 6, 0xffff),
            ]),
          ],
        });
      }
    }
  }
  return cases;
}

/** There and back again: IRET with NT, twice in a row; the task goes on where it stopped. */
function returns(): TortureCase[] {
  const cases: TortureCase[] = [];
  for (const [name, { setup, body }] of Object.entries(entries)) {
    if (name.startsWith("jmp") || name.startsWith("#")) continue;
    const label = taskLabel();
    cases.push({
      name: `${name} and iret, twice`,
      flags: FLAG.CF,
      setup(asm) {
        writeTask32(asm, TASK_AT, { eip: addr(label) });
        defineDescriptor(asm, TASK, tss32(TASK_AT));
        setup?.(asm);
      },
      body(asm) {
        body(asm);
        asm.inc(ebx);
        body(asm);
      },
      routines: (asm) => asm.align(16).label(label).mov(eax, 1).iretd().mov(ecx, 2).iretd(),
      show: [
        ...aftermath,
        ...registers("eax", "ebx", "ecx"),
        word("flags", TASK_AT + AT32.EFLAGS),
        word("teax", TASK_AT + AT32.EAX),
        word("tecx", TASK_AT + AT32.EAX + 4),
      ],
    });
  }
  const low = taskLabel(), inner = taskLabel();
  cases.push({
    name: "a 32-bit task returns to a 16-bit one, which a 32-bit one had called",
    origin: 0,
    setup(asm) {
      placeLow(asm, low);
      writeTask16(asm, TASK_AT, { eip: 0 });
      writeTask32(asm, HANDLER_AT, { eip: addr(inner), esp: HANDLER_STACK });
      defineDescriptor(asm, TASK, tss16(TASK_AT));
      defineDescriptor(asm, HANDLER, tss32(HANDLER_AT));
      idtGate(VECTOR.KERNEL, access(TYPE.TASK_GATE), HANDLER)(asm);
    },
    body: (asm) => asm.callFar(far(TASK, 0)),
    routines(asm) {
      asm.align(16).bits(16).label(low).int(VECTOR.KERNEL).inc(ebx).int(VECTOR.END).zeros(16).bits(32);
      asm.label(inner).mov(eax, 1).iretd();
    },
    show: [
      ...aftermath,
      ...registers("eax", "ebx", "esp"),
      word("handler", AT.GDT + HANDLER + 4, 0xff00),
      word("handlerLink", HANDLER_AT, 0xffff),
      word("ip", TASK_AT + AT16.IP),
    ],
  });
  const label = taskLabel(), fault = taskLabel();
  cases.push({
    name: "a fault's task returns to the faulting instruction",
    continues: [VECTOR.USER],
    setup(asm) {
      writeTask32(asm, TASK_AT, { eip: addr(fault) });
      defineDescriptor(asm, TASK, tss32(TASK_AT));
      idtGate(VECTOR.UD)(asm);
    },
    // The task makes a NOP pair of UD2.
    body: (asm) => asm.label(label).ud2().inc(ebx),
    routines: (asm) => asm.align(16).label(fault).mov(mem16(addr(label)), 0x9090).iretd(),
    show: [...aftermath, ...registers("ebx"), word("rf", AT.TSS + AT32.EFLAGS, FLAG.RF)],
  }, {
    name: "iret without NT is no task's return",
    body: (asm) => asm.push(FLAG.FIXED).push(SELECTOR.CODE).push(addr("endOfIret")).iretd().label("endOfIret"),
  });
  return cases;
}

/** TSS descriptors and gates that may not be used: faults of the old task, which is left as it was. */
function refusals(): TortureCase[] {
  const cases: TortureCase[] = [];
  const descriptors: Readonly<Record<string, [number, number]>> = {
    "not present": tss32(TASK_AT, access(TYPE.TSS32) & ~0x80),
    "busy": tss32(TASK_AT, access(TYPE.TSS32_BUSY)),
    "busy, not present": tss32(TASK_AT, access(TYPE.TSS32_BUSY) & ~0x80),
    "limit 66": tss32(TASK_AT, access(TYPE.TSS32), 0x66),
    "16-bit, limit 2a": tss16(TASK_AT, access(TYPE.TSS16), 0x2a),
    "16-bit, busy": tss16(TASK_AT, access(TYPE.TSS16_BUSY)),
    "an LDT": tss32(TASK_AT, access(TYPE.LDT)),
    "data": segment({ access: access(TYPE.DATA_RW) }),
  };
  const ways = ["jmp to the TSS", "call to the TSS", "jmp to a gate", "call to a gate", "int n", "#UD"];
  for (const way of ways) {
    const { setup, body } = entries[way];
    for (const [what, words] of Object.entries(descriptors)) {
      // A direct transfer to data is another matter.
      if (what === "data" && way.endsWith("the TSS")) continue;
      cases.push({
        name: `${way}: ${what}`,
        setup(asm) {
          writeTask32(asm, TASK_AT, { eip: 0 });
          defineDescriptor(asm, TASK, words);
          setup?.(asm);
        },
        body,
        show: [...aftermath, word("tr", AT.TSS + AT32.EAX)],
      });
    }
  }
  const gates: Readonly<Record<string, [number, number]>> = {
    "not present": taskGate(TASK, access(TYPE.TASK_GATE) & ~0x80),
    "to no TSS": taskGate(0),
    "to a TSS in the LDT": taskGate(4),
    "beyond the GDT": taskGate(0x1000),
  };
  for (const [what, [low, high]] of Object.entries(gates)) {
    const open = (asm: Assembler) => {
      writeTask32(asm, TASK_AT, { eip: 0 });
      defineDescriptor(asm, TASK, tss32(TASK_AT));
      asm.mov(eax, SELECTOR.LDT).lldt(ax);
    };
    cases.push({
      name: `jmp to a gate ${what}`,
      setup(asm) {
        open(asm);
        defineDescriptor(asm, GATE, [low, high]);
      },
      body: (asm) => asm.jmpFar(far(GATE, 0)),
      show: aftermath,
    });
    for (const [vector, body] of [[VECTOR.KERNEL, entries["int n"].body], [VECTOR.UD, entries["#UD"].body]] as const) {
      cases.push({
        name: `vector ${vector.toString(16)} through a gate ${what}`,
        setup(asm) {
          open(asm);
          asm.mov(mem32(AT.IDT + vector * 8), low).mov(mem32(AT.IDT + vector * 8 + 4), high);
        },
        body,
        show: aftermath,
      });
    }
  }
  return [...cases, ...privileges()];
}

/** DPL of the TSS and of the gate against CPL and RPL. */
function privileges(): TortureCase[] {
  const cases: TortureCase[] = [];
  const label = taskLabel();
  const add = (name: string, setup: (asm: Assembler) => unknown, body: (asm: Assembler) => unknown, level: 0 | 3 = 3) =>
    cases.push({
      name,
      level,
      setup(asm) {
        writeTask32(asm, TASK_AT, { eip: addr("tasks.end") });
        setup(asm);
      },
      body,
      routines: cases.length > 0 ? undefined : (asm) => asm.label(label).label("tasks.end").int(VECTOR.END),
      show: aftermath,
    });
  for (const dpl of [0, 3]) {
    for (const rpl of [0, 3]) {
      add(
        `jmp from CPL 3 to a TSS of DPL ${dpl}, RPL ${rpl}`,
        (asm) => defineDescriptor(asm, TASK, tss32(TASK_AT, access(TYPE.TSS32, dpl))),
        (asm) => asm.jmpFar(far(TASK | rpl, 0)),
      );
      add(
        `call from CPL 3 to a gate of DPL ${dpl}, RPL ${rpl}`,
        (asm) => {
          defineDescriptor(asm, TASK, tss32(TASK_AT));
          defineDescriptor(asm, GATE, taskGate(TASK, access(TYPE.TASK_GATE, dpl)));
        },
        (asm) => asm.callFar(far(GATE | rpl, 0)),
      );
    }
    add(
      `int n from CPL 3 to a gate of DPL ${dpl}`,
      (asm) => {
        defineDescriptor(asm, TASK, tss32(TASK_AT));
        idtGate(VECTOR.KERNEL, access(TYPE.TASK_GATE, dpl))(asm);
      },
      (asm) => asm.int(VECTOR.KERNEL),
    );
  }
  add(
    "jmp from CPL 0 with RPL 3 to a TSS of DPL 0",
    (asm) => defineDescriptor(asm, TASK, tss32(TASK_AT)),
    (asm) => asm.jmpFar(far(TASK | 3, 0)),
    0,
  );
  add(
    "#UD at CPL 3 to a gate of DPL 0",
    (asm) => {
      defineDescriptor(asm, TASK, tss32(TASK_AT));
      idtGate(VECTOR.UD)(asm);
    },
    (asm) => asm.ud2(),
  );
  return cases;
}

/** IRET with NT to what the link says. */
function badLinks(): TortureCase[] {
  const links: Readonly<Record<string, { link: number; words?: [number, number] }>> = {
    "null": { link: 0 },
    "in the LDT": { link: TASK | 4, words: tss32(TASK_AT, access(TYPE.TSS32_BUSY)) },
    "beyond the GDT": { link: 0x1000 },
    "an available TSS": { link: TASK, words: tss32(TASK_AT) },
    "not present": { link: TASK, words: tss32(TASK_AT, access(TYPE.TSS32_BUSY) & ~0x80) },
    "limit 66": { link: TASK, words: tss32(TASK_AT, access(TYPE.TSS32_BUSY), 0x66) },
    "data": { link: SELECTOR.DATA },
    "a busy TSS": { link: TASK, words: tss32(TASK_AT, access(TYPE.TSS32_BUSY)) },
    "a busy TSS, with RPL 3": { link: TASK | 3, words: tss32(TASK_AT, access(TYPE.TSS32_BUSY)) },
  };
  return Object.entries(links).map(([what, { link, words }], i) => ({
    name: `iret with NT to ${what}`,
    setup(asm: Assembler) {
      writeTask32(asm, TASK_AT, { eip: addr("tasks.linked") });
      if (words !== undefined) defineDescriptor(asm, TASK, words);
      asm.mov(mem16(AT.TSS), link);
    },
    flags: FLAG.NT | FLAG.CF,
    body: (asm: Assembler) => asm.iretd(),
    routines: i > 0 ? undefined : (asm: Assembler) => asm.label("tasks.linked").int(VECTOR.END),
    show: [...aftermath, word("flags", AT.TSS + AT32.EFLAGS)],
  }));
}

/** Selectors of the new task that fail: the new task faults, with its own CPL 3, and switches to its own inner stack. */
function faultsInNewTask(): TortureCase[] {
  const bad = (bits: number, limit?: number) => segment({ access: bits, limit, pages: limit === undefined });
  const code3 = access(TYPE.CODE_XR, 3), data3 = access(TYPE.DATA_RW, 3);
  type Row = { fields: Partial<TaskFields>; words?: [number, number] };
  const rows: Record<string, Row> = {
    "nothing wrong": { fields: {} },
    "ldt not present": { fields: { ldt: BAD }, words: bad(access(TYPE.LDT) & ~0x80) },
    "ldt is data": { fields: { ldt: SELECTOR.DATA } },
    "ldt in the LDT": { fields: { ldt: SELECTOR.LDT | 4 } },
    "ldt beyond the GDT": { fields: { ldt: 0x1000 } },
    "eip beyond cs": { fields: { selectors: { cs: BAD | 3 } }, words: bad(code3, 0xff) },
  };
  const segments = {
    cs: {
      "null": 3,
      "beyond the GDT": 0x1003,
      "data": SELECTOR.DATA3,
      "not present": bad(code3 & ~0x80),
      "another level": bad(access(TYPE.CODE_XR, 2)),
      "conforming, more privileged": bad(access(TYPE.CODE_XR_CONFORMING, 0)),
      "a gate": taskGate(TASK),
    },
    ss: {
      "null": 3,
      "beyond the GDT": 0x1003,
      "read-only": bad(access(TYPE.DATA_RO, 3)),
      "code": SELECTOR.CODE3,
      "not present": bad(data3 & ~0x80),
      "another level": bad(access(TYPE.DATA_RW, 2)),
      "another RPL": SELECTOR.DATA3 & ~3,
    },
    ds: {
      "null": 3,
      "beyond the GDT": 0x1003,
      "not readable": bad(access(TYPE.CODE_XO, 3)),
      "not present": bad(data3 & ~0x80),
      "more privileged": bad(access(TYPE.DATA_RW, 2)),
      "conforming, more privileged": bad(access(TYPE.CODE_XR_CONFORMING, 0)),
      "a TSS": SELECTOR.TSS | 3,
      "in the LDT": 7,
    },
    gs: { "not present": bad(data3 & ~0x80), "beyond the GDT": 0x1003 },
  } as const;
  for (const [name, bads] of Object.entries(segments)) {
    for (const [what, value] of Object.entries(bads) as [string, number | [number, number]][]) {
      rows[`${name} ${what}`] = typeof value === "number"
        ? { fields: { selectors: { [name]: value } } }
        : { fields: { selectors: { [name]: BAD | 3 } }, words: value };
    }
  }
  const cases: TortureCase[] = [];
  for (const [what, { fields, words }] of Object.entries(rows)) {
    for (const way of ["jmp to the TSS", "call to a gate", "int n", "#UD"]) {
      const { setup, body } = entries[way];
      cases.push({
        name: `${way}: ${what}`,
        origin: addr("tasks.outer"),
        setup(asm) {
          writeTask32(asm, TASK_AT, { eip: addr("tasks.outer"), level: 3, ...fields });
          defineDescriptor(asm, TASK, tss32(TASK_AT));
          if (words !== undefined) defineDescriptor(asm, BAD, words);
          setup?.(asm);
        },
        body,
        hook: (asm) => asm.str(ax).mov(mem32(AT.FRAMES), eax),
        routines: cases.length > 0 ? undefined : (asm) => asm.label("tasks.outer").int(VECTOR.END),
        show: [...aftermath, word("tr", AT.FRAMES, 0xffff), ...registers("eax", "es")],
      });
    }
  }
  return cases;
}

/** A fault of the new task goes to a task of its own, where the error code is on the stack and the link tells whose it was. */
function handledByTasks(): TortureCase[] {
  const wrongs = {
    "its stack's segment is not present": {
      vector: VECTOR.SS,
      fields: { selectors: { ss: BAD } },
      words: segment({ access: access(TYPE.DATA_RW) & ~0x80 }),
    },
    "its data segment is beyond the GDT": {
      vector: VECTOR.TS,
      fields: { selectors: { fs: 0x1008 } },
      words: undefined,
    },
    "its code segment is not present": {
      vector: VECTOR.NP,
      fields: { selectors: { cs: BAD } },
      words: segment({ access: access(TYPE.CODE_XR) & ~0x80 }),
    },
    "its EIP is beyond the limit": {
      vector: VECTOR.GP,
      fields: { selectors: { cs: BAD } },
      words: segment({ access: access(TYPE.CODE_XR), limit: 0xff, pages: false }),
    },
  };
  return Object.entries(wrongs).flatMap(([what, { vector, fields, words }]) =>
    ["jmp to the TSS", "int n"].map((way): TortureCase => {
      const label = taskLabel(), { setup, body } = entries[way];
      return {
        name: `${way}, and a task handles that ${what}`,
        setup(asm) {
          writeTask32(asm, TASK_AT, { eip: 0x3000, ...fields });
          writeTask32(asm, HANDLER_AT, { eip: addr(label), esp: HANDLER_STACK });
          defineDescriptor(asm, TASK, tss32(TASK_AT));
          defineDescriptor(asm, HANDLER, tss32(HANDLER_AT));
          if (words !== undefined) defineDescriptor(asm, BAD, words);
          idtGate(vector, access(TYPE.TASK_GATE), HANDLER)(asm);
          setup?.(asm);
        },
        body,
        routines: (asm) => asm.align(16).label(label).pop(eax).str(ebx).int(VECTOR.END),
        show: [
          ...aftermath,
          ...registers("eax", "ebx", "esp"),
          word("handler", AT.GDT + HANDLER + 4, 0xff00),
          word("handlerLink", HANDLER_AT, 0xffff),
          word("eip", TASK_AT + AT32.EIP),
          word("cs", TASK_AT + AT32.ES + 4, 0xffff),
          word("ss", TASK_AT + AT32.ES + 8, 0xffff),
          word("fs", TASK_AT + AT32.ES + 16, 0xffff),
        ],
      };
    })
  );
}

/** What else a switch does: CR0.TS, CR3, LDTR, local breakpoints, the T bit, NT, V86 tasks. */
function specialStates(): TortureCase[] {
  const cases: TortureCase[] = [];
  const add = (
    name: string,
    fields: Partial<TaskFields>,
    task: (asm: Assembler) => unknown,
    rest: Partial<TortureCase> = {},
    way = "call to the TSS",
  ) => {
    const label = taskLabel();
    cases.push({
      name,
      body: entries[way].body,
      ...rest,
      setup(asm) {
        writeTask32(asm, TASK_AT, { eip: addr(label), ...fields });
        defineDescriptor(asm, TASK, tss32(TASK_AT));
        entries[way].setup?.(asm);
        rest.setup?.(asm);
      },
      routines(asm) {
        asm.align(16).label(label);
        task(asm);
        asm.int(VECTOR.END);
      },
      show: [...aftermath, ...registers("eax", "ebx", "ecx", "edx"), ...(rest.show ?? [])],
    });
  };
  add("CR0.TS is set", {}, (asm) => asm.mov(eax, cr0));
  add("CR3 is left alone without paging", {}, (asm) => asm.mov(eax, cr3), {
    setup: (asm) => asm.mov(eax, AT.PAGE_DIRECTORY).mov(cr3, eax).mov(mem32(TASK_AT + AT32.CR3), AT.FRAMES),
  });
  const otherDirectory = AT.FRAMES + 3 * PAGE_BYTES;
  add("CR3 is loaded with paging", {}, (asm) => asm.mov(eax, cr3).mov(ebx, mem(AT.WINDOW)), {
    setup(asm) {
      asm.call("buildTables").mov(mem32(AT.WINDOW_TABLE), AT.FRAMES | PAGE.P | PAGE.RW);
      asm.mov(eax, mem(AT.PAGE_DIRECTORY)).mov(mem(otherDirectory), eax).mov(mem(otherDirectory + 4), eax);
      asm.mov(mem32(TASK_AT + AT32.CR3), otherDirectory).mov(mem32(AT.FRAMES), 0x1234_5678);
      enablePaging(asm);
    },
  });
  add("the LDT is loaded before the segments in it", { ldt: SELECTOR.LDT, selectors: { ds: 7, es: 7 } }, (asm) => {
    asm.sldt(eax).mov(ebx, mem(AT.FRAMES));
  });
  add("local breakpoints go, global ones stay", {}, (asm) => asm.mov(eax, dr7).xor(ebx, ebx).mov(dr7, ebx), {
    setup: (asm) => asm.mov(eax, 0x3ff).mov(dr7, eax),
  });
  for (const way of ["jmp to the TSS", "call to the TSS", "int n"]) {
    add(
      `the T bit traps before the first instruction: ${way}`,
      { trap: 1 },
      (asm) => asm.mov(ecx, 1).mov(edx, dr6).xor(eax, eax).mov(dr6, eax),
      { continues: [VECTOR.DB], hook: (asm) => asm.nop(), setup: (asm) => asm.xor(eax, eax).mov(dr6, eax) },
      way,
    );
  }
  add(
    "NT in the segment's flags is loaded by jmp",
    { eflags: FLAG.FIXED | FLAG.NT | FLAG.AC },
    (asm) => {
      asm.pushf().pop(eax);
    },
    {},
    "jmp to the TSS",
  );
  add("all flags are saved and loaded", { eflags: 0x3f_7fd7 & ~(FLAG.VM | FLAG.TF | FLAG.RF | 0x18_0000) }, (asm) => {
    asm.pushf().pop(eax).cli().cld();
  }, { flags: FLAG.OF | FLAG.SF | FLAG.AC | FLAG.ID | 0x2000, show: [word("flags", AT.TSS + AT32.EFLAGS)] });
  for (const iopl of [0, 3]) {
    const selectors = { cs: (AT.LOW_CODE >> 4) | 3, ss: 0x2003, ds: 0x2100, es: 0x2200, fs: 0x2300, gs: 0x2400 };
    add(
      `a V86 task with IOPL ${iopl}`,
      { eip: 0, eflags: FLAG.FIXED | FLAG.VM | (iopl << 12), selectors, esp: 0x700 },
      (asm) => asm.nop(),
      {
        origin: 0,
        setup: (asm) => asm.mov(mem32(AT.LOW_CODE + 0x30), 0x0040_cd00 | 0x90),
        show: registers("ds", "es", "fs", "gs", "esp"),
      },
    );
  }
  cases.push({
    name: "a fault on the stack at CPL 0 reaches the double fault's task",
    setup(asm) {
      writeTask32(asm, TASK_AT, { eip: addr("tasks.double") });
      defineDescriptor(asm, TASK, tss32(TASK_AT));
      idtGate(VECTOR.DF)(asm);
      defineDescriptor(asm, BAD, segment({ limit: 0xff, access: access(TYPE.DATA_RW), pages: false }));
    },
    body: (asm) => asm.mov(esp, addr("tasks.badStack")).lss(esp, mem(esp)).push(edx),
    routines(asm) {
      asm.label("tasks.double").pop(eax).str(ebx).int(VECTOR.END).align(4).label("tasks.badStack").dd(0x1000).dd(BAD);
    },
    show: [...aftermath, ...registers("eax", "ebx"), word("ss", AT.TSS + AT32.ES + 8), word("esp", AT.TSS + AT32.ESP)],
  });
  return cases;
}
