// A Linux guest that experiments on translators drive through its console. It is booted once for each set of plugins and saved at
// the shell's prompt, from where every run takes it up under a translator of its own. Samples are taken at fixed steps of the
// guest, so that all they count depends on the guest and the configuration; what was measured is kept apart.

import process from "node:process";
import { fromFileUrl } from "@std/path";
import { asUse, type PluginChoice } from "../../cli/catalogue.ts";
import { DEFAULT_CPU_MHZ, DEFAULT_SHARES } from "../../cli/defaults.ts";
import { addVm, createHost } from "../../cli/machine.ts";
import { definePlugin, type Host, InputError, type SavedVm, type Vm, vmCheckpoint } from "../../core/mod.ts";
import { defaultAppend, LinuxUnavailable, prepareLinux } from "../../guests/linux/mod.ts";
import bt from "../../plugins/bt/mod.ts";
import * as consoles from "../../plugins/console/mod.ts";
import type { PerformContext } from "./framework/definition.ts";

export const GUEST_MIB = 128;
const HOST_MIB = GUEST_MIB + 32;
const PROMPT = "/ # ";
/** Steps within which whatever is waited for must come. */
const PATIENCE_STEPS = 20e9;

/** The translator's figures at a step of the guest; those of other plugins of the session as PLUGIN.NAME. */
export interface Sample {
  readonly steps: number;
  readonly figures: Readonly<Record<string, number>>;
  /** Measured since the session began: CPU time of all threads, the wall's, and of that what was spent translating. */
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  readonly translatingSeconds: number;
}

export interface SessionOptions {
  /** Options of the translator; undefined: the interpreter. */
  readonly bt?: Readonly<Record<string, unknown>>;
  /** Plugins beside it. */
  readonly plugins?: readonly PluginChoice[];
  /** Steps between samples; default: none but those asked for. */
  readonly sampleSteps?: number;
}

export class LinuxSession {
  readonly host: Host;
  readonly samples: Sample[] = [];
  #vm: Vm | undefined;
  #text = "";
  #wanted: string | undefined;
  #endSteps = Infinity;
  #sampleSteps = Infinity;
  readonly #started = process.cpuUsage();
  readonly #startedMs = performance.now();

