// A scene: a host with guests and plugins, phases on a time line of host seconds, and the recording of what happened. Modelled
// time alone is in it, so that one scene and seed give one recording.

import { definePlugin, type Host, InputError, type Vm } from "../../../core/mod.ts";
import * as allocator from "../../../plugins/allocator/mod.ts";
import * as bt from "../../../plugins/bt/mod.ts";
import * as console from "../../../plugins/console/mod.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import { asUse, type PluginChoice } from "../../../cli/catalogue.ts";
import { addVm, createHost, type VmOptions } from "../../../cli/machine.ts";
import { makeReport } from "../../../cli/report.ts";
import type { PluginOptions } from "./definition.ts";

/** A VM of a scene; it starts at the beginning unless `startSeconds` says otherwise. */
export interface SceneVm extends VmOptions {
  readonly name: string;
  readonly startSeconds?: number;
}

/** Something that happens at a time, such as another policy. `does` says it in reports. */
export interface Phase {
  readonly atSeconds: number;
  readonly does: string;
  act(stage: Stage): void;
}

export interface Scene {
  /** Machine memory. */
  readonly hostMib: number;
  /** Steps per microsecond of guest time, for all VMs: low, so that mostly idle minutes cost little. */
  readonly cpuMhz: number;
  /** Added to base; `bt` is always among them. */
  readonly plugins: readonly PluginChoice[];
  readonly options?: PluginOptions;
  readonly vms: readonly SceneVm[];
  readonly phases?: readonly Phase[];
  readonly untilSeconds: number;
  /**
   * Longest turn of a VM, in ms; default 1, so that a VM that sleeps most of the time is not kept from waking by one that never
   * does. More is faster where many VMs are busy.
   */
  readonly quantumMs?: number;
  /** Host time between samples. */
  readonly sampleSeconds: number;
  /** More figures, taken with each sample and kept under their names. */
  readonly gauges?: (stage: Stage) => Readonly<Record<string, number>>;
  /** Figures taken once, at the end. */
  readonly atEnd?: (stage: Stage) => Readonly<Record<string, number>>;
}

/** A running scene, as phases and gauges see it. */
export interface Stage {
  readonly host: Host;
  vm(name: string): Vm;
  /** Loads a policy, in place of itself where it is loaded already: options set by the user go over these. */
  usePolicy(choice: PluginChoice, options?: Readonly<Record<string, unknown>>): void;
  dropPolicy(name: string): void;
  /** MiB that the allocator may give to VMs: what is not the hypervisor's nor to be kept free, and what sharing saves. */
  givenOutMib(): number;
  /** A counter or gauge that a plugin keeps. */
  figure(plugin: string, name: string): number;
}

/** Figures of one VM, a number a sample. Before it starts: 0. */
export interface VmSeries {
  readonly allocatedMib: number[];
  readonly targetMib: number[];
  /** NaN, null in JSON, while nothing is known. */
  readonly activeMib: (number | null)[];
  readonly balloonedMib: number[];
  readonly sharedMib: number[];
  readonly swappedMib: number[];
  readonly steps: number[];
}

export interface HostSeries {
  readonly freeMib: number[];
  readonly sharedMib: number[];
  readonly savedMib: number[];
  readonly zeroMib: number[];
  readonly state: string[];
}

export interface Recording {
  /** Host time of each sample. */
  readonly seconds: number[];
  readonly host: HostSeries;
  readonly vms: Readonly<Record<string, VmSeries>>;
  readonly gauges: Readonly<Record<string, number[]>>;
  readonly atEnd: Readonly<Record<string, number>>;
  /** Changes of the state of free memory. */
  readonly states: readonly { readonly seconds: number; readonly to: string }[];
  /** What guests printed, and when. */
  readonly lines: readonly { readonly seconds: number; readonly vm: string; readonly line: string }[];
  /** Counters and gauges at the end, by plugin; what the wall clock had a part in is left out. */
  readonly counters: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** How VMs ended. */
  readonly exits: Readonly<Record<string, string>>;
}

/** What a scene is run with. */
export interface SceneContext {
  readonly seed: number;
  readonly overrides: PluginOptions;
  readonly without: readonly string[];
  breathe(done: number): Promise<void>;
}

const NS_PER_SECOND = 1e9, NS_PER_MS = 1e6, DEFAULT_QUANTUM_MS = 1;

