// Law 1 for every way to handle sensitive instructions: trapped, called out for, or emitted in place, they leave the same
// states and do the same I/O at the same steps as in the interpreter.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { addVm, createHost } from "../../../cli/machine.ts";
import { definePlugin, InputError, vmCheckpoint } from "../../../core/mod.ts";
import {
  FASTEST_FORMS,
  type Form,
  SENSITIVE_CLASSES,
  sensitiveClassNames,
} from "../../../plugins/bt/emit/sensitive.ts";
import { bus, delivered, state as S, trapped } from "../../../plugins/x86/mod.ts";
import { subjects } from "../../laws/trial.ts";
import { Arena, type TranslatorChoice } from "./arena.ts";
import { L, word } from "./arena_layout.ts";
import { DEVICE, type SensitiveCase, sensitiveCase } from "./sensitive_code.ts";

const CASES = Number(Deno.env.get("BALLAST_SENSITIVE_CASES") ?? 900);
const SEED = Deno.env.get("BALLAST_RANDOM_SEED") ?? "sensitive";

/** Every class in a form, or in the next slower one that it has. */
function allIn(form: Form): Record<string, Form> {
  return Object.fromEntries(sensitiveClassNames.map((name) => {
    const forms: readonly Form[] = SENSITIVE_CLASSES[name].forms;
    return [name, forms.includes(form) ? form : forms[forms.length - 1]];
  }));
}

const small: TranslatorChoice = { threshold: 0, unitInstructions: 12, regionUnits: 32, cacheKib: 16384 };
const choices: readonly (readonly [title: string, choice: TranslatorChoice])[] = [
  ["all trapped", { ...small, ...allIn("trap") }],
  ["all called out for", { ...small, ...allIn("callout") }],
  ["all in place", { ...small, ...allIn("in-tc") }],
  ["called out for, one instruction a unit", { ...small, ...allIn("callout"), unitInstructions: 1, regionUnits: 1 }],
  ["in place, after the second entry", { ...small, ...allIn("in-tc"), threshold: 2, unitInstructions: 3 }],
  ["in place, with a cache of 16 KiB", { ...small, ...allIn("in-tc"), cacheKib: 16 }],
];

/** Vector of the arena's interrupt controller. */
const IRQ_VECTOR = 0x50;
/** Guest time between two changes of the arena's ticking port. */
const TICK_NS = 37;

/** An arena with devices whose every access is written down with its step, and moves deadlines about. */
class DeviceArena extends Arena {
  readonly log: string[] = [];
  /** Times that the device was asked for its steady port, and for its ticking one. */
  steadyReads = 0;
  tickingReads = 0;
  #steady = 0x5a;

  constructor(choice?: TranslatorChoice) {
    super(choice);
    const { vm } = this, devices = this.host.service(bus);
    const note = (what: string, at: number, size: number, value: number) =>
      void this.log.push(`${vm.clock.steps} ${what} ${at.toString(16)} ${size} ${(value >>> 0).toString(16)}`);
    const nmi = vm.clock.timer("nmi", () => devices.raiseNmi(vm));
    const interrupt = vm.clock.timer("interrupt", () => devices.setInterrupt(vm, true));
    const touch = (at: number) => {
      if (at % 5 === 1) nmi.arm(vm.clock.nowNs() + at % 97);
      else if (at % 5 === 2) interrupt.arm(vm.clock.nowNs() + at % 89);
      else if (at % 5 === 3) vm.clock.pass(at % 50);
      else if (at % 31 === 4) devices.setInterrupt(vm, true);
    };
    devices.interruptController(vm, {
      acknowledge() {
        devices.setInterrupt(vm, false);
        return IRQ_VECTOR;
      },
    });
    devices.ports(vm, DEVICE.PORTS, DEVICE.PORT_COUNT, "ports", {
      steadyUntilNs: (port, readNs) => {
        if (port === DEVICE.TICKING_PORT) return (Math.floor(readNs / TICK_NS) + 1) * TICK_NS;
        return port === DEVICE.STEADY_PORT ? Infinity : 0;
      },
      read: (port, size) => {
        // Reads of the steady ports may be answered without the device.
        if (port === DEVICE.STEADY_PORT && size === 1) {
          this.steadyReads++;
          return this.#steady;
        }
        if (port === DEVICE.TICKING_PORT && size === 1) {
          this.tickingReads++;
          return Math.floor(vm.clock.nowNs() / TICK_NS) * 0x1d & 0xff;
        }
        const value = vm.clock.steps * 0x10001 + port;
        note("in", port, size, value);
        touch(vm.clock.steps);
        return value >>> 0;
      },
      write: (port, size, value) => {
        note("out", port, size, value);
        if (port === DEVICE.STEADY_PORT) this.#steady = value & 0xff;
        else touch(value + vm.clock.steps);
      },
    });
    devices.memory(vm, DEVICE.MEMORY, L.PAGE, "memory", {
      read(offset, size) {
        const value = (vm.clock.steps * 0x1001 + offset) >>> 0;
        note("read", offset, size, value);
        touch(vm.clock.steps + offset);
        return value;
      },
      write(offset, size, value) {
        note("write", offset, size, value);
        touch(vm.clock.steps + offset);
      },
    });
  }