  private constructor(readonly options: SessionOptions, context: PerformContext) {
    const engine: PluginChoice[] = options.bt === undefined
      ? []
      : [{ plugin: bt, options: { ...options.bt, ...context.overrides.bt } }];
    const plugins = [...engine, ...options.plugins ?? []].filter((choice) =>
      !context.without.includes(asUse(choice).plugin.name)
    );
    this.host = createHost({ memoryMib: HOST_MIB, seed: context.seed, plugins: [...plugins, this.#watcher()] });
  }

  /** A session before the kernel's first instruction. Throws InputError where the kernel has not been fetched. */
  static async powerOn(options: SessionOptions, context: PerformContext): Promise<LinuxSession> {
    const { kernel, initrd } = await readLinux();
    const session = new LinuxSession(options, context);
    const linux = { kernel, kernelName: "vmlinuz", initrd, append: defaultAppend };
    session.#take(addVm(session.host, { name: "linux", memoryMib: GUEST_MIB, guest: { linux } }));
    return session;
  }

  /** A session at the shell's prompt. */
  static async atPrompt(options: SessionOptions, context: PerformContext): Promise<LinuxSession> {
    const saved = await bootOnce(options, context);
    const session = new LinuxSession(options, context);
    const vm = session.host.add({
      name: "linux",
      memoryMib: GUEST_MIB,
      minMib: 0,
      shares: DEFAULT_SHARES,
      cpuMhz: DEFAULT_CPU_MHZ,
      options: {},
    });
    session.host.restore(vm, saved);
    session.#take(vm);
    return session;
  }

  get vm(): Vm {
    if (this.#vm === undefined) throw new Error("the session has no VM yet");
    return this.#vm;
  }

  /** Runs to the shell's prompt, or until the guest has taken so many steps. */
  async run(breathe: () => Promise<void>, untilSteps = Infinity): Promise<void> {
    const { host, vm } = this;
    this.#wanted = PROMPT;
    this.#endSteps = Math.min(untilSteps, vm.clock.steps + PATIENCE_STEPS);
    if (untilSteps < Infinity) vm.checkpointSteps = Math.min(vm.checkpointSteps, untilSteps);
    const isOver = () => this.#wanted === undefined || vm.exit !== undefined || vm.clock.steps >= this.#endSteps;
    await host.run({ stop: isOver, breathe });
    if (this.#wanted !== undefined && vm.clock.steps < untilSteps) {
      const last = this.#text.slice(-300);
      throw new InputError(`Linux never came to its prompt: ${vm.exit?.reason ?? "too many steps"}; last: ${last}`);
    }
  }

  /** Types a command and runs until the next prompt. */
  async command(text: string, breathe: () => Promise<void>): Promise<void> {
    this.host.service(consoles.consoleOf)(this.vm).input.push(new TextEncoder().encode(`${text}\n`));
    this.#text = "";
    await this.run(breathe);
  }

  /** From now on takes samples so many steps apart; Infinity: none but those asked for. */
  sampleEvery(steps: number): void {
    this.#sampleSteps = steps;
    this.vm.checkpointEvery(Math.min(steps, Number.MAX_SAFE_INTEGER));
  }

  /** Takes a sample now. */
  sample(): Sample {
    const figures = this.host.plugins.loaded.get("bt")?.stats.snapshot() ?? {};
    const used = process.cpuUsage(this.#started);
    const others = (this.options.plugins ?? []).flatMap((choice) => {
      const { name } = asUse(choice).plugin, kept = this.host.plugins.loaded.get(name)?.stats.snapshot() ?? {};
      return Object.entries(kept).map(([figure, value]): [string, number] => [`${name}.${figure}`, value]);
    });
    const modelled = [...Object.entries(figures).filter(([name]) => !name.startsWith("wall")), ...others];
    const sample: Sample = {
      steps: this.vm.clock.steps,
      figures: Object.fromEntries(modelled),
      cpuSeconds: (used.user + used.system) / 1e6,
      wallSeconds: (performance.now() - this.#startedMs) / 1000,
      translatingSeconds: figures.wallTranslatingSeconds ?? 0,
    };
    this.samples.push(sample);
    return sample;
  }

  #take(vm: Vm): void {
    this.#vm = vm;
    this.sampleEvery(this.options.sampleSteps ?? Infinity);
  }

  #watcher() {
    return definePlugin({
      name: "session-watcher",
      requires: ["console"],
      setup: ({ on }) => {
        on(consoles.output, ({ vm, byte }) => {
          this.#text += String.fromCharCode(byte);
          if (this.#wanted === undefined || !this.#text.endsWith(this.#wanted)) return;
          this.#wanted = undefined;
          vm.clock.endTurn();
        });
        on(vmCheckpoint, (vm) => {
          if (vm.clock.steps % this.#sampleSteps === 0) this.sample();
          if (vm.clock.steps >= this.#endSteps) vm.clock.endTurn();
        });
      },
    });
  }
}

/** The guest at its prompt, by the plugins that it was booted with beside the translator as it is by default. */
const atPrompt = new Map<string, SavedVm>();

async function bootOnce({ plugins = [] }: SessionOptions, context: PerformContext): Promise<SavedVm> {
  // Whatever is varied is varied from the prompt on: one guest for all. What only listens keeps no state of a VM.
  const kept = plugins.map((choice) => asUse(choice).plugin).filter(({ tier }) => tier === "enhanced");
  const key = kept.map(({ name }) => name).join();
  const known = atPrompt.get(key);
  if (known !== undefined) return known;
  const booted = await LinuxSession.powerOn({ bt: {}, plugins: kept }, { ...context, overrides: {}, without: [] });
  await booted.run(() => context.breathe(0));
  const saved = booted.host.save(booted.vm);
  atPrompt.set(key, saved);
  return saved;
}

/** Kernel and initramfs, as they were prepared. Throws InputError where they were not. */
export async function readLinux(): Promise<{ kernel: Uint8Array; initrd: Uint8Array }> {
  const cacheDir = fromFileUrl(new URL("../../cache", import.meta.url));
  try {
    // No search path: an experiment fetches nothing.
    const { kernel, initrd } = await prepareLinux({ cacheDir, log: () => {}, apt: { searchPath: "" } });
    return { kernel: await Deno.readFile(kernel), initrd: await Deno.readFile(initrd) };
  } catch (cause) {
    if (!(cause instanceof LinuxUnavailable)) throw cause;
    throw new InputError("the Linux kernel is not here yet: deno task linux --prepare fetches it", { cause });
  }
}

/** What was counted between two samples. */
export function between(from: Sample | undefined, to: Sample, name: string): number {
  return (to.figures[name] ?? 0) - (from?.figures[name] ?? 0);
}
