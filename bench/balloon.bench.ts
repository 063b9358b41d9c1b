// Pages a second through a balloon. What the host does for each, with a frame behind every page: locked and unlocked by
// VMware's batches of 512 and one by one, and popped by use. And the same with a guest's driver around it, which fills its
// batches, waits for the answers and puts pages away.

import process from "node:process";
import { Host } from "../core/mod.ts";
import { Balloon } from "../plugins/balloon/balloon.ts";
import balloonPlugin from "../plugins/balloon/mod.ts";
import {
  BALLOON_MAGIC,
  BALLOON_PORT,
  Capability,
  Command,
  MOST_ENTRIES,
  VmwareBalloon,
} from "../plugins/balloon/vmware.ts";
import * as bt from "../plugins/bt/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import { runHere } from "./machine.ts";

const MEMORY_MIB = 32, MIB_PAGES = memory.FRAMES_PER_MIB;
const PAGES = MEMORY_MIB * MIB_PAGES;
/** The batch page; pages from the next multiple of a batch on are moved. */
const BATCH_PPN = 0, FIRST_PPN = MOST_ENTRIES, MOVED_PAGES = PAGES - FIRST_PPN;
const ENTRY_BYTES = 8;
const EAX = 0, ECX = 1, EBX = 3, ESI = 6;

/** A VM with a driver that has started, and no processor. */
function makeDriver() {
  const host = new Host({ memoryMib: MEMORY_MIB + 1, seed: 1, quantumNs: 1e6 });
  host.load({ plugin: memory.default });
  const vm = host.add({ name: "vm", memoryMib: MEMORY_MIB, minMib: 0, shares: 1000, cpuMhz: 1000, options: {} });
  const guest = host.service(memory.guest)(vm), report = host.service(memory.report);
  const counter = () => ({ value: 0 });
  const balloon = new Balloon({
    vm,
    memory: guest,
    mechanism: host.service(memory.mechanism),
    counters: {
      inflateCount: counter(),
      deflateCount: counter(),
      inflatedPages: counter(),
      deflatedPages: counter(),
      poppedPages: counter(),
      refusedPages: counter(),
    },
    actualPages: () => report.vm(vm).balloonedPages,
    mostPages: PAGES,
    charge: () => {},
  });
  balloon.byHand = PAGES;
  const registers = new Uint32Array(8);
  const device = new VmwareBalloon(balloon, guest, () => ({
    getRegister: (register) => registers[register] | 0,
    setRegister: (register, value) => void (registers[register] = value),
  }));
  const call = (command: number, argument: number, count = 1) => {
    registers[EAX] = BALLOON_MAGIC;
    registers[ECX] = command;
    registers[EBX] = argument;
    registers[ESI] = count;
    return device.read(BALLOON_PORT, 4);
  };
  const entries = new Uint8Array(memory.PAGE_SIZE), view = new DataView(entries.buffer);
  call(Command.START, Capability.BASIC | Capability.BATCHED);
  return {
    guest,
    balloon,
    start: () => call(Command.START, Capability.BASIC | Capability.BATCHED),
    touch: () => {
      for (let ppn = FIRST_PPN; ppn < PAGES; ppn++) guest.frameForWrite(ppn);
    },
    batches: (command: number) => {
      for (let first = FIRST_PPN; first < PAGES; first += MOST_ENTRIES) {
        for (let i = 0; i < MOST_ENTRIES; i++) view.setUint32(i * ENTRY_BYTES, (first + i) * memory.PAGE_SIZE, true);
        guest.write(BATCH_PPN * memory.PAGE_SIZE, entries);
        call(command, BATCH_PPN, MOST_ENTRIES);
      }
    },
    singles: (command: number) => {
      for (let ppn = FIRST_PPN; ppn < PAGES; ppn++) call(command, ppn);
    },
  };
}

type Driver = ReturnType<typeof makeDriver>;

const { LOCK, UNLOCK, BATCHED_LOCK, BATCHED_UNLOCK } = Command;
const operations: readonly [name: string, prepare: (driver: Driver) => void, run: (driver: Driver) => void][] = [
  ["locked, batches", (d) => d.touch(), (d) => d.batches(BATCHED_LOCK)],
  ["unlocked, batches", (d) => d.batches(BATCHED_LOCK), (d) => d.batches(BATCHED_UNLOCK)],
  ["locked one by one", (d) => d.touch(), (d) => d.singles(LOCK)],
  ["unlocked one by one", (d) => d.batches(BATCHED_LOCK), (d) => d.singles(UNLOCK)],
  ["popped by use", (d) => d.batches(BATCHED_LOCK), (d) => d.touch()],
  ["let go by a start", (d) => d.batches(BATCHED_LOCK), (d) => void d.start()],
];
const results = new Map<string, number[]>();

function add(name: string, pages: number, seconds: number): void {
  results.set(name, [...results.get(name) ?? [], pages / seconds]);
}

const driver = makeDriver();
for (const [name, prepare, run] of operations) {
  Deno.bench(`${MOVED_PAGES} pages ${name}`, { group: "host", n: 20, warmup: 5 }, (bench) => {
    driver.start();
    prepare(driver);
    const before = process.cpuUsage();
    bench.start();
    run(driver);
    bench.end();
    add(name, MOVED_PAGES, process.cpuUsage(before).user / 1e6);
  });
}

const POOL_MIB = 28, TARGET_MIB = 20;
for (const [engine, plugins] of [["interpreter", []], ["bt", [bt.default]]] as const) {
  for (const batched of [1, 0]) {
    const name = `by a guest's driver, ${engine}, ${batched === 1 ? "batches" : "one by one"}`;
    Deno.bench(`${TARGET_MIB * MIB_PAGES} pages locked ${name}`, { group: "guest", n: 5, warmup: 1 }, async (bench) => {
      const options = { poolMib: POOL_MIB, workingSetMib: 0, seconds: 2, pagesPerPoll: PAGES, batched, passMs: 1000 };
      bench.start();
      const { cpuSeconds } = await runHere({ use: "balloon", options }, {
        plugins: [{ plugin: balloonPlugin, options: { targetMib: TARGET_MIB } }, ...plugins],
      });
      bench.end();
      add(name, TARGET_MIB * MIB_PAGES, cpuSeconds);
    });
  }
}

globalThis.addEventListener("unload", () => {
  console.log("\nPages a second of CPU time, medians (the guests' with their whole run around it)");
  for (const [name, rates] of results) {
    const median = rates.toSorted((a, b) => a - b)[rates.length >> 1];
    console.log(`  ${name.padEnd(48)}${Math.round(median).toLocaleString("en").padStart(14)}`);
  }
});
