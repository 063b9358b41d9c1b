// Guest `nanobench`: one sensitive operation again and again, so that what it costs can be told. The seven of the BT paper's
// figure 4 (Adams and Agesen, ASPLOS 2006, section 6.1) and one for each class of instructions that a virtual machine monitor
// must handle.

import {
  addr,
  al,
  type Assembler,
  cr0,
  cr3,
  ds,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  es,
  esp,
  fs,
  gs,
  mem,
  mem32,
} from "./assembler/mod.ts";
import { defineGuest } from "./guest.ts";
import {
  CR0,
  EFLAGS,
  FIRST_FREE_VECTOR,
  LOCAL_APIC,
  MSR,
  PAGE,
  PAGE_FAULT_VECTOR,
  PAGE_SIZE,
  POST_CODE_PORT,
  SELECTOR,
} from "./hardware.ts";
import { buildProtected, FREE_MEMORY, GATE, loadTaskRegister, print, setGate, STACK_TOP } from "./runtime.ts";
import { maskInterrupts, startTimer, TIMER_HZ } from "./timer.ts";

/** An operation that is timed. */
export interface NanoOperation {
  /** What is done, in the words of the table's reader. */
  readonly describe: string;
  /** Steps that one takes: instructions, and deliveries of events. */
  readonly steps: number;
}

interface Operation extends NanoOperation {
  /** Emits one. EBP is not to be touched, and what `prepare` has set is to be kept. */
  emit(asm: Assembler): void;
  /** Emits what comes before the loop. */
  prepare?(asm: Assembler): void;
  /** What the loop runs in: paging, or CPL 3. */
  readonly within?: "paging" | "user";
}

/** Operations in one round of the loop, and the steps that the loop itself takes in a round. */
export const ROUND_OPERATIONS = 10, ROUND_OVERHEAD_STEPS = 2;

const VECTOR = { DIVIDE: 0, OPERATION: FIRST_FREE_VECTOR, LEAVE_USER: FIRST_FREE_VECTOR + 1 } as const;
/** Page tables, a page that is not there, and the entry that `ptemod` writes. */
const DIRECTORY = FREE_MEMORY, TABLE = DIRECTORY + PAGE_SIZE, ENTRIES = PAGE_SIZE / 4;
const ABSENT = 0x4000_0000, SPARE_ENTRY = TABLE + (ENTRIES - 1) * 4;
/** Lengths of the instructions that fault: MOV EAX from an address, DIV. */
const LOAD_BYTES = 5, DIVIDE_BYTES = 2;
/** Stack of CPL 3. */
const USER_STACK_TOP = STACK_TOP - PAGE_SIZE / 2;

