// The host: the VM registry and the run loop. It picks a VM, lets the executor run one turn, accounts the time, and jumps
// host time forward when nobody is ready. Nothing here depends on the wall clock, unless the caller paces the run by it.

import { Bus } from "./bus.ts";
import { HostClock } from "./clock.ts";
import { InputError, VmFailure } from "./error.ts";
import { Lifecycle, type PluginUse } from "./lifecycle.ts";
import type { HostView } from "./plugin.ts";
import { StrideScheduler } from "./scheduler.ts";
import { Hasher, type Saved } from "./state.ts";
import type { ServiceToken } from "./token.ts";
import {
  executor,
  turnEnded,
  Vm,
  vmAdmission,
  vmAdmitted,
  vmCheckpoint,
  type VmConfig,
  vmEnding,
  vmExited,
} from "./vm.ts";

export interface HostConfig {
  /** Machine memory in MiB. */
  readonly memoryMib: number;
  readonly seed: number;
  /** Longest turn, in ns of host time. */
  readonly quantumNs: number;
  readonly log?: (plugin: string, message: string) => void;
}

/** When a run ends before every VM has, and how it waits for the world. */
export interface RunLimits {
  /** Host time in ns. */
  readonly untilNs?: number;
  /** Asked between turns: true stops the run. */
  readonly stop?: () => boolean;
  /** Called every few milliseconds of wall time, so that input arrives; may wait to pace the run. */
  readonly breathe?: () => Promise<void>;
  /** Called when every VM waits for input alone: true once there is some, false if there will be none. */
  readonly awaitInput?: () => Promise<boolean>;
}

/** A saved VM: its clock and every plugin's state of it, by plugin. */
export interface SavedVm {
  readonly clock: Saved;
  readonly plugins: Readonly<Record<string, readonly Saved[]>>;
}

/** Wall time between two breaths. */
const breathMs = 10;

export class Host {
  readonly bus = new Bus();
  readonly clock = new HostClock();
  readonly plugins: Lifecycle;
  readonly vms: Vm[] = [];
  readonly #scheduler = new StrideScheduler();
  readonly #turnEnded = this.bus.port(turnEnded);
  readonly #checkpoint = this.bus.port(vmCheckpoint);

  constructor(readonly config: HostConfig) {
    const { clock, vms } = this;
    const view: HostView = {
      get nowNs() {
        return clock.nowNs;
      },
      vms,
      memoryMib: config.memoryMib,
      charge: (vm, ns) => void (vm.chargedNs += ns),
      suspend: (vm, holder) => void (vm.suspendedBy.add(holder), vm.clock.endTurn()),
      resume: (vm, holder) => void vm.suspendedBy.delete(holder),
      wake: (vm) => vm.wake(clock.nowNs),
    };
    const log = config.log ?? (() => {});
    this.plugins = new Lifecycle({ bus: this.bus, clock, view, seed: config.seed, log });
  }

  load(...uses: readonly PluginUse[]): void {
    this.plugins.load(uses);
  }

  service<T>(token: ServiceToken<T>, from?: string): T {
    return this.plugins.service(token, from);
  }

  /** Admits a VM; throws InputError where a plugin refuses it. */
  add(config: VmConfig): Vm {
    if (this.vms.some((vm) => vm.name === config.name)) throw new InputError(`two VMs are named "${config.name}"`);
    const refusal = this.bus.port(vmAdmission).ask(config);
    if (refusal !== undefined) throw new InputError(`VM "${config.name}" is not admitted: ${refusal}`);
    const vm = new Vm(this.vms.length, config);
    this.plugins.admit(vm);
    this.vms.push(vm);
    this.#scheduler.add(vm.id, config.shares);
    vm.readySinceNs = this.clock.nowNs;
    this.bus.port(vmAdmitted).emit(vm);
    return vm;
  }

  /** Runs until every VM has ended or a limit is reached. */
  async run(limits: RunLimits = {}): Promise<void> {
    const { untilNs = Infinity, stop = () => false, breathe = () => Promise.resolve() } = limits;
    let breathAt = performance.now() + breathMs;
    while (this.vms.some((vm) => vm.state !== "exited") && this.clock.nowNs < untilNs && !stop()) {
      if (performance.now() >= breathAt) {
        await breathe();
        breathAt = performance.now() + breathMs;
        if (stop()) break;
      }
      this.clock.fireDue();
      this.#wakeDue();
      // A VM's id is its place in `vms`.
      const id = this.#scheduler.pick((id) => this.vms[id].state === "ready");
      if (id !== undefined) this.#turn(this.vms[id], untilNs);
      else if (!this.#skipIdle(untilNs)) {
        const waiting = this.vms.filter((vm) => vm.state === "waiting");
        if (waiting.length > 0 && await limits.awaitInput?.()) continue;
        for (const vm of this.vms) {
          vm.end({ reason: "stalled", status: 0, detail: "halted with no timer armed and no input to come" });
          this.#finish(vm);
        }
      }
    }
  }

  /** Runs one VM alone until it has completed `steps` steps in all, or ended. For tests and tools. */
  runTo(vm: Vm, steps: number): void {
    while (vm.clock.steps < steps && vm.exit === undefined) {
      vm.clock.beginTurn(steps);
      vm.clock.fireDue();
      if (this.service(executor).run(vm) === "halted") {
        const nextNs = vm.clock.nextTimerNs();
        if (nextNs === Infinity) return;
        vm.clock.pass(Math.max(0, nextNs - vm.clock.nowNs()));
      }
    }
  }

