// What people and files give the host: instruction bytes, configurations, command lines, kernels, saved states, gdb's packets.
// Whatever they hold, it is taken, or refused in one line (InputError); nothing else is thrown.

import { isPluginPath } from "../../cli/plugin_files.ts";
import { addVm, createHost, type GuestChoice } from "../../cli/machine.ts";
import { parseConfig, readConfig } from "../../cli/config.ts";
import { parseGiven } from "../../cli/options.ts";
import { runCommand } from "../../cli/run.ts";
import { restoreVm, saveVm } from "../../cli/saved_state.ts";
import { type Host, InputError, type Vm } from "../../core/mod.ts";
import { debug, GdbSession } from "../../plugins/debugger/mod.ts";
import { encodePacket, PacketReader } from "../../plugins/debugger/gdb/packets.ts";
import * as memory from "../../plugins/memory/mod.ts";
import { decode, MAX_INSTRUCTION_LENGTH } from "../../plugins/x86/decoder.ts";
import * as x86 from "../../plugins/x86/mod.ts";
import { handmadeKernel } from "../plugins/boot/handmade_kernel.ts";
import { elfKernel, flatKernel } from "../plugins/boot/handmade_multiboot.ts";
import { IcedOracle } from "../plugins/x86/iced_oracle.ts";
import { hostileCode } from "./hostile_code.ts";
import { hostileGuest, MEMORY_MIB } from "./hostile_guest.ts";
import { damagedBytes, damagedTree } from "./mutation.ts";
import { Dice, type Target } from "./target.ts";

/** Runs what may refuse its input; whether it did. */
function refuses(take: () => void): boolean {
  try {
    take();
    return false;
  } catch (cause) {
    if (!(cause instanceof InputError)) throw cause;
    if (cause.message === "" || cause.message.length > 2000) {
      throw new Error(`a refusal of ${cause.message.length} characters`);
    }
    return true;
  }
}

/** Runs a VM for a while. */
async function tryOut(host: Host, vm: Vm, steps: number): Promise<void> {
  vm.checkpointSteps = vm.clock.steps + steps;
  const end = vm.checkpointSteps;
  await host.run({ stop: () => vm.clock.steps >= end, untilNs: host.clock.nowNs + 5e6 });
  host.service(memory.machine).audit();
}

// Instruction bytes.

