// What gdb asks and is answered (GDB manual, appendix E): every VM is a thread, numbered from 1, and all of them stop when
// one does. A breakpoint is set in every VM; gdb's `break ... thread N` makes it one VM's. Knows no sockets: packets go in
// as text, answers and stops come out through `send`.

import type { Vm } from "../../../core/mod.ts";
import type * as memory from "../../memory/mod.ts";
import * as x86 from "../../x86/mod.ts";
import type { Debugger, Stop, WatchKind } from "../services.ts";
import { answerMonitor } from "./monitor.ts";
import { fromHex, toHex } from "./packets.ts";
import { gdbRegisters, targetDescription } from "./registers.ts";
import { readActions, readThread, type ThreadAction } from "./threads.ts";

/** A VM as gdb sees it. */
export interface GdbTarget {
  readonly vm: Vm;
  readonly cpu: x86.Processor;
  readonly memory: memory.GuestMemory;
  readonly nameOf: x86.NameOf;
  /** A symbol's address. */
  readonly addressOf: (name: string) => number | undefined;
}

/** Longest packet that gdb may send, in bytes. */
const PACKET_BYTES = 0x4000;
const OK = "OK", UNSUPPORTED = "";
/** Errors as gdb shows them: EINVAL, EFAULT, ESRCH. */
const BAD_REQUEST = "E16", BAD_ADDRESS = "E0e", NO_SUCH_THREAD = "E03";
/** Signals as gdb numbers them. */
const SIGINT = "02", SIGTRAP = "05";
const PAGE_BYTES = 4096;

/** Z packets: software and hardware breakpoints are one here, as nothing is patched. */
const WATCH_KINDS: Readonly<Record<string, WatchKind>> = { 2: "write", 3: "read", 4: "access" };
const WATCH_WORDS: Readonly<Record<WatchKind, string>> = { write: "watch", read: "rwatch", access: "awatch" };

/** Where to stop: a breakpoint without a kind, or a watchpoint. */
interface Point {
  readonly address: number;
  readonly size: number;
  readonly kind: WatchKind | undefined;
}

export class GdbSession {
  /** Acknowledgements are sent until gdb says that it needs none. */
  acknowledges = true;
  /** gdb has let the VM go or ended it: the connection is done. */
  isOver = false;
  #isRunning = false;
  /** What gdb understands of stops. */
  #features = new Set<string>();
  readonly #hardware = new Set<number>();
  #stop: Stop | undefined;
  /** The VM that registers and memory are asked of: the one that stopped, until gdb chooses another. */
  #target: GdbTarget;

  /** `targets` are the host's VMs, at least one, in order. */
  constructor(
    readonly targets: readonly GdbTarget[],
    readonly debug: Debugger,
    readonly send: (data: string) => void,
  ) {
    this.#stop = debug.stopped;
    this.#target = this.#targetOf(this.#stop?.vm) ?? this.#alive[0] ?? targets[0];
  }

  /** Answers a packet. */
  handle(packet: string): void {
    const answer = this.#answer(packet);
    if (answer !== undefined) this.send(answer);
  }

  /** gdb's Ctrl-C. */
  interrupt(): void {
    const target = this.#target.vm.exit === undefined ? this.#target : this.#alive.at(0);
    if (target !== undefined) this.debug.pause(target.vm);
  }

  /** A VM stopped. */
  stopped(stop: Stop): void {
    this.#stop = stop;
    this.#target = this.#targetOf(stop.vm) ?? this.#target;
    this.#reportStop();
  }