const operations: Readonly<Record<string, Operation>> = {
  syscall: {
    describe: "SYSENTER and SYSEXIT, from CPL 3 and back",
    steps: 4,
    within: "user",
    prepare: (asm) => {
      const msrs = [[MSR.SYSENTER_CS, SELECTOR.CODE], [MSR.SYSENTER_ESP, STACK_TOP]] as const;
      for (const [msr, value] of msrs) asm.mov(ecx, msr).mov(eax, value).xor(edx, edx).wrmsr();
      asm.mov(ecx, MSR.SYSENTER_EIP).mov(eax, addr("systemCall")).xor(edx, edx).wrmsr();
    },
    emit: (asm) => {
      const back = asm.uniqueLabel("back");
      asm.mov(ecx, esp).mov(edx, addr(back)).sysenter().label(back);
    },
  },
  in: { describe: "IN from port 80h, and an ADD", steps: 2, emit: (asm) => asm.in(al, POST_CODE_PORT).add(ebx, eax) },
  cr8wr: {
    describe: "a write of the task priority, the local APIC's register here",
    steps: 1,
    prepare: (asm) => asm.xor(eax, eax),
    emit: (asm) => asm.mov(mem32(LOCAL_APIC.TASK_PRIORITY), eax),
  },
  callret: { describe: "CALL and RET", steps: 2, emit: (asm) => asm.call("nothing") },
  pgfault: {
    describe: "a page fault of the guest's own, to its handler and back",
    steps: 4,
    within: "paging",
    prepare: (asm) => setGate(asm, PAGE_FAULT_VECTOR, "skipLoad"),
    emit: (asm) => asm.mov(eax, mem32(ABSENT)),
  },
  divzero: {
    describe: "a division by zero, to its handler and back",
    steps: 3,
    prepare: (asm) => {
      setGate(asm, VECTOR.DIVIDE, "skipDivide");
      asm.xor(ecx, ecx);
    },
    emit: (asm) => asm.div(ecx),
  },
  ptemod: {
    describe: "a store to a page-table entry",
    steps: 1,
    within: "paging",
    prepare: (asm) => asm.xor(eax, eax),
    emit: (asm) => asm.mov(mem32(SPARE_ENTRY), eax),
  },
  // What is read is used, so that no translator can leave it out.
  rdtsc: { describe: "RDTSC, and an ADD", steps: 2, emit: (asm) => asm.rdtsc().add(ebx, eax) },
  cpuid: { describe: "CPUID of leaf 0", steps: 2, emit: (asm) => asm.xor(eax, eax).cpuid() },
  out: { describe: "OUT to port 80h", steps: 1, emit: (asm) => asm.out(POST_CODE_PORT, al) },
  cli: { describe: "CLI and STI", steps: 2, prepare: maskInterrupts, emit: (asm) => asm.cli().sti() },
  pushf: { describe: "PUSHF and POPF", steps: 2, emit: (asm) => asm.pushf().popf() },
  hlt: {
    describe: "HLT until a timer's interrupt, and its handler",
    steps: 10,
    prepare: (asm) => startTimer(asm, TIMER_HZ.max),
    emit: (asm) => asm.sti().hlt().cli(),
  },
  cr: { describe: "MOV from CR0, and an ADD", steps: 2, emit: (asm) => asm.mov(eax, cr0).add(ebx, eax) },
  invlpg: { describe: "INVLPG", steps: 1, within: "paging", emit: (asm) => asm.invlpg(mem(ABSENT)) },
  msr: {
    describe: "RDMSR",
    steps: 1,
    prepare: (asm) => asm.mov(ecx, MSR.SYSENTER_CS),
    emit: (asm) => asm.rdmsr(),
  },
  descriptors: { describe: "LGDT", steps: 1, emit: (asm) => asm.lgdt(mem(addr("gdtPointer"))) },
  segments: {
    describe: "MOV to DS",
    steps: 1,
    prepare: (asm) => asm.mov(eax, SELECTOR.DATA),
    emit: (asm) => asm.mov(ds, eax),
  },
  int: {
    describe: "INT and IRET within CPL 0",
    steps: 2,
    prepare: (asm) => setGate(asm, VECTOR.OPERATION, "return"),
    emit: (asm) => asm.int(VECTOR.OPERATION),
  },
  mmio: { describe: "a read of the local APIC", steps: 1, emit: (asm) => asm.mov(eax, mem32(LOCAL_APIC.ID)) },
};

/** The operations by name. */
export const nanoOperations: Readonly<Record<string, NanoOperation>> = operations;

/** Steps that so many operations take in the loop; a multiple of ROUND_OPERATIONS. */
export function stepsOf(operation: string, count: number): number {
  return (count / ROUND_OPERATIONS) * (ROUND_OPERATIONS * operations[operation].steps + ROUND_OVERHEAD_STEPS);
}

