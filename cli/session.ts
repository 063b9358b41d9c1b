// One run of a host as a person or a script meets it: consoles on standard input and output, limits, Ctrl-C, statistics,
// an exit status.

import { definePlugin, type Host, type RunLimits, type Vm, vmCheckpoint, vmExited, VmFailure } from "../core/mod.ts";
import * as console from "../plugins/console/mod.ts";
import * as vga from "../plugins/vga/mod.ts";
import { setImmediate } from "node:timers";
import type { DebuggingTools } from "./debugging.ts";
import { hotSitesTable } from "./hot_sites.ts";
import { makeReport, SeriesRecorder } from "./report.ts";
import { InputPump } from "./stdin.ts";
import { writeUserFile } from "./files.ts";
import { Pace } from "./pace.ts";
import { LiveTable, summarize } from "./summary.ts";

/** What ends a run, and what is written about it. */
export interface SessionOptions {
  /** Host time. */
  readonly forSeconds?: number;
  /** Steps of each VM. */
  readonly maxInstructions?: number;
  /** Wall time. */
  readonly timeoutSeconds?: number;
  /** Console text that ends the run. */
  readonly until?: string;
  readonly statsPath?: string;
  /** Print the table of so many hot sites. */
  readonly hotSites?: number;
  readonly seriesPath?: string;
  /** Host time between samples of the series. */
  readonly everySeconds?: number;
  /** Steps between state hashes. */
  readonly stateHashEvery?: number;
  /** Idle guests wait as long as they would on a wall clock. Default: when standard input is a terminal. */
  readonly realtime?: boolean;
  /** Whether standard input belongs to the console. */
  readonly takesStdin: boolean;
  /** Print each VM's text screen at the end. */
  readonly showsScreen?: boolean;
  /** What looks at the guests, and may make the host stand still. */
  readonly tools?: DebuggingTools;
}

/** The exit statuses of the command line. */
export const Status = { success: 0, usage: 2, died: 3, internal: 70, timeout: 124, interrupted: 130 } as const;

const NS_PER_SECOND = 1e9;

/** Runs a host's VMs; returns the exit status. Nothing of the user's input or the guests' output is lost. */
export async function runSession(host: Host, options: SessionOptions): Promise<number> {
  const session = new Session(host, options);
  return await session.run();
}

class Session {
  readonly #writer: console.ConsoleWriter;
  readonly #untilFound = new Set<Vm>();
  #ending: "interrupted" | "timeout" | "quit" | undefined;
  #stopped: () => void = () => {};
  readonly #whenStopped = new Promise<void>((resolve) => this.#stopped = resolve);
  readonly #series: SeriesRecorder | undefined;
  /** Of many VMs, on a terminal. */
  readonly #table: LiveTable | undefined;