  /** Hash of everything the guest can see: its clock and every state that declares a `hash`. */
  stateHash(vm: Vm): string {
    const hasher = new Hasher();
    hasher.number(vm.clock.steps);
    hasher.number(vm.clock.nowNs());
    for (const { plugin, owner } of this.plugins.statesOf(vm)) {
      if (owner.hash === undefined) continue;
      hasher.text(plugin);
      owner.hash(hasher);
    }
    return hasher.digest();
  }

  save(vm: Vm): SavedVm {
    const plugins: Record<string, Saved[]> = {};
    for (const { plugin, owner } of this.plugins.statesOf(vm)) (plugins[plugin] ??= []).push(owner.save());
    return { clock: vm.clock.save(), plugins };
  }

  /** Puts a VM, even one that has ended, into a saved state; it is then ready. The same plugins must be loaded. */
  restore(vm: Vm, saved: SavedVm): void {
    vm.clock.restore(saved.clock as Parameters<typeof vm.clock.restore>[0]);
    vm.checkpointEvery(vm.checkpointEverySteps);
    for (const { plugin, index, owner } of this.plugins.statesOf(vm)) {
      const state = saved.plugins[plugin]?.[index];
      if (state === undefined) throw new InputError(`the saved state has nothing of plugin "${plugin}"`);
      owner.restore(state);
    }
    // Whether it was halted is known to its processor, which says so again when it is run.
    if (vm.state === "exited") this.#scheduler.add(vm.id, vm.config.shares);
    vm.exit = undefined;
    this.#makeReady(vm);
  }

  #wakeDue(): void {
    for (const vm of this.vms) {
      if (vm.state !== "exited" && vm.exit !== undefined) this.#finish(vm);
      if (vm.state === "exited") continue;
      if (vm.suspendedBy.size > 0) {
        if (vm.state !== "suspended") vm.suspendedFrom = vm.state;
        vm.state = "suspended";
      } else if (vm.state === "suspended") {
        // A halted guest's time went on meanwhile.
        if (vm.suspendedFrom === "waiting") vm.state = "waiting";
        else this.#makeReady(vm);
      }
      if (vm.state === "waiting" && vm.wakeHostNs <= this.clock.nowNs) {
        // A halted guest sees the time until its timer, however late its turn comes; woken by input, the time until now.
        const timerInNs = Math.max(0, vm.clock.nextTimerNs() - vm.clock.nowNs());
        vm.clock.pass(Math.min(timerInNs, this.clock.nowNs - vm.haltedHostNs));
        this.#makeReady(vm);
      }
    }
  }

  #makeReady(vm: Vm): void {
    vm.state = "ready";
    vm.readySinceNs = this.clock.nowNs;
    this.#scheduler.resume(vm.id);
  }

  #turn(vm: Vm, untilNs: number): void {
    const { clock } = vm;
    const startNs = this.clock.nowNs;
    vm.stolenNs += startNs - vm.readySinceNs;
    const turnNs = Math.max(
      1000,
      Math.min(this.config.quantumNs, this.clock.nextTimerNs() - startNs, untilNs - startNs),
    );
    const startSteps = clock.steps;
    const quantumSteps = startSteps + Math.max(1, Math.floor((turnNs * clock.cpuMhz) / 1000));
    clock.beginTurn(Math.min(quantumSteps, vm.checkpointSteps));
    let isHalted = false;
    try {
      clock.fireDue();
      isHalted = this.service(executor).run(vm) === "halted";
    } catch (cause) {
      if (!(cause instanceof VmFailure)) throw cause;
      vm.end({ reason: "failed", status: cause.status, detail: cause.message });
    }
    const steps = clock.steps - startSteps;
    const hostNs = clock.stepsToNs(clock.steps) - clock.stepsToNs(startSteps) + vm.chargedNs - vm.billedNs;
    vm.billedNs = vm.chargedNs;
    vm.cpuNs += hostNs;
    this.clock.nowNs += hostNs;
    this.#scheduler.charge(vm.id, hostNs);
    vm.readySinceNs = this.clock.nowNs;
    if (this.#turnEnded.active) this.#turnEnded.emit({ vm, steps, hostNs });
    if (clock.steps >= vm.checkpointSteps) {
      vm.checkpointEvery(vm.checkpointEverySteps);
      this.#checkpoint.emit(vm);
    }
    if (vm.exit !== undefined) this.#finish(vm);
    else if (isHalted) {
      vm.state = "waiting";
      vm.haltedHostNs = this.clock.nowNs;
      vm.wakeHostNs = this.clock.nowNs + (clock.nextTimerNs() - clock.nowNs());
    }
  }

  /** Jumps host time to the next event. False when there is none. */
  #skipIdle(untilNs: number): boolean {
    const nextWakeNs = Math.min(Infinity, ...this.vms.map((vm) => vm.state === "waiting" ? vm.wakeHostNs : Infinity));
    const suspended = this.vms.some((vm) => vm.state === "suspended");
    if (nextWakeNs === Infinity && !suspended && untilNs === Infinity) return false;
    const nextNs = Math.min(nextWakeNs, this.clock.nextTimerNs(), untilNs);
    if (nextNs === Infinity) return false;
    this.clock.nowNs = Math.max(this.clock.nowNs, nextNs);
    return true;
  }

  #finish(vm: Vm): void {
    if (vm.state === "exited") return;
    vm.state = "exited";
    if (vm.exit !== undefined) vm.exit = this.bus.port(vmEnding).fold(vm.exit, vm);
    this.#scheduler.remove(vm.id);
    this.bus.port(vmExited).emit(vm);
  }
}