  /** Puts the arena into a case's state. */
  beginCase({ start }: SensitiveCase): void {
    this.begin(start);
    const { r } = this.cpu;
    r[S.SYSENTER_CS] = L.CODE_SYSTEM * 8;
    r[S.SYSENTER_ESP] = L.KERNEL_STACK;
    r[S.SYSENTER_EIP] = L.CODE;
    this.#steady = 0x5a;
    this.cpu.io.revision++;
    this.log.length = 0;
  }
}

/** Runs a case in both and tells the first differences; `cr4` has bits that CR4 has beside the arena's. */
function compare(reference: DeviceArena, translated: DeviceArena, random: SensitiveCase, cr4 = 0): string[] {
  const arenas = [reference, translated];
  for (const arena of arenas) {
    arena.beginCase(random);
    arena.cpu.r[S.CR4] |= cr4;
  }
  for (const [i, stop] of random.stops.entries()) {
    for (const arena of arenas) {
      if (stop < 0) arena.raiseNmi();
      arena.runTo(Math.abs(stop));
    }
    const differences = reference.differences(translated, i === random.stops.length - 1);
    for (let at = 0; at < Math.max(reference.log.length, translated.log.length); at++) {
      if (reference.log[at] === translated.log[at]) continue;
      differences.push(`I/O: ${reference.log[at]} and ${translated.log[at]}`);
      break;
    }
    if (differences.length > 0) return [`seed "${random.seed}", after ${Math.abs(stop)} steps`, ...differences];
  }
  return [];
}

for (const [index, [title, choice]] of choices.entries()) {
  Deno.test(`random sensitive code computes what it does in the interpreter: ${title}`, () => {
    const reference = new DeviceArena(), translated = new DeviceArena(choice);
    const cases = Math.ceil(CASES / choices.length);
    for (let number = 0; number < cases; number++) {
      assertEquals(compare(reference, translated, sensitiveCase(`${SEED} ${index} ${number}`)), []);
    }
    assertEquals(reference.host.stateHash(reference.vm), translated.host.stateHash(translated.vm));
    const { traps = 0, callouts = 0, deviceCallouts = 0 } = translated.translator?.statistics ?? {};
    if (index === 0) assertEquals([traps > cases, callouts, deviceCallouts], [true, 0, 0]);
    else if (choice.threshold === 0) assert(traps === 0 && callouts > cases && deviceCallouts > cases / 10);
  });
}

/** To slot 2 at CPL 3 by IRET, and by SYSEXIT; what runs there runs at CPL 0 first, and faults go on at slot 3 and after. */
const SLOT_2 = L.CODE + 2 * L.SLOT, USER_STACK = L.STACK + 1024;
const byIret = [0x6a, 0x23, 0x54, 0x6a, 2, 0x6a, 0x1b, 0x68, ...word(SLOT_2), 0xcf];
const bySysexit = [0xba, ...word(SLOT_2), 0xb9, ...word(USER_STACK), 0x0f, 0x35];
/** Back to CPL 0 at the first slot, and the second time round to CPL 3. */
const SYSENTER = [0x0f, 0x34], TURN = [0x43, 0xf6, 0xc3, 1];
/** DS and ES with data of CPL 3, which stay flat there. */
const USER_DATA = [0x6a, 0x23, 0x1f, 0x6a, 0x23, 0x07];

