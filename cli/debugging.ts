// Tools to find a fault in a guest, on the command line: traces, breakpoints that print the state, gdb. Options become
// plugins to load, and a plugin of this run's own that writes what they tell.

import { definePlugin, type Host, InputError, type Vm, vmExited } from "../core/mod.ts";
import * as debug from "../plugins/debugger/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import * as symbols from "../plugins/symbols/mod.ts";
import * as trace from "../plugins/trace/mod.ts";
import * as x86 from "../plugins/x86/mod.ts";
import type { PluginChoice } from "./catalogue.ts";
import { fileError, readUserFile, userPath } from "./files.ts";
import type { Given, OptionSpec } from "./options.ts";

export const debuggingOptions: readonly OptionSpec[] = [
  {
    name: "trace",
    value: "LIST",
    repeats: true,
    help: `trace ${trace.traceKinds.join(",")}; exec slows the guest down a hundredfold`,
  },
  { name: "trace-file", value: "FILE", help: "write the trace there; default: stderr" },
  {
    name: "break",
    value: "ADDRESS",
    repeats: true,
    help: "print the state whenever the guest comes to 0xADDRESS or SYMBOL",
  },
  { name: "break-count", value: "N", help: "end the run after N of these" },
  { name: "symbols", value: "FILE", repeats: true, help: "System.map, /proc/kallsyms or an ELF file, of every VM" },
  {
    name: "gdb",
    value: "PORT",
    help: "wait on 127.0.0.1:PORT for gdb's `target remote`, VMs as threads; 0: a free port",
  },
];

/** What the options ask for. */
export interface DebuggingOptions {
  readonly traced: readonly trace.TraceKind[];
  readonly traceFile?: string;
  readonly breaks: readonly string[];
  readonly breakCount?: number;
  readonly symbols: readonly symbols.Symbol[];
  readonly gdbPort?: number;
}

const MOST_PORT = 65535;

/** Reads the options; undefined where none of them is given. */
export async function readDebugging(given: Given): Promise<DebuggingOptions | undefined> {
  if (!debuggingOptions.some(({ name }) => given.has(name))) return undefined;
  const traced = given.list("trace").flatMap((list) => list.split(",")).map((kind) => {
    const known = trace.traceKinds.find((other) => other === kind.trim());
    if (known === undefined) {
      throw new InputError(`option --trace: "${kind}"; expected some of ${trace.traceKinds.join(",")}`);
    }
    return known;
  });
  const path = given.text("trace-file"), gdbPort = given.integer("gdb", 0, MOST_PORT);
  if (path !== undefined && traced.length === 0) throw new InputError("option --trace-file needs --trace LIST");
  if (given.has("break-count") && !given.has("break")) {
    throw new InputError("option --break-count needs --break ADDRESS");
  }
  const files = await Promise.all(
    given.list("symbols").map(async (name) => symbols.readSymbols(await readUserFile(userPath(name), "symbols"), name)),
  );
  return {
    traced,
    traceFile: path === undefined ? undefined : userPath(path),
    breaks: given.list("break"),
    breakCount: given.integer("break-count", 1),
    symbols: files.flat(),
    gdbPort,
  };
}

/** Plugins that the options need. */
export function debuggingPlugins(options: DebuggingOptions | undefined): PluginChoice[] {
  if (options === undefined) return [];
  const choices: PluginChoice[] = ["symbols"];
  if (options.traced.length > 0) choices.push({ use: "trace", options: { events: options.traced } });
  if (options.breaks.length > 0 || options.gdbPort !== undefined) choices.push("debugger");
  return choices;
}

/** The tools of one run. */
export class DebuggingTools {
  readonly #debug: debug.Debugger | undefined;
  readonly #writer: LineWriter;
  #server: debug.GdbServer | undefined;
  #hits = 0;
  #whenStopped = Promise.withResolvers<void>();

