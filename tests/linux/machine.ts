// A host with one Linux VM as the tests here drive it: run to a text on the console or to a step, type a command, read what
// it printed, take the state hash at regular steps.

import type { PluginChoice } from "../../cli/catalogue.ts";
import { addVm, createHost, type VmOptions } from "../../cli/machine.ts";
import { DEFAULT_CPU_MHZ, DEFAULT_SHARES, DEFAULT_VM_MIB } from "../../cli/defaults.ts";
import { definePlugin, type Host, type SavedVm, type Vm, vmCheckpoint } from "../../core/mod.ts";
import { defaultAppend, picOnlyAppend, type PreparedLinux } from "../../guests/linux/mod.ts";
import * as console from "../../plugins/console/mod.ts";
import * as memory from "../../plugins/memory/mod.ts";

/** Steps between state hashes, in every machine here, so that they can be compared. */
export const HASH_EVERY_STEPS = 100e6;
/** Machine memory: room for the VM and for companions. */
const HOST_MIB = DEFAULT_VM_MIB + 64;
/** Steps within which whatever a test waits for must come: five times a boot. */
const PATIENCE_STEPS = 15e9;
const PROMPT = "/ # ";
/** Wider lines are wrapped by the shell's line editor, and the echo with them. */
const LONGEST_COMMAND = 72;

/** A step count and the state hash there. */
export type StateHash = readonly [steps: number, hash: string];

export interface MachineOptions {
  /** Longest turn, in ns of host time. */
  readonly quantumNs?: number;
  /** Added to the kernel's command line; default: what leaves it the PIC alone. */
  readonly append?: string;
  /** Plugins beside base. */
  readonly plugins?: readonly PluginChoice[];
  /** VMs that run beside. */
  readonly companions?: readonly VmOptions[];
}

export class Machine {
  readonly host: Host;
  /** State hashes at the multiples of HASH_EVERY_STEPS that were passed. */
  readonly hashes: StateHash[] = [];
  #vm: Vm | undefined;
  #text = "";
  #wanted: { readonly text: string; readonly from: number } | undefined;
  #stopsAtCheckpoint = false;
  #isStopped = false;

  private constructor(options: MachineOptions) {
    const plugins = [...options.plugins ?? [], this.#watcher()];
    this.host = createHost({ memoryMib: HOST_MIB, quantumNs: options.quantumNs, plugins });
    // Companions come first, so that neither the VM's number nor its frames are those of another machine's.
    for (const companion of options.companions ?? []) addVm(this.host, companion);
  }

  /** A machine before its first instruction, with the kernel loaded. */
  static async powerOn(linux: PreparedLinux, options: MachineOptions = {}): Promise<Machine> {
    const machine = new Machine(options);
    const [kernel, initrd] = [await Deno.readFile(linux.kernel), await Deno.readFile(linux.initrd)];
    const source = {
      kernel,
      kernelName: linux.kernel,
      initrd,
      append: `${defaultAppend} ${options.append ?? picOnlyAppend}`,
    };
    machine.#vm = addVm(machine.host, { guest: { linux: source } });
    machine.#vm.checkpointEvery(HASH_EVERY_STEPS);
    return machine;
  }

  /** A fresh host whose VM takes up where another's was saved. */
  static restore(saved: SavedVm, options: MachineOptions = {}): Machine {
    const machine = new Machine(options);
    machine.#vm = machine.host.add({
      name: "linux",
      memoryMib: DEFAULT_VM_MIB,
      minMib: 0,
      shares: DEFAULT_SHARES,
      cpuMhz: DEFAULT_CPU_MHZ,
      options: {},
    });
    machine.#vm.checkpointEvery(HASH_EVERY_STEPS);
    machine.host.restore(machine.#vm, saved);
    return machine;
  }