const lower: readonly (readonly [title: string, atBoth: readonly number[]])[] = [
  ["IN from a steady port", [0xe4, DEVICE.STEADY_PORT]],
  ["RDTSC with CR4.TSD", [0x0f, 0x31]],
  ["a load from a supervisor page", [0xa1, ...word(L.SUPERVISOR)]],
  ["MOV from CR3", [0x0f, 0x20, 0xd8]],
  ["MOV to DS of a descriptor of CPL 0", [0x6a, 0x10, 0x1f]],
  ["SYSEXIT", [0x0f, 0x35]],
  ["CLI", [0xfa]],
  ["POPF of IF", [0x68, 2, 2, 0, 0, 0x9d]],
];
for (const [title, atBoth] of lower) {
  Deno.test(`${title} is not for CPL 3, though it was translated for CPL 0`, () => {
    for (const leave of [byIret, bySysexit]) {
      const reference = new DeviceArena();
      const translated = new DeviceArena({ ...small, ...allIn("in-tc") });
      // Slot 0: toggles the turn, to CPL 3 on every other. Slot 1: leaves. Slot 2: at either level. Slot 3: to slot 0 at CPL 0.
      const code = new Uint8Array(6 * L.SLOT).fill(0x90);
      const first = [...USER_DATA, ...TURN];
      code.set([...first, 0x74, 2 * L.SLOT - first.length - 2], 0);
      code.set(leave, L.SLOT);
      code.set(atBoth, 2 * L.SLOT);
      code.set(SYSENTER, 3 * L.SLOT);
      code.set(SYSENTER, 4 * L.SLOT);
      const start = { cpl: 0, bits: 32, registers: Array(8).fill(0), eflags: 2, fs: 0, gs: 0, entry: 0, code } as const;
      const random = {
        seed: title,
        start: { ...start, registers: [0, 0, 0, 0, L.STACK + 512, 0, 0, 0] },
        stops: [600],
      };
      assertEquals(compare(reference, translated, random, S.CR4_TSD), []);
      assert(reference.vm.clock.steps === 600 && reference.vm.exit === undefined);
    }
  });
}

/** A start at CPL 0 with code from the first slot on, again and again. */
function loopOf(...instructions: readonly (readonly number[])[]): SensitiveCase {
  const body = instructions.flat(), registers = [0, 0, 0, 0, L.STACK + 512, 0, 0, 0];
  const code = Uint8Array.from([...body, 0xe9, ...word(-body.length - 5)]);
  return {
    seed: "loop",
    start: { cpl: 0, bits: 32, registers, eflags: 2, fs: 0, gs: 0, entry: 0, code },
    stops: [100, 700, 999],
  };
}

const IN_STEADY = [0xe4, DEVICE.STEADY_PORT], INC_EAX = 0x40, ADD_EBX_EAX = [0x01, 0xc3];

Deno.test("a steady port in place is asked again only when the guest has written to a port", () => {
  const reference = new DeviceArena(), translated = new DeviceArena({ ...small, ...allIn("in-tc") });
  const reads = loopOf(IN_STEADY, ADD_EBX_EAX, IN_STEADY, ADD_EBX_EAX);
  assertEquals(compare(reference, translated, reads), []);
  assertEquals(reference.steadyReads > 350, true);
  // Once by the interpreter and once by a call-out, at most, after each stop.
  assert(translated.steadyReads <= 2 * reads.stops.length, `${translated.steadyReads} reads`);

  const asked = translated.steadyReads;
  const writes = loopOf(IN_STEADY, ADD_EBX_EAX, [INC_EAX, 0xe6, DEVICE.STEADY_PORT], IN_STEADY, ADD_EBX_EAX);
  assertEquals(compare(reference, translated, writes), []);
  assert(translated.steadyReads - asked > 100);
});

Deno.test("a port in place that changes with time is asked again when it may have changed", () => {
  const reference = new DeviceArena(), translated = new DeviceArena({ ...small, ...allIn("in-tc") });
  const reads = loopOf([0xe4, DEVICE.TICKING_PORT], ADD_EBX_EAX, [0xe4, DEVICE.TICKING_PORT], ADD_EBX_EAX);
  const [begunNs, nothing] = [translated.vm.clock.nowNs(), translated.tickingReads];
  assertEquals(compare(reference, translated, reads), []);
  assert(reference.tickingReads > 350);
  const ticks = Math.ceil((translated.vm.clock.nowNs() - begunNs) / TICK_NS), asked = translated.tickingReads - nothing;
  // Once for each change, and once more by the interpreter after each stop.
  assert(asked >= ticks - 1 && asked <= ticks + 2 * reads.stops.length, `${asked} reads in ${ticks} ticks`);
});