  /** The host's plugins are loaded and its VMs admitted. `write` is for stderr. */
  constructor(readonly host: Host, readonly options: DebuggingOptions, readonly write: (text: string) => void) {
    this.#writer = new LineWriter(options.traceFile, write);
    for (const vm of host.vms) this.#table(vm).add(options.symbols);
    const usesDebugger = options.breaks.length > 0 || options.gdbPort !== undefined;
    if (usesDebugger) this.#debug = host.service(debug.debug);
    host.load({ plugin: this.#listeners() });
    for (const vm of host.vms) {
      for (const text of options.breaks) {
        this.#debug?.addBreakpoint(vm, symbols.parseAddress(text, this.#table(vm)));
      }
    }
    if (options.gdbPort !== undefined) this.#server = this.#listen(options.gdbPort);
  }

  /** Whether the host is to stand still. */
  get isStopped(): boolean {
    return this.#debug?.stopped !== undefined;
  }

  /** Settles when the host may go on. */
  async whenResumed(): Promise<void> {
    await this.#debug?.whenResumed();
  }

  /** Settles when the host is to stand still next. */
  get whenStopped(): Promise<void> {
    return this.#whenStopped.promise;
  }

  /** Writes what is not written yet, and lets gdb go. */
  async close(): Promise<void> {
    this.#writer.close();
    await this.#server?.close();
  }

  #table(vm: Vm): symbols.SymbolTable {
    return this.host.service(symbols.symbolsOf)(vm);
  }

  /** The tools' listeners, as a plugin. */
  #listeners() {
    const { options } = this;
    return definePlugin({
      name: "debugging-tools",
      summary: "writes traces and breakpoints' states, tells gdb of stops",
      requires: ["symbols"],
      setup: ({ on }) => {
        on(trace.traceLine, ({ vm, text }) => this.#writer.line(this.#prefix(vm) + text));
        on(debug.stopping, (stop) => options.breaks.length > 0 ? this.#atBreak(stop) : undefined);
        on(debug.stopped, (stop) => {
          this.#whenStopped.resolve();
          this.#server?.stopped(stop);
        });
        on(debug.resumed, () => void (this.#whenStopped = Promise.withResolvers()));
        on(vmExited, () => this.#server?.exited());
      },
    });
  }

  #prefix(vm: Vm): string {
    return this.host.vms.length > 1 ? `${vm.name}: ` : "";
  }

  /** Prints the state at a breakpoint of `--break`, and goes on. */
  #atBreak({ vm, reason }: debug.Stop): "go-on" | undefined {
    if (reason.kind !== "breakpoint") return undefined;
    const table = this.#table(vm);
    const isOurs = this.options.breaks.some((text) => symbols.parseAddress(text, table) === reason.address);
    if (!isOurs) return undefined;
    const nameOf = (address: number) => table.nameOf(address);
    const name = nameOf(reason.address), cpu = this.host.service(x86.processor)(vm);
    const at = `0x${reason.address.toString(16)}${name === undefined ? "" : ` <${name}>`}`;
    this.#writer.flush();
    this.write(`${this.#prefix(vm)}break at ${at}, step ${vm.clock.steps}\n${x86.describeState(cpu, nameOf)}\n`);
    this.#hits++;
    if (this.#hits === this.options.breakCount) vm.end({ reason: "limit", status: 0, detail: "--break-count" });
    // gdb may have a breakpoint there as well, and stops.
    return this.#server === undefined || vm.exit !== undefined ? "go-on" : undefined;
  }

  #listen(port: number): debug.GdbServer {
    const { host } = this, debugService = host.service(debug.debug);
    const targets = host.vms.map((vm): debug.GdbTarget => {
      const table = this.#table(vm);
      return {
        vm,
        cpu: host.service(x86.processor)(vm),
        memory: host.service(memory.guest)(vm),
        nameOf: (address) => table.nameOf(address),
        addressOf: (name) => table.addressOf(name),
      };
    });
    let server: debug.GdbServer;
    try {
      server = new debug.GdbServer(targets, debugService, port);
    } catch (cause) {
      if (cause instanceof Deno.errors.AddrInUse) {
        throw new InputError(`option --gdb: port ${port} is in use; give another, or 0 for any`, { cause });
      }
      if (cause instanceof Deno.errors.NotCapable) {
        throw new InputError("option --gdb: run deno with --allow-net=127.0.0.1 to listen for gdb", { cause });
      }
      throw cause;
    }
    debugService.pause(host.vms[0]);
    this.write(`gdb: waiting; in gdb: target remote 127.0.0.1:${server.port}\n`);
    return server;
  }
}

const BUFFERED_CHARACTERS = 1 << 16;

/** Writes lines to a file, or to whoever writes to stderr, many at a time. */
class LineWriter {
  #lines: string[] = [];
  #characters = 0;
  readonly #file: Deno.FsFile | undefined;

  constructor(path: string | undefined, readonly write: (text: string) => void) {
    if (path === undefined) return;
    try {
      this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
    } catch (cause) {
      throw fileError(cause, "trace", path, "write");
    }
  }

  line(text: string): void {
    this.#lines.push(text);
    this.#characters += text.length;
    if (this.#characters > BUFFERED_CHARACTERS) this.flush();
  }

  flush(): void {
    if (this.#lines.length === 0) return;
    const text = `${this.#lines.join("\n")}\n`;
    this.#lines = [];
    this.#characters = 0;
    if (this.#file === undefined) return this.write(text);
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }

  close(): void {
    this.flush();
    this.#file?.close();
  }
}