/** Runs a scene to its end. Throws InputError where a guest found its memory corrupt or a VM failed. */
export async function runScene(scene: Scene, context: SceneContext): Promise<Recording> {
  const { host, stage } = setUp(scene, context);
  const recorder = new Recorder(host, scene, stage);
  host.load({ plugin: recorder.listeners() });
  const events = [
    ...scene.vms.map((vm) => ({ atSeconds: vm.startSeconds ?? 0, act: () => void start(vm) })),
    ...(scene.phases ?? []).map((phase) => ({ atSeconds: phase.atSeconds, act: () => phase.act(stage) })),
  ].toSorted((a, b) => a.atSeconds - b.atSeconds);

  function start({ startSeconds: _, ...vm }: SceneVm): void {
    addVm(host, { cpuMhz: scene.cpuMhz, ...vm });
  }

  const { untilSeconds, sampleSeconds } = scene;
  const samples = Math.round(untilSeconds / sampleSeconds);
  const breathe = () => context.breathe(host.clock.nowNs / NS_PER_SECOND / untilSeconds);
  for (let i = 0; i <= samples; i++) {
    const atSeconds = i * sampleSeconds;
    for (let event = events[0]; event !== undefined && event.atSeconds <= atSeconds; event = events[0]) {
      await runTo(host, event.atSeconds, breathe);
      event.act();
      events.shift();
    }
    await runTo(host, atSeconds, breathe);
    recorder.sample(atSeconds);
  }
  return recorder.finish();
}

async function runTo(host: Host, seconds: number, breathe: () => Promise<void>): Promise<void> {
  const untilNs = seconds * NS_PER_SECOND;
  if (host.clock.nowNs < untilNs) await host.run({ untilNs, breathe });
  // Where every VM has ended, or none has begun, time goes on all the same.
  while (host.clock.nowNs < untilNs) {
    host.clock.nowNs = Math.min(untilNs, host.clock.nextTimerNs());
    host.clock.fireDue();
  }
}

function setUp(scene: Scene, { seed, overrides, without }: SceneContext) {
  const chosen: PluginChoice[] = [bt.default, ...scene.plugins];
  const loaded = new Set(chosen.map((choice) => asUse(choice).plugin.name));
  const options: Record<string, Record<string, unknown>> = {};
  for (const [name, given] of Object.entries(scene.options ?? {})) options[name] = { ...given };
  for (const [name, given] of Object.entries(overrides)) options[name] = { ...options[name], ...given };
  // A policy that comes later is given its options then.
  const base = new Set(createHost({ plugins: [], memoryMib: 16 }).plugins.loaded.keys());
  for (const name of Object.keys(options)) if (!loaded.has(name) && !base.has(name)) delete options[name];
  const host = createHost({
    memoryMib: scene.hostMib,
    seed,
    quantumNs: (scene.quantumMs ?? DEFAULT_QUANTUM_MS) * NS_PER_MS,
    plugins: chosen.filter((choice) => !without.includes(asUse(choice).plugin.name)),
    options: Object.fromEntries(Object.entries(options).filter(([name]) => !without.includes(name))),
  });
  const stage: Stage = {
    host,
    vm(name) {
      const found = host.vms.find((vm) => vm.name === name);
      if (found === undefined) throw new Error(`the scene has no VM "${name}" yet`);
      return found;
    },
    usePolicy(choice, given = {}) {
      const use = asUse(choice), { name } = use.plugin;
      if (without.includes(name)) return;
      if (host.plugins.loaded.has(name)) host.plugins.unload(name);
      host.load({ plugin: use.plugin, options: { ...use.options, ...given, ...overrides[name] } });
      host.service(allocator.allocation).rebalance();
    },
    givenOutMib() {
      const { totalFrames, hypervisorFrames, savedFrames } = host.service(memory.report).host();
      const kept = (allocator.defaultThresholds.high + allocator.defaultThresholds.margin) * totalFrames;
      return (totalFrames - hypervisorFrames + savedFrames - kept) / memory.FRAMES_PER_MIB;
    },
    figure(plugin, name) {
      const found = host.plugins.loaded.get(plugin)?.stats.snapshot()[name];
      if (found === undefined) throw new Error(`plugin "${plugin}" keeps no figure "${name}"`);
      return found;
    },
    dropPolicy(name) {
      if (host.plugins.loaded.has(name)) host.plugins.unload(name);
      host.service(allocator.allocation).rebalance();
    },
  };
  return { host, stage };
}

const vmColumns = ["allocatedMib", "targetMib", "activeMib", "balloonedMib", "sharedMib", "swappedMib"] as const;