Deno.test("an instruction that crosses pages may access device memory", () => {
  // By way of the second page, so that the instruction TLB has it when the instruction is translated.
  const entry = L.PAGE - 16, registers = [0, 0, 0, 0, L.STACK + 512, 0, 0, 0];
  const code = new Uint8Array(32).fill(0x90);
  code.set([0xeb, 24 - 2], 0);
  code.set([INC_EAX, 0xa1, ...word(DEVICE.MEMORY), ...ADD_EBX_EAX, 0xeb, 1], 13);
  code.set([0xeb, 13 - 26], 24);
  for (const form of ["callout", "trap"] as const) {
    const reference = new DeviceArena(), translated = new DeviceArena({ ...small, ...allIn(form) });
    const start = { cpl: 0, bits: 32, registers, eflags: 2, fs: 0, gs: 0, entry, code } as const;
    assertEquals(compare(reference, translated, { seed: "crossing", start, stops: [100, 700] }), []);
    assert(form === "trap" || (translated.translator?.statistics.deviceCallouts ?? 0) > 0);
  }
});

/** An arena that writes down what listeners are told of. */
function listeningArena(
  choice: TranslatorChoice | undefined,
  tokens: readonly ("trapped" | "delivered")[],
): DeviceArena {
  const arena = new DeviceArena(choice);
  const note = (what: string) => void arena.log.push(what);
  arena.host.load({
    plugin: definePlugin({
      name: "listener",
      requires: ["x86"],
      setup({ on }) {
        if (tokens.includes("trapped")) on(trapped, ({ mnemonic }) => note(`trapped ${mnemonic}`));
        if (tokens.includes("delivered")) on(delivered, ({ vector, kind, eip }) => note(`${kind} ${vector} ${eip}`));
      },
    }),
  });
  return arena;
}

for (
  const [form, tokens] of [["trap", ["trapped", "delivered"]], ["callout", ["trapped", "delivered"]], ["in-tc", [
    "delivered",
  ]]] as const
) {
  Deno.test(`listeners are told of events as in the interpreter: ${tokens.join(" and ")}, ${form}`, () => {
    const reference = listeningArena(undefined, tokens);
    const translated = listeningArena({ ...small, ...allIn(form) }, tokens);
    for (let number = 0; number < 60; number++) {
      const random = sensitiveCase(`listened ${number}`);
      assertEquals(compare(reference, translated, random), []);
    }
  });
}

/** States of a guest as it passes through them. */
async function statesOf({ use, options }: (typeof subjects)[number], forms: Record<string, Form> | undefined) {
  const states: string[] = [];
  const plugins = forms === undefined ? [] : ["bt"];
  const translator: Record<string, Record<string, unknown>> = forms === undefined
    ? {}
    : { bt: { ...forms, threshold: 1 } };
  const host = createHost({ memoryMib: 64, plugins, options: translator });
  const vm = addVm(host, { guest: { use, options }, memoryMib: use === "toucher" ? 12 : undefined });
  host.load({
    plugin: definePlugin({
      name: "recorder",
      setup: ({ on }) => on(vmCheckpoint, () => void states.push(`${vm.clock.steps} ${host.stateHash(vm)}`)),
    }),
  });
  vm.checkpointEvery(7919);
  await host.run();
  return [...states, `${vm.clock.steps} ${host.stateHash(vm)}`];
}

for (const subject of subjects) {
  Deno.test(`guest ${subject.use} passes through the interpreter's states in every form`, async () => {
    const expected = await statesOf(subject, undefined);
    for (const form of ["trap", "callout"] as const) {
      assertEquals(await statesOf(subject, allIn(form)), expected, form);
    }
  });
}

Deno.test("a form that is not exact for a class is refused, and those that are are named", () => {
  for (const name of sensitiveClassNames) {
    const forms: readonly Form[] = SENSITIVE_CLASSES[name].forms;
    if (forms.includes("in-tc")) continue;
    const error = assertThrows(() => createHost({ plugins: ["bt"], options: { bt: { [name]: "in-tc" } } }), InputError);
    for (const part of [name, ...forms]) assertStringIncludes(error.message, part);
  }
  assertEquals(FASTEST_FORMS, allIn("in-tc"));
});