  /** A VM ended: gdb is told when it was the last. */
  exited(): void {
    if (this.#alive.length > 0) return;
    this.#stop = undefined;
    this.#reportStop();
  }

  #reportStop(): void {
    if (!this.#isRunning) return;
    this.#isRunning = false;
    this.send(this.#stopReply());
  }

  /** The connection is gone: the VMs run on without breakpoints. */
  close(): void {
    if (this.isOver) return;
    this.isOver = true;
    for (const { vm } of this.targets) this.debug.clear(vm);
    this.debug.resume();
  }

  get #alive(): readonly GdbTarget[] {
    return this.targets.filter(({ vm }) => vm.exit === undefined);
  }

  #targetOf(vm: Vm | undefined): GdbTarget | undefined {
    return this.targets.find((target) => target.vm === vm);
  }

  /** A VM's number as a thread, in hexadecimal. */
  #threadOf(target: GdbTarget): string {
    return (this.targets.indexOf(target) + 1).toString(16);
  }

  /** The VM that is a thread; undefined where there is none or it has ended. */
  #byThread(text: string): GdbTarget | undefined {
    const target = this.targets[(readThread(text) ?? 0) - 1];
    return target?.vm.exit === undefined ? target : undefined;
  }

  #answer(packet: string): string | undefined {
    const { cpu } = this.#target;
    const rest = packet.slice(1);
    switch (packet[0]) {
      case "?":
        return this.#stopReply();
      case "g":
        return gdbRegisters.map((register) => toHex(register.read(cpu))).join("");
      case "G":
        return this.#writeAll(rest);
      case "p":
        return this.#readOne(parseInt(rest, 16));
      case "P":
        return this.#writeOne(rest);
      case "m":
        return this.#readMemory(rest);
      case "M":
      case "X":
        return this.#writeMemory(packet);
      case "Z":
      case "z":
        return this.#setPoint(packet);
      case "c":
      case "C":
        return this.#resume([{ kind: "continue" }], addressOf(packet));
      case "s":
      case "S":
        return this.#resume([{ kind: "step", thread: this.#threadOf(this.#target) }], addressOf(packet));
      case "H":
        return this.#choose(rest);
      case "T":
        return this.#byThread(rest) === undefined ? NO_SUCH_THREAD : OK;
      case "D":
        this.close();
        return OK;
      case "k":
        this.#kill();
        return undefined;
      case "q":
      case "Q":
        return this.#query(packet);
      case "v":
        return this.#verbose(packet);
      default:
        return UNSUPPORTED;
    }
  }

  #query(packet: string): string {
    if (packet.startsWith("qSupported")) {
      this.#features = new Set(packet.slice("qSupported:".length).split(";"));
      return `PacketSize=${
        PACKET_BYTES.toString(16)
      };QStartNoAckMode+;qXfer:features:read+;vContSupported+;swbreak+;hwbreak+`;
    }
    if (packet === "QStartNoAckMode") {
      this.acknowledges = false;
      return OK;
    }
    if (packet.startsWith("qXfer:features:read:target.xml:")) return this.#describe(packet);
    if (packet === "qC") return `QC${this.#threadOf(this.#target)}`;
    if (packet === "qfThreadInfo") return `m${this.#alive.map((target) => this.#threadOf(target)).join(",")}`;
    if (packet === "qsThreadInfo") return "l";
    if (packet.startsWith("qThreadExtraInfo,")) {
      const target = this.#byThread(packet.slice("qThreadExtraInfo,".length));
      return target === undefined ? NO_SUCH_THREAD : toHex(new TextEncoder().encode(`VM ${target.vm.name}`));
    }
    if (packet.startsWith("qAttached")) return "1";
    if (packet.startsWith("qSymbol")) return OK;
    if (packet.startsWith("qRcmd,")) {
      const command = fromHex(packet.slice("qRcmd,".length));
      if (command === undefined) return BAD_REQUEST;
      return toHex(new TextEncoder().encode(answerMonitor(new TextDecoder().decode(command), this.#target)));
    }
    return UNSUPPORTED;
  }

  #verbose(packet: string): string | undefined {
    if (packet === "vCont?") return "vCont;c;C;s;S";
    if (packet.startsWith("vKill")) {
      this.#kill();
      return OK;
    }
    if (!packet.startsWith("vCont;")) return UNSUPPORTED;
    const actions = readActions(packet.slice("vCont;".length));
    return actions === undefined ? BAD_REQUEST : this.#resume(actions, undefined);
  }

  /** `Hg`: which thread registers and memory are of. `Hc` is for commands that `vCont` has replaced. */
  #choose(text: string): string {
    const thread = text.slice(1);
    // Any thread, and all threads.
    if (text[0] !== "g" || thread === "0" || thread === "-1") return OK;
    const target = this.#byThread(thread);
    if (target === undefined) return NO_SUCH_THREAD;
    this.#target = target;
    return OK;
  }

  #describe(packet: string): string {
    const match = /:([0-9a-f]+),([0-9a-f]+)$/i.exec(packet);
    if (match === null) return BAD_REQUEST;
    const start = parseInt(match[1], 16), length = parseInt(match[2], 16);
    const description = targetDescription();
    const isLast = start + length >= description.length;
    return (isLast ? "l" : "m") + description.slice(start, start + length);
  }

  // Registers.

  #readOne(number: number): string {
    const register = gdbRegisters[number];
    return register === undefined ? BAD_REQUEST : toHex(register.read(this.#target.cpu));
  }

  #writeOne(text: string): string {
    const match = /^([0-9a-f]+)=([0-9a-f]+)$/i.exec(text);
    const value = match === null ? undefined : fromHex(match[2]);
    if (match === null || value === undefined) return BAD_REQUEST;
    return this.#write(parseInt(match[1], 16), value) ? OK : BAD_REQUEST;
  }

  #writeAll(text: string): string {
    const bytes = fromHex(text);
    const total = gdbRegisters.reduce((sum, { bits }) => sum + bits / 8, 0);
    if (bytes === undefined || bytes.length !== total) return BAD_REQUEST;
    let at = 0;
    for (const [number, { bits }] of gdbRegisters.entries()) {
      if (!this.#write(number, bytes.slice(at, at + bits / 8))) return BAD_REQUEST;
      at += bits / 8;
    }
    return OK;
  }

  /** False for a register that there is not, or that cannot be set to another value. */
  #write(number: number, value: Uint8Array): boolean {
    const register = gdbRegisters[number], { cpu } = this.#target;
    if (register === undefined || value.length !== register.bits / 8) return false;
    if (toHex(register.read(cpu)) === toHex(value)) return true;
    return register.write?.(cpu, value) ?? false;
  }

  // Memory by linear address, through the guest's own tables, touching none of its A and D bits.

  #readMemory(text: string): string {
    const match = /^([0-9a-f]+),([0-9a-f]+)$/i.exec(text);
    if (match === null) return BAD_REQUEST;
    const size = Math.min(parseInt(match[2], 16), PACKET_BYTES / 2);
    const bytes = this.#target.cpu.mmu.peekBytes(parseInt(match[1], 16), size);
    return bytes.length === 0 && size > 0 ? BAD_ADDRESS : toHex(bytes);
  }

  #writeMemory(packet: string): string {
    const match = /^[MX]([0-9a-f]+),([0-9a-f]+):/i.exec(packet);
    if (match === null) return BAD_REQUEST;
    const text = packet.slice(match[0].length);
    const bytes = packet[0] === "M" ? fromHex(text) : Uint8Array.from(text, (char) => char.charCodeAt(0));
    if (bytes === undefined || bytes.length !== parseInt(match[2], 16)) return BAD_REQUEST;
    const address = parseInt(match[1], 16), { cpu, memory } = this.#target;
    // All of it or nothing.
    if (cpu.mmu.peekBytes(address, bytes.length).length < bytes.length) return BAD_ADDRESS;
    for (let done = 0; done < bytes.length;) {
      const linear = (address + done) >>> 0, physical = cpu.mmu.probe(linear) ?? 0;
      const count = Math.min(bytes.length - done, PAGE_BYTES - linear % PAGE_BYTES);
      memory.write(physical, bytes.subarray(done, done + count));
      done += count;
    }
    return OK;
  }

  // Breakpoints.

  #setPoint(packet: string): string {
    const match = /^[Zz]([0-4]),([0-9a-f]+),([0-9a-f]+)/i.exec(packet);
    if (match === null) return UNSUPPORTED;
    const [, type, addressText, sizeText] = match;
    const address = parseInt(addressText, 16), isSet = packet[0] === "Z";
    if (type === "1" && isSet) this.#hardware.add(address);
    if (type === "1" && !isSet) this.#hardware.delete(address);
    const point = { address, size: parseInt(sizeText, 16), kind: WATCH_KINDS[type] };
    const outcomes = this.targets.map(({ vm }) => isSet ? this.#add(vm, point) : this.#remove(vm, point));
    return outcomes.includes(false) ? BAD_REQUEST : OK;
  }

  #add(vm: Vm, { address, size, kind }: Point): boolean {
    if (kind === undefined) this.debug.addBreakpoint(vm, address);
    else this.debug.addWatchpoint(vm, address, size, kind);
    return true;
  }

  #remove(vm: Vm, { address, size, kind }: Point): boolean {
    if (kind === undefined) return this.debug.removeBreakpoint(vm, address);
    return this.debug.removeWatchpoint(vm, address, size, kind);
  }

  // Running.

  #resume(actions: readonly ThreadAction[], address: number | undefined): string | undefined {
    const { cpu } = this.#target, alive = this.#alive;
    if (alive.length === 0) return this.#stopReply();
    if (address !== undefined) cpu.setRegister(x86.state.EIP, (address - cpu.r[x86.state.BASE + x86.CS]) | 0);
    // Of the actions that name a thread, or none and so all of them, the first is its own; without one it stays.
    const actionOf = (target: GdbTarget) =>
      actions.find(({ thread }) => thread === undefined || thread === this.#threadOf(target))?.kind;
    this.#isRunning = true;
    this.#stop = undefined;
    const vmsThat = (kind: ThreadAction["kind"] | undefined) =>
      alive.filter((target) => actionOf(target) === kind).map(({ vm }) => vm);
    this.debug.resume({ stepped: vmsThat("step"), held: vmsThat(undefined) });
  }

  #kill(): void {
    this.isOver = true;
    for (const { vm } of this.targets) {
      vm.end({ reason: "stopped", status: 0, detail: "killed by gdb" });
      this.debug.clear(vm);
    }
    this.debug.resume();
  }

  /** `T05thread:1;...` of a VM that stands; where all have ended, `W...` with the first status that is not zero. */
  #stopReply(): string {
    if (this.#alive.length === 0) {
      const status = this.targets.map(({ vm }) => vm.exit?.status ?? 0).find((of) => of !== 0) ?? 0;
      return `W${(status & 0xff).toString(16).padStart(2, "0")}`;
    }
    const reason = this.#stop?.reason;
    const signal = reason?.kind === "pause" ? SIGINT : SIGTRAP;
    return `T${signal}thread:${this.#threadOf(this.#target)};${reason === undefined ? "" : this.#detail(reason)}`;
  }

  #detail(reason: Stop["reason"]): string {
    if (reason.kind === "watchpoint") return `${WATCH_WORDS[reason.watch]}:${reason.address.toString(16)};`;
    if (reason.kind !== "breakpoint") return "";
    const word = this.#hardware.has(reason.address) ? "hwbreak" : "swbreak";
    return this.#features.has(`${word}+`) ? `${word}:;` : "";
  }
}

/** The address that `c` and `s` may carry, `C` and `S` after their signal. */
function addressOf(packet: string): number | undefined {
  const text = /^(?:[cs]|[CS][0-9a-f]{2};)([0-9a-f]+)$/i.exec(packet)?.[1];
  return text === undefined ? undefined : parseInt(text, 16);
}