/** Takes samples of a scene. */
class Recorder {
  readonly #seconds: number[] = [];
  readonly #host: HostSeries = { freeMib: [], sharedMib: [], savedMib: [], zeroMib: [], state: [] };
  readonly #vms: Record<string, VmSeries> = {};
  readonly #gauges: Record<string, number[]> = {};
  readonly #states: { seconds: number; to: string }[] = [];
  readonly #lines: { seconds: number; vm: string; line: string }[] = [];

  constructor(readonly host: Host, readonly scene: Scene, readonly stage: Stage) {
    for (const { name } of scene.vms) {
      const columns = {
        allocatedMib: [],
        targetMib: [],
        activeMib: [],
        balloonedMib: [],
        sharedMib: [],
        swappedMib: [],
      };
      this.#vms[name] = { ...columns, steps: [] };
    }
  }

  listeners() {
    return definePlugin({
      name: "scene-recorder",
      requires: ["console", "allocator"],
      setup: ({ on }) => {
        const now = () => this.host.clock.nowNs / NS_PER_SECOND;
        on(allocator.stateChanged, ({ to }) => void this.#states.push({ seconds: now(), to }));
        on(console.line, ({ vm, line }) => void this.#lines.push({ seconds: now(), vm: vm.name, line: line.trim() }));
      },
    });
  }

  sample(seconds: number): void {
    const { host } = this, report = makeReport(host, 0), mib = (frames: number) => frames / memory.FRAMES_PER_MIB;
    this.#seconds.push(seconds);
    const { freeFrames, sharedFrames, savedFrames, zeroFrames, state } = report.host.memory;
    this.#host.freeMib.push(mib(freeFrames));
    this.#host.sharedMib.push(mib(sharedFrames + savedFrames));
    this.#host.savedMib.push(mib(savedFrames));
    this.#host.zeroMib.push(mib(zeroFrames));
    this.#host.state.push(state ?? "");
    for (const [name, series] of Object.entries(this.#vms)) {
      const vm = report.vms.find((other) => other.name === name);
      for (const column of vmColumns) series[column].push(vm === undefined ? 0 : vm.memory[column] ?? null as never);
      series.steps.push(vm?.instructions ?? 0);
    }
    for (const [name, value] of Object.entries(this.scene.gauges?.(this.stage) ?? {})) {
      // A gauge that begins later was 0 before.
      (this.#gauges[name] ??= Array.from({ length: this.#seconds.length - 1 }, () => 0)).push(value);
    }
  }

  finish(): Recording {
    const { host } = this;
    host.service(memory.machine).audit();
    for (const vm of host.vms) {
      if (vm.exit === undefined || vm.exit.status === 0) continue;
      const last = this.#lines.filter((line) => line.vm === vm.name).at(-1)?.line ?? "";
      throw new InputError(`VM "${vm.name}" ended: ${vm.exit.reason} ${vm.exit.detail ?? ""} ${last}`.trim());
    }
    const counters: Record<string, Record<string, number>> = {};
    for (const [name, { stats }] of host.plugins.loaded) {
      const modelled = Object.entries(stats.snapshot()).filter(([counter]) => !counter.startsWith("wall"));
      if (modelled.length > 0) counters[name] = Object.fromEntries(modelled);
    }
    return {
      seconds: this.#seconds,
      host: this.#host,
      vms: this.#vms,
      gauges: this.#gauges,
      atEnd: this.scene.atEnd?.(this.stage) ?? {},
      states: this.#states,
      lines: this.#lines,
      counters,
      exits: Object.fromEntries(host.vms.map((vm) => [vm.name, vm.exit?.reason ?? "running"])),
    };
  }
}

/** A scene as plain data, for `result.json`. */
export function describeScene(scene: Scene): Readonly<Record<string, unknown>> {
  return {
    hostMib: scene.hostMib,
    cpuMhz: scene.cpuMhz,
    plugins: scene.plugins.map((choice) => {
      const { plugin, options } = asUse(choice);
      return options === undefined ? plugin.name : { use: plugin.name, options };
    }),
    options: scene.options ?? {},
    vms: scene.vms.map(({ guest, ...vm }) => ({ ...vm, guest: describeGuest(guest) })),
    phases: (scene.phases ?? []).map(({ atSeconds, does }) => ({ atSeconds, does })),
    untilSeconds: scene.untilSeconds,
    quantumMs: scene.quantumMs ?? DEFAULT_QUANTUM_MS,
    sampleSeconds: scene.sampleSeconds,
  };
}

function describeGuest(guest: VmOptions["guest"]): unknown {
  if (typeof guest === "string" || "use" in guest) return guest;
  return "linux" in guest ? { linux: guest.linux.kernelName ?? "a kernel" } : "an image";
}