export const nanobench = defineGuest({
  name: "nanobench",
  summary: "one sensitive operation again and again",
  description: `Runs an operation \`rounds\` times ${ROUND_OPERATIONS} times, or each of them in turn: ` +
    `${Object.keys(operations).join(", ")}. Prints \`nanobench: NAME\` after each.`,
  memoryMib: 4,
  options: {
    operation: { default: "all", describe: "the operation, or `all`" },
    rounds: { default: 1000, min: 1, describe: `times ${ROUND_OPERATIONS} operations` },
  },
  build: ({ operation, rounds }) => {
    const names = operation === "all" ? Object.keys(operations) : [operation];
    if (!names.every((name) => Object.hasOwn(operations, name))) {
      const known = ["all", ...Object.keys(operations)].join(", ");
      throw new Error(`guest nanobench, option operation: "${operation}"; expected one of: ${known}`);
    }
    return buildProtected((asm) => {
      routines(asm);
      asm.section("data", () => asm.align(4).label("kernelStack").dd(0));
      loadTaskRegister(asm, STACK_TOP);
      setGate(asm, VECTOR.LEAVE_USER, "leaveUser", GATE.USER_INTERRUPT);
      buildTables(asm);
      for (const name of names) {
        loop(asm, operations[name], rounds);
        print(asm, `nanobench: ${name}\n`);
      }
    });
  },
});

function loop(asm: Assembler, operation: Operation, rounds: number): void {
  const label = asm.uniqueLabel("round");
  operation.prepare?.(asm);
  if (operation.within === "paging") {
    asm.mov(ebx, cr0).or(ebx, CR0.PG).mov(edi, DIRECTORY).mov(cr3, edi).mov(cr0, ebx);
  }
  if (operation.within === "user") enterUser(asm);
  asm.mov(ebp, rounds).align(64).label(label);
  for (let i = 0; i < ROUND_OPERATIONS; i++) operation.emit(asm);
  asm.dec(ebp).jnz(label);
  if (operation.within === "user") asm.int(VECTOR.LEAVE_USER);
  if (operation.within === "paging") asm.mov(ebx, cr0).and(ebx, ~CR0.PG).mov(cr0, ebx);
  asm.cli();
}

/** The first 4 MiB as they are. */
function buildTables(asm: Assembler): void {
  const kernel = PAGE.PRESENT | PAGE.WRITABLE;
  asm.mov(edi, DIRECTORY).mov(ecx, ENTRIES).xor(eax, eax).rep().stosd().mov(mem32(DIRECTORY), TABLE | kernel);
  asm.mov(edi, TABLE).mov(ecx, ENTRIES).mov(eax, kernel).label("identity").stosd().add(eax, PAGE_SIZE).loop("identity");
}

/** Goes on at CPL 3; clobbers EAX. */
function enterUser(asm: Assembler): void {
  const label = asm.uniqueLabel("user");
  asm.mov(mem32(addr("kernelStack")), esp).mov(eax, SELECTOR.USER_DATA);
  for (const segment of [ds, es, fs, gs]) asm.mov(segment, eax);
  asm.push(SELECTOR.USER_DATA).push(USER_STACK_TOP).push(EFLAGS.FIXED).push(SELECTOR.USER_CODE).push(addr(label));
  asm.iret().label(label);
}

function routines(asm: Assembler): void {
  asm.section("routines", () => {
    asm.align(16).label("nothing").ret();
    asm.align(16).label("systemCall").sysexit();
    asm.align(16).label("return").iret();
    // The error code goes, the instruction is stepped over.
    asm.align(16).label("skipLoad").add(mem32(esp, { disp: 4 }), LOAD_BYTES).add(esp, 4).iret();
    asm.align(16).label("skipDivide").add(mem32(esp), DIVIDE_BYTES).iret();
    // Back at CPL 0, on the stack that was left, after the INT.
    asm.align(16).label("leaveUser").mov(eax, SELECTOR.DATA);
    for (const segment of [ds, es, fs, gs]) asm.mov(segment, eax);
    asm.mov(eax, mem(esp)).mov(esp, mem32(addr("kernelStack"))).jmp(eax);
  });
}