/** Strings of bytes, each cut at every length, against iced-x86: whether they are an instruction, and of how many bytes. */
function instructionBytes(seed: string): number {
  const dice = new Dice(seed), STRINGS = 200, STRIDE = 16;
  const bytes = new Uint8Array(STRINGS * STRIDE);
  for (const bits of [16, 32] as const) {
    const code = hostileCode(dice, STRINGS, { bits, addresses: [0x1000], ports: [0x20], codeBytes: 4096 });
    for (let at = 0; at < bytes.length; at += STRIDE) {
      bytes.set(dice.oneIn(2) ? dice.bytes(STRIDE) : code.subarray(at, at + STRIDE), at);
      // A run of prefixes, up to more than there may be.
      if (dice.oneIn(3)) {
        for (let i = dice.below(STRIDE); i >= 0; i--) {
          bytes[at + i] = dice.pick([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);
        }
      }
    }
    const oracle = new IcedOracle(bytes, bits);
    try {
      for (let at = 0; at < bytes.length; at += STRIDE) {
        const expected = oracle.at(at), whole = decode(bytes, at, at + STRIDE, bits);
        const length = typeof whole === "string" ? undefined : whole.length;
        if (
          (expected === "invalid") !== (length === undefined) || (expected !== "invalid" && expected.length !== length)
        ) {
          const text = [...bytes.subarray(at, at + STRIDE)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
          const theirs = expected === "invalid" ? expected : `${expected.mnemonic} of ${expected.length} bytes`;
          throw new Error(
            `${bits} bits, ${text}: iced says ${theirs}, the decoder ${
              typeof whole === "string" ? whole : `${whole.row.name} of ${length} bytes`
            }`,
          );
        }
        for (let end = 0; end < MAX_INSTRUCTION_LENGTH; end++) {
          const part = decode(bytes, at, at + end, bits);
          if (length !== undefined && end < length && part !== "truncated") {
            throw new Error(
              `${end} bytes of an instruction of ${length} decode as ${
                typeof part === "string" ? part : part.row.name
              }`,
            );
          }
          if (length !== undefined && end >= length && (typeof part === "string" || part.length !== length)) {
            throw new Error(`with ${end} bytes, an instruction of ${length} decodes as ${part}`);
          }
        }
      }
    } finally {
      oracle.free();
    }
  }
  return 2 * STRINGS * MAX_INSTRUCTION_LENGTH;
}

// Configurations and command lines.

const CONFIG = {
  host: { memoryMib: 16, plugins: ["bt", { use: "balloon", options: { maxPercent: 50 } }], seed: 3, cpuMhz: 100 },
  vms: [
    {
      name: "a",
      memoryMib: 4,
      minMib: 1,
      shares: 2000,
      guest: { use: "isprime", options: { n: 7 } },
      options: { vga: { enabled: true }, "virtio-block": { disks: [{ sizeMib: 1 }] }, balloon: { driver: "virtio" } },
    },
    { name: "b", memoryMib: 2, guest: "hello", stdin: "in.txt", disk: ["a.img"] },
  ],
};

function configuration(seed: string): number {
  const dice = new Dice(seed), text = JSON.stringify(CONFIG);
  const bytes = damagedBytes(dice, new TextEncoder().encode(text), text.length);
  refuses(() => void readConfig(new TextDecoder().decode(bytes), "fuzzed.json"));
  let tree: unknown = CONFIG;
  for (let times = 1 + dice.below(3); times > 0; times--) tree = damagedTree(dice, tree);
  refuses(() => {
    const { host, vms } = parseConfig(tree, "fuzzed.json");
    // Gigabytes are for others to try.
    const memoryMib = Math.min(64, host.memoryMib ?? 64);
    const plugins = (host.plugins ?? []).filter((entry) =>
      !isPluginPath(typeof entry === "string" ? entry : entry.use)
    );
    const made = createHost({ memoryMib, seed: host.seed, plugins });
    for (const { guest, ...vm } of vms) {
      if (guest !== undefined) addVm(made, { ...vm, cpuMhz: host.cpuMhz, guest: guest as GuestChoice });
    }
  });
  return 2;
}

const OPTION_WORDS = [
  ...runCommand.options.map(({ name }) => `--${name}`),
  ...[
    "hello",
    "isprime",
    "1G",
    "128",
    "0",
    "-1",
    "guest.n=7",
    "bt.threshold=x",
    "x=y",
    "c.json",
    "--",
    "-",
    "",
    "--=",
    "--set=",
    "💥",
  ],
];

function commandLine(seed: string): number {
  const dice = new Dice(seed), LINES = 50;
  for (let line = 0; line < LINES; line++) {
    const args = Array.from({ length: dice.below(6) }, () => {
      const first = dice.pick(OPTION_WORDS);
      return dice.oneIn(4)
        ? `${first}=${dice.pick(OPTION_WORDS)}`
        : dice.oneIn(10)
        ? String.fromCharCode(...dice.bytes(5))
        : first;
    });
    refuses(() => {
      const given = parseGiven(runCommand, args);
      for (const name of ["seed", "max-instructions", "cpu-mhz", "state-hash"]) given.integer(name, 1, 10_000);
      for (const name of ["for", "timeout", "every"]) given.seconds(name);
      for (const name of ["memory", "host-memory"]) given.sizeMib(name);
    });
  }
  return LINES;
}

// Kernels.

async function bootOf(guest: GuestChoice, memoryMib: number): Promise<void> {
  const host = createHost({ memoryMib: memoryMib + 2, plugins: [] });
  if (!refuses(() => void addVm(host, { guest, memoryMib }))) await tryOut(host, host.vms[0], 2000);
}

async function linuxKernel(seed: string): Promise<number> {
  const dice = new Dice(seed);
  const kernel = damagedBytes(dice, handmadeKernel(), 0x270);
  const initrd = dice.oneIn(2) ? undefined : dice.bytes(dice.below(5000));
  const append = dice.oneIn(2) ? undefined : "x".repeat(dice.below(3000));
  await bootOf(
    { linux: { kernel, kernelName: "fuzzed", initrd, initrdName: "initrd", append } },
    dice.pick([1, 4, 32]),
  );
  return 1;
}

async function multibootKernel(seed: string): Promise<number> {
  const dice = new Dice(seed);
  const code = Uint8Array.from([...dice.bytes(64), 0xfa, 0xf4]);
  const made = dice.oneIn(2) ? flatKernel(code, dice.below(5000)) : elfKernel(code, dice.oneIn(2) ? dice.below(8) : 0);
  const kernel = damagedBytes(dice, made, dice.oneIn(2) ? 128 : 4096 + 64);
  // The checksum is put right again, or the rest would hardly ever be looked at.
  const view = new DataView(kernel.buffer, kernel.byteOffset);
  for (let at = 0; at + 12 <= Math.min(8192, kernel.length); at += 4) {
    if (view.getUint32(at, true) === 0x1badb002) {
      view.setUint32(at + 8, -(0x1badb002 + view.getUint32(at + 4, true)), true);
    }
  }
  const initrd = dice.oneIn(3) ? dice.bytes(dice.below(9000)) : undefined;
  const append = dice.oneIn(3) ? "y".repeat(dice.below(5000)) : undefined;
  await bootOf({ linux: { kernel, kernelName: "fuzzed", initrd, append } }, dice.pick([1, 2, 8]));
  return 1;
}

// Saved states.

async function savedState(seed: string): Promise<number> {
  const dice = new Dice(seed), INPUTS = 6;
  const options = {
    vga: { enabled: true },
    "virtio-console": { enabled: true },
    "virtio-block": { disks: [{ sizeMib: 1 }] },
    balloon: { driver: dice.pick(["vmware", "virtio"]) },
  };
  const make = () => {
    const host = createHost({ memoryMib: MEMORY_MIB + 8, plugins: ["balloon"] });
    return {
      host,
      vm: addVm(host, { guest: { image: hostileGuest(new Dice(seed)) }, memoryMib: MEMORY_MIB, options }),
    };
  };
  const { host, vm } = make();
  await tryOut(host, vm, 1 + dice.below(3000));
  if (vm.exit !== undefined) return 1;
  const saved = saveVm(host, vm), other = make();
  const hash = () => other.host.stateHash(other.vm);
  for (let input = 0; input < INPUTS; input++) {
    let damaged: unknown = saved;
    for (let times = 1 + dice.below(4); times > 0; times--) damaged = damagedTree(dice, damaged);
    const before = hash();
    if (refuses(() => restoreVm(other.host, other.vm, damaged))) {
      if (hash() !== before) throw new Error("a saved state was refused, and changed the VM all the same");
    } else await tryOut(other.host, other.vm, 500);
  }
  return INPUTS;
}

// gdb.

const PACKETS = [
  "?",
  "g",
  "G",
  "m",
  "M",
  "p",
  "P",
  "c",
  "s",
  "H",
  "T",
  "Z0,",
  "z0,",
  "Z1,",
  "Z2,",
  "Z4,",
  "k",
  "D",
  "X",
  "vCont?",
  "vCont;c",
  "vCont;s:1",
  "vMustReplyEmpty",
];
const QUERIES = [
  "qSupported:swbreak+",
  "qfThreadInfo",
  "qsThreadInfo",
  "qC",
  "qXfer:features:read:target.xml:",
  "qRcmd,",
  "qAttached",
  "QStartNoAckMode",
  "qOffsets",
  "qSymbol::",
];

function gdbPackets(seed: string): number {
  const dice = new Dice(seed), PACKETS_SENT = 60;
  const host = createHost({ memoryMib: 16, plugins: ["debugger"] });
  const vms = [1, 2].map(() => addVm(host, { guest: { image: hostileGuest(dice) }, memoryMib: MEMORY_MIB }));
  const targets = vms.map((vm) => ({
    vm,
    cpu: host.service(x86.processor)(vm),
    memory: host.service(memory.guest)(vm),
    nameOf: () => undefined,
    addressOf: () => dice.oneIn(2) ? undefined : 0x1000,
  }));
  const debugging = host.service(debug);
  debugging.pause(vms[0]);
  let answers = 0;
  const session = new GdbSession(targets, debugging, (data) => {
    answers++;
    encodePacket(data);
  });
  const reader = new PacketReader();
  const number = () => dice.oneIn(6) ? dice.pick(["", "-1", "zz", "123456789abcdef0"]) : dice.value().toString(16);
  const hexText = () => [...dice.bytes(dice.below(40))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  for (let count = 0; count < PACKETS_SENT; count++) {
    const parts = [
      dice.pick(dice.oneIn(3) ? QUERIES : PACKETS),
      number(),
      dice.pick([",", ":", "=", ";", ""]),
      number(),
      dice.pick([":", "", "="]),
      hexText(),
    ];
    const text = dice.oneIn(10)
      ? String.fromCharCode(...dice.bytes(dice.below(50)))
      : parts.slice(0, 1 + dice.below(6)).join("");
    const bytes = dice.oneIn(6) ? dice.bytes(dice.below(60)) : encodePacket(text);
    for (const arrival of reader.feed(bytes)) {
      if (arrival.kind === "packet") session.handle(arrival.data);
      else if (arrival.kind === "interrupt") session.interrupt();
    }
    if (dice.oneIn(8)) {
      for (const vm of vms) if (vm.exit === undefined) host.runTo(vm, vm.clock.steps + dice.below(20));
    }
    if (session.isOver) break;
  }
  host.service(memory.machine).audit();
  return PACKETS_SENT;
}

export const inputTargets: readonly Target[] = [
  {
    name: "instructions",
    summary: "instruction bytes of every length, against iced-x86",
    unit: "inputs",
    budget: 120_000,
    run: instructionBytes,
  },
  { name: "configuration", summary: "configuration files", unit: "inputs", budget: 600, run: configuration },
  { name: "command-line", summary: "command lines", unit: "inputs", budget: 10_000, run: commandLine },
  { name: "linux", summary: "Linux kernels", unit: "inputs", budget: 150, run: linuxKernel },
  { name: "multiboot", summary: "Multiboot headers and ELF files", unit: "inputs", budget: 200, run: multibootKernel },
  { name: "saved-state", summary: "saved states", unit: "inputs", budget: 200, run: savedState },
  { name: "gdb", summary: "packets of gdb's remote protocol", unit: "inputs", budget: 2_000, run: gdbPackets },
];