  get vm(): Vm {
    if (this.#vm === undefined) throw new Error("the machine has no VM yet");
    return this.#vm;
  }

  /** All that the console has shown since the machine was made, line ends as "\n", without escape sequences. */
  get text(): string {
    // deno-lint-ignore no-control-regex -- terminal escape sequences begin with ESC
    return this.#text.replaceAll("\r", "").replaceAll(/\x1b\[[0-9;?]*[A-Za-z]/g, "");
  }

  /** Puts bytes into the console's input. */
  type(text: string): void {
    this.host.service(console.consoleOf)(this.vm).input.push(new TextEncoder().encode(text));
  }

  /** Runs until the console shows `text`; throws where it does not come. */
  async runUntil(text: string): Promise<void> {
    this.#wanted = { text, from: this.#text.length };
    await this.#run();
    if (this.#wanted !== undefined) throw this.#disappointment(`the console never showed ${JSON.stringify(text)}`);
  }

  /** Runs to an exact step. */
  async runToStep(steps: number): Promise<void> {
    this.vm.checkpointSteps = Math.min(this.vm.checkpointSteps, steps);
    this.#stopsAtCheckpoint = true;
    while (this.vm.clock.steps < steps && this.vm.exit === undefined) {
      this.vm.checkpointSteps = Math.min(this.vm.checkpointSteps, steps);
      await this.#run();
    }
    this.#stopsAtCheckpoint = false;
    if (this.vm.clock.steps !== steps) throw this.#disappointment(`the VM never came to step ${steps}`);
  }

  /** Runs until the VM has ended. */
  async runToEnd(): Promise<void> {
    await this.#run();
    if (this.vm.exit === undefined) throw this.#disappointment("the VM did not end");
  }

  /** Runs a command at the shell's prompt and returns what it printed. */
  async command(command: string): Promise<string> {
    if (command.length > LONGEST_COMMAND) throw new Error(`${command}: longer than ${LONGEST_COMMAND} characters`);
    const from = this.text.length;
    this.type(`${command}\n`);
    await this.runUntil(`\n${PROMPT}`);
    const shown = this.text.slice(from);
    return shown.slice(shown.indexOf("\n") + 1, -PROMPT.length);
  }

  /** Throws unless every frame of machine memory is in exactly one state. */
  audit(): void {
    this.host.service(memory.machine).audit();
  }

  async #run(): Promise<void> {
    const { host, vm } = this;
    const endSteps = vm.clock.steps + PATIENCE_STEPS;
    this.#isStopped = false;
    await host.run({ stop: () => this.#isStopped || vm.state === "exited" || vm.clock.steps >= endSteps });
  }

  #disappointment(what: string): Error {
    const exit = this.vm.exit === undefined ? "" : `; the VM ended: ${JSON.stringify(this.vm.exit)}`;
    return new Error(`${what} (step ${this.vm.clock.steps})${exit}; last on the console:\n${this.text.slice(-1000)}`);
  }

  #stop(): void {
    this.#isStopped = true;
    this.vm.clock.endTurn();
  }

  #watcher() {
    return definePlugin({
      name: "watcher",
      requires: ["console"],
      setup: ({ on }) => {
        on(console.output, ({ vm, byte }) => {
          if (vm !== this.#vm) return;
          this.#text += String.fromCharCode(byte);
          const wanted = this.#wanted;
          if (wanted === undefined || !this.#shows(wanted)) return;
          this.#wanted = undefined;
          this.#stop();
        });
        on(vmCheckpoint, (vm) => {
          if (vm !== this.#vm) return;
          const { steps } = vm.clock;
          if (steps % HASH_EVERY_STEPS === 0) this.hashes.push([steps, this.host.stateHash(vm)]);
          if (this.#stopsAtCheckpoint) this.#stop();
        });
      },
    });
  }

  /** Whether the text ends with what is wanted, carriage returns aside. */
  #shows({ text, from }: { text: string; from: number }): boolean {
    const tail = this.#text.slice(Math.max(from, this.#text.length - 2 * text.length)).replaceAll("\r", "");
    return tail.endsWith(text);
  }
}
