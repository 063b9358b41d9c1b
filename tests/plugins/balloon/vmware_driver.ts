// A driver of VMware's protocol as a model: real guest memory, registers without a processor, and commands that a test may
// send in any order.

import { Balloon, type BalloonCounters } from "../../../plugins/balloon/balloon.ts";
import { BALLOON_MAGIC, BALLOON_PORT, Capability, Command, VmwareBalloon } from "../../../plugins/balloon/vmware.ts";
import * as memory from "../../../plugins/memory/mod.ts";
import { listening, memoryHost, PAGE_MIB } from "../memory/fixture.ts";

export const PAGES = 1024;
const EAX = 0, ECX = 1, EDX = 2, EBX = 3, ESI = 6;
const ENTRY_BYTES = 8;

export function newCounters(): BalloonCounters {
  const counter = () => ({ value: 0 });
  return {
    inflateCount: counter(),
    deflateCount: counter(),
    inflatedPages: counter(),
    deflatedPages: counter(),
    poppedPages: counter(),
    refusedPages: counter(),
  };
}

export interface Answer {
  readonly status: number;
  readonly ebx: number;
  readonly ecx: number;
}

/** A VM of `pages` pages whose driver has not started yet; a page that is popped resets it, as the plugin sees to. */
export function makeVmware(pages = PAGES, targetPages = pages, mostPages = pages) {
  const made = memoryHost(
    Math.ceil(pages * PAGE_MIB) + 1,
    listening(({ on }) => void on(memory.balloonPopped, () => device.reset())),
  );
  const vm = made.add("vm", pages * PAGE_MIB), guest = made.memoryOf(vm);
  const counters = newCounters(), registers = new Uint32Array(8);
  const charges: number[] = [];
  const balloon = new Balloon({
    vm,
    memory: guest,
    mechanism: made.mechanism,
    counters,
    actualPages: () => made.host.service(memory.report).vm(vm).balloonedPages,
    mostPages,
    charge: (moved) => void charges.push(moved),
  });
  balloon.byHand = targetPages;
  const device: VmwareBalloon = new VmwareBalloon(balloon, guest, () => ({
    getRegister: (register) => registers[register] | 0,
    setRegister: (register, value) => void (registers[register] = value),
  }));

  function call(command: number, argument = 0, count = 0): Answer {
    registers.fill(0);
    registers[EAX] = BALLOON_MAGIC;
    registers[ECX] = command;
    registers[EDX] = BALLOON_PORT;
    registers[EBX] = argument;
    registers[ESI] = count;
    const status = device.read(BALLOON_PORT, 4);
    return { status, ebx: registers[EBX], ecx: registers[ECX] };
  }

  /** Sends page numbers through a batch page; the status of the command, and those of the entries. */
  function batch(command: number, batchPpn: number, ppns: readonly number[]): { status: number; entries: number[] } {
    const bytes = new Uint8Array(ppns.length * ENTRY_BYTES), view = new DataView(bytes.buffer);
    for (const [i, ppn] of ppns.entries()) view.setBigUint64(i * ENTRY_BYTES, BigInt(ppn) << 12n, true);
    guest.write(batchPpn * memory.PAGE_SIZE, bytes);
    const { status } = call(command, batchPpn, ppns.length);
    guest.read(batchPpn * memory.PAGE_SIZE, bytes);
    return { status, entries: ppns.map((_, i) => Number(view.getBigUint64(i * ENTRY_BYTES, true) & 0x1fn)) };
  }

  return {
    ...made,
    vm,
    guest,
    balloon,
    device,
    counters,
    charges,
    registers,
    call,
    batch,
    start: (capabilities: number = Capability.BASIC | Capability.BATCHED) => call(Command.START, capabilities),
    fill: (ppn: number, byte: number) =>
      guest.write(ppn * memory.PAGE_SIZE, new Uint8Array(memory.PAGE_SIZE).fill(byte)),
    /** The page's bytes as the guest reads them. */
    contents: (ppn: number) => {
      const bytes = new Uint8Array(memory.PAGE_SIZE);
      guest.frameForRead(ppn);
      guest.read(ppn * memory.PAGE_SIZE, bytes);
      return bytes;
    },
  };
}
