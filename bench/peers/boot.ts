// One boot of one engine: starts its process, takes the time at each line with which the guest marks the start and the
// end of a workload, and asks the kernel for the process's peak memory before it ends it.

import { readMark } from "../../guests/workloads/mod.ts";

/** A time by both clocks. */
export interface Span {
  /** Wall time, by the host. */
  readonly seconds: number;
  /** CPU time of the process, all threads, to 10 ms. */
  readonly cpuSeconds: number;
}

/** What one workload took between its two marks. */
export interface Outcome extends Span {
  readonly checksum: string;
}

/** What was seen of one boot. */
export interface BootResult {
  /** From the start of the process to the guest's first own line; undefined if it never came. */
  readonly init: Span | undefined;
  readonly outcomes: ReadonlyMap<string, Outcome>;
  /** Workloads that the guest gave up, with its reason. */
  readonly failures: ReadonlyMap<string, string>;
  /** Undefined if the process ended by itself. */
  readonly peakRssMib: number | undefined;
  /** Why it ended before the guest was done; undefined if it did not. */
  readonly broken: string | undefined;
}

export interface BootOptions {
  /** Ends the process. */
  readonly signal: AbortSignal;
  /** Longest wall time without a line from the guest. */
  readonly patienceSeconds: number;
  /** Called at the guest's first own line. */
  readonly onInit?: () => void;
  /** Told of each workload when it is over. */
  readonly onOutcome?: (name: string, outcome: Outcome) => void;
}

/** Runs a command whose standard output is the console of a guest that runs workloads. */
export async function boot([program, ...args]: readonly string[], options: BootOptions): Promise<BootResult> {
  const watch = new Watch(options);
  options.signal.throwIfAborted();
  const child = new Deno.Command(program, { args: [...args], stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
  const kill = () => stop(child);
  options.signal.addEventListener("abort", kill);
  let lastLineMs = performance.now();
  let wasSilent = false;
  const impatience = setInterval(() => {
    if (performance.now() - lastLineMs < options.patienceSeconds * 1000) return;
    wasSilent = true;
    kill();
  }, 1000);
  const complaints = new Response(child.stderr).text();
  try {
    for await (const line of lines(child.stdout)) {
      lastLineMs = performance.now();
      watch.see(line, child.pid);
      if (watch.isDone) break;
    }
    await watch.settled();
  } finally {
    clearInterval(impatience);
    options.signal.removeEventListener("abort", kill);
    kill();
  }
  const { code } = await child.status;
  options.signal.throwIfAborted();
  if (watch.isDone) return watch.result(undefined);
  const how = wasSilent ? `no line for ${options.patienceSeconds} s` : `ended early with status ${code}`;
  return watch.result([how, (await complaints).trim(), ...watch.lastLines].filter((text) => text !== "").join("; "));
}

/** Lines of the console kept to explain a boot that broke. */
const KEPT_LINES = 3;

/** Follows the marks of one boot. */
class Watch {
  readonly lastLines: string[] = [];
  isDone = false;
  readonly #startedMs = performance.now();
  readonly #outcomes = new Map<string, Outcome>();
  readonly #failures = new Map<string, string>();
  #init: Span | undefined;
  #peakRssMib: number | undefined;
  /** Questions about the process that are not answered yet. */
  readonly #pending: Promise<void>[] = [];
  #running: { readonly name: string; readonly atMs: number; readonly cpuSeconds: Promise<number> } | undefined;

  constructor(readonly options: BootOptions) {}

  /** Waits for nothing, so that the next line's time is right, too. */
  see(line: string, pid: number): void {
    const nowMs = performance.now();
    this.lastLines.push(line);
    if (this.lastLines.length > KEPT_LINES) this.lastLines.shift();
    const mark = readMark(line);
    switch (mark?.kind) {
      case "init":
        this.#pending.push(this.#reachInit((nowMs - this.#startedMs) / 1000, cpuSecondsOf(pid)));
        this.options.onInit?.();
        break;
      case "start":
        this.#running = { name: mark.name, atMs: nowMs, cpuSeconds: cpuSecondsOf(pid) };
        break;
      case "end":
        this.#pending.push(this.#end(mark.name, mark.checksum, nowMs, cpuSecondsOf(pid)));
        break;
      case "fail":
        if (!this.#failures.has(mark.name)) this.#failures.set(mark.name, mark.reason);
        break;
      case "done":
        this.#pending.push(peakRssMibOf(pid).then((mib) => void (this.#peakRssMib = mib)));
        this.isDone = true;
        break;
    }
  }

  async settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  async #reachInit(seconds: number, cpuSeconds: Promise<number>): Promise<void> {
    this.#init = { seconds, cpuSeconds: await cpuSeconds };
  }

  async #end(name: string, checksum: string, endedMs: number, cpuSeconds: Promise<number>): Promise<void> {
    const running = this.#running;
    if (running?.name !== name) return;
    const seconds = (endedMs - running.atMs) / 1000;
    const outcome = { seconds, cpuSeconds: await cpuSeconds - await running.cpuSeconds, checksum };
    this.#outcomes.set(name, outcome);
    this.options.onOutcome?.(name, outcome);
  }

  result(broken: string | undefined): BootResult {
    return {
      init: this.#init,
      outcomes: this.#outcomes,
      failures: this.#failures,
      peakRssMib: this.#peakRssMib,
      broken,
    };
  }
}

/** The lines of a stream, without their ends; a last line without an end is not one. */
async function* lines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) yield part.replaceAll("\r", "");
  }
}

function stop(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    // It has ended already.
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Fields of proc_pid_stat(5), counted from the one after the program's name; ticks of the kernel's user interface. */
const USER_TICKS_FIELD = 11;
const SYSTEM_TICKS_FIELD = 12;
const TICKS_PER_SECOND = 100;

async function cpuSecondsOf(pid: number): Promise<number> {
  const fields = (await readProc(pid, "stat")).replace(/^.*\) /s, "").split(" ");
  return (Number(fields[USER_TICKS_FIELD]) + Number(fields[SYSTEM_TICKS_FIELD])) / TICKS_PER_SECOND;
}

async function peakRssMibOf(pid: number): Promise<number> {
  const [, kibibytes] = /^VmHWM:\s*(\d+) kB$/m.exec(await readProc(pid, "status")) ?? [];
  return Number(kibibytes) / 1024;
}

/** Deno reads /proc itself only with every permission; `cat` may. */
async function readProc(pid: number, name: string): Promise<string> {
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/${name}`], stderr: "null" }).output();
  return new TextDecoder().decode(stdout);
}