  constructor(readonly host: Host, readonly options: SessionOptions) {
    this.#writer = new console.ConsoleWriter(host.vms.length > 1, (bytes) => this.#writeStdout(bytes));
    this.#series = options.seriesPath === undefined ? undefined : new SeriesRecorder(host);
    const isLive = host.vms.length > 1 && Deno.stderr.isTerminal();
    this.#table = isLive ? new LiveTable(host, writeStderr, () => performance.now()) : undefined;
    host.load({ plugin: this.#listeners() });
    for (const vm of host.vms) this.#setCheckpoint(vm);
  }

  async run(): Promise<number> {
    const { options, host } = this;
    const startedMs = performance.now();
    const interrupt = () => this.#end("interrupted");
    const signals: Deno.Signal[] = ["SIGINT", "SIGTERM"];
    for (const signal of signals) Deno.addSignalListener(signal, interrupt);
    const timeout = options.timeoutSeconds === undefined
      ? undefined
      : setTimeout(() => this.#end("timeout"), options.timeoutSeconds * 1000);
    const isInteractive = options.takesStdin && Deno.stdin.isTerminal();
    if (isInteractive) Deno.stdin.setRaw(true);
    let failure: { readonly cause: unknown } | undefined;
    try {
      const pump = options.takesStdin ? this.#makePump(isInteractive) : undefined;
      if (!isInteractive) await pump?.start();
      this.#series?.sample();
      await this.#runHost(pump, options.realtime ?? isInteractive);
      this.#series?.sample();
    } catch (cause) {
      // What there is to tell of the run is told first.
      failure = { cause };
    } finally {
      if (isInteractive) Deno.stdin.setRaw(false);
      clearTimeout(timeout);
      for (const signal of signals) Deno.removeSignalListener(signal, interrupt);
      for (const vm of host.vms) this.#writer.finish(vm);
      this.#writer.flush();
      this.#table?.erase();
      await options.tools?.close();
    }
    if (options.showsScreen) this.#showScreens();
    const isComplete = failure === undefined && this.#ending === undefined && this.#untilFound.size === 0;
    const reason = isComplete ? "limit" : "stopped";
    for (const vm of host.vms) vm.end({ reason, status: Status.success });
    if (host.vms.length > 1) writeStderr(summarize(host, makeReport(host, 0)));
    await this.#writeResults((performance.now() - startedMs) / 1000);
    if (failure !== undefined) throw failure.cause;
    return this.#status();
  }

  /** Prints every VM's text screen, framed, without the blank lines at its end. */
  #showScreens(): void {
    const { host } = this;
    for (const vm of host.vms) {
      const screen = host.service(vga.screen)(vm);
      const lines = screen === undefined ? ["(a graphics mode)"] : screen.lines.map((line) => line.trimEnd());
      while (lines.length > 0 && lines.at(-1) === "") lines.pop();
      const width = screen?.columns ?? 80;
      const rule = "-".repeat(width);
      const framed = [`+${rule}+`, ...lines.map((line) => `|${line.padEnd(width)}|`), `+${rule}+`];
      const title = host.vms.length > 1 ? [vm.name] : [];
      this.#writeStdout(new TextEncoder().encode(["", ...title, ...framed, ""].join("\n")));
    }
  }

  async #runHost(pump: InputPump | undefined, realtime: boolean): Promise<void> {
    const { host, options } = this;
    const endNs = options.forSeconds === undefined ? Infinity : options.forSeconds * NS_PER_SECOND;
    const breathe = async () => {
      this.#writer.flush();
      this.#table?.refresh();
      pump?.refill();
      await nextMacrotask();
    };
    const { tools } = options;
    const isOver = () => this.#ending !== undefined || this.#untilFound.size > 0;
    const limits: RunLimits = {
      untilNs: endNs,
      stop: () => isOver() || tools?.isStopped === true,
      breathe,
      awaitInput: async () => {
        this.#writer.flush();
        return pump === undefined ? false : await pump.wait(Promise.race([this.#whenStopped, tools?.whenStopped]));
      },
    };
    const isRunning = () => host.vms.some((vm) => vm.state !== "exited") && host.clock.nowNs < endNs;
    if (!realtime) {
      do {
        await this.#standStill();
        await host.run(limits);
      } while (tools?.isStopped && isRunning() && !isOver());
      return;
    }
    const pace = new Pace(host);
    while (isRunning() && !isOver()) {
      await this.#standStill();
      await host.run({ ...limits, untilNs: Math.min(endNs, pace.sliceEndNs()) });
      await breathe();
      await pace.catchUp((ms) => this.#pause(ms, pump));
    }
  }

  /** Waits while a debugger looks at a VM. */
  async #standStill(): Promise<void> {
    const { tools } = this.options;
    if (!tools?.isStopped) return;
    this.#writer.flush();
    await Promise.race([tools.whenResumed(), this.#whenStopped]);
  }

  /** Waits, but no longer than until input arrives or the run is stopped. */
  async #pause(ms: number, pump: InputPump | undefined): Promise<void> {
    const over = Promise.withResolvers<void>();
    const timer = setTimeout(over.resolve, ms);
    await Promise.race([over.promise, this.#whenStopped, pump?.arrival() ?? over.promise]);
    clearTimeout(timer);
  }

  #makePump(isInteractive: boolean): InputPump {
    const { input } = this.host.service(console.consoleOf)(this.host.vms[0]);
    if (!isInteractive) return new InputPump(Deno.stdin, input);
    const keys = new console.EscapeKeys();
    return new InputPump(Deno.stdin, input, (typed) => {
      const { bytes, quit } = keys.type(typed);
      if (quit) this.#end("quit");
      return bytes;
    });
  }

  #end(ending: "interrupted" | "timeout" | "quit"): void {
    this.#ending ??= ending;
    this.#stopped();
  }

  /** The session's own listeners, as a plugin. */
  #listeners() {
    const { options } = this;
    return definePlugin({
      name: "command-line",
      summary: "consoles, limits and statistics of a run",
      requires: ["console"],
      setup: ({ on, every, perVm }) => {
        on(console.output, ({ vm, byte }) => this.#writer.add(vm, byte));
        on(vmExited, (vm) => this.#writer.finish(vm));
        on(vmCheckpoint, (vm) => this.#atCheckpoint(vm));
        if (options.until !== undefined) {
          const wanted = new TextEncoder().encode(options.until);
          const seen = perVm(() => ({ bytes: [] as number[] }));
          on(console.output, ({ vm, byte }) => {
            const { bytes } = seen(vm);
            bytes.push(byte);
            if (bytes.length > wanted.length) bytes.shift();
            if (bytes.length === wanted.length && wanted.every((other, i) => other === bytes[i])) {
              this.#untilFound.add(vm);
              vm.clock.endTurn();
            }
          });
        }
        if (this.#series !== undefined) {
          every((options.everySeconds ?? 1) * NS_PER_SECOND, () => this.#series?.sample());
        }
      },
    });
  }

  /** Puts the VM's next checkpoint where a hash is due or its instructions end. */
  #setCheckpoint(vm: Vm): void {
    const { stateHashEvery, maxInstructions = Infinity } = this.options;
    if (stateHashEvery !== undefined && vm.checkpointSteps === Infinity) vm.checkpointEvery(stateHashEvery);
    vm.checkpointSteps = Math.min(vm.checkpointSteps, maxInstructions);
  }

  #atCheckpoint(vm: Vm): void {
    const { stateHashEvery, maxInstructions = Infinity } = this.options;
    const { steps } = vm.clock;
    if (stateHashEvery !== undefined && steps % stateHashEvery === 0) {
      const name = this.host.vms.length > 1 ? ` ${vm.name}` : "";
      const hash = this.#stateHash(vm);
      if (hash !== undefined) writeStderr(`state-hash ${steps} ${hash}${name}\n`);
    }
    if (steps >= maxInstructions) vm.end({ reason: "limit", status: 0 });
    this.#setCheckpoint(vm);
  }

  /** A page that the swap file does not give back leaves the VM without a state to be hashed: that VM ends as failed. */
  #stateHash(vm: Vm): string | undefined {
    try {
      return this.host.stateHash(vm);
    } catch (cause) {
      if (!(cause instanceof VmFailure)) throw cause;
      vm.end({
        reason: "failed",
        status: cause.status,
        detail: `no state hash at step ${vm.clock.steps}: ${cause.message}`,
      });
      return undefined;
    }
  }

  /** Once nobody reads the output, the run is over. */
  #writeStdout(bytes: Uint8Array): number {
    this.#table?.erase();
    try {
      return Deno.stdout.writeSync(bytes);
    } catch (cause) {
      if (!(cause instanceof Deno.errors.BrokenPipe)) throw cause;
      this.#end("interrupted");
      return bytes.length;
    }
  }

  async #writeResults(wallSeconds: number): Promise<void> {
    const { statsPath, seriesPath, hotSites } = this.options;
    if (hotSites !== undefined) writeStderr(hotSitesTable(this.host, hotSites));
    if (statsPath !== undefined) {
      const report = makeReport(this.host, wallSeconds);
      await writeUserFile(statsPath, "statistics", JSON.stringify(report, undefined, 2) + "\n");
    }
    if (seriesPath !== undefined && this.#series !== undefined) {
      await writeUserFile(seriesPath, "series", this.#series.csv());
    }
  }

  #status(): number {
    for (const { name, exit } of this.host.vms) {
      const isUsual = exit === undefined ||
        ["power-off", "halt", "debug-exit", "limit", "stopped"].includes(exit.reason);
      if (!isUsual) writeStderr(`ballast: ${name} ended: ${exit.reason}${exit.detail ? `: ${exit.detail}` : ""}\n`);
    }
    if (this.#ending === "interrupted") return Status.interrupted;
    if (this.#ending === "timeout") {
      writeStderr(`ballast: stopped after ${this.options.timeoutSeconds} s (--timeout)\n`);
      return Status.timeout;
    }
    const status = this.host.vms.map((vm) => vm.exit?.status ?? 0).find((vmStatus) => vmStatus !== 0) ?? Status.success;
    const { until } = this.options;
    if (until !== undefined && this.#untilFound.size === 0 && this.#ending === undefined && status === 0) {
      writeStderr(`ballast: the console never showed ${JSON.stringify(until)} (--until)\n`);
      return Status.timeout;
    }
    return status;
  }
}

/** Lets timers, signals and input happen. */
function nextMacrotask(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function writeStderr(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
}
