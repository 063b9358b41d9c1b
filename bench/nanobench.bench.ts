// The BT paper's seven nanobenchmarks (Adams and Agesen, ASPLOS 2006, figure 4) as operations of guest `nanobench`, under the
// interpreter and under the translator, in a table beside the paper's cycles on a 3.8 GHz Pentium 4.

import { nanoOperations } from "../guests/mod.ts";
import { BATCH_OPERATIONS, NanoMachine } from "../cli/nano.ts";

/** Cycles of the paper: native, the software VMM (binary translation), the hardware VMM. */
const PAPER: Readonly<Record<string, readonly [native: number, software: number, hardware: number]>> = {
  syscall: [242, 2308, 246],
  in: [3209, 216, 15826],
  cr8wr: [150, 35, 177],
  callret: [11, 51, 11],
  pgfault: [1093, 3927, 11242],
  divzero: [889, 3223, 1014],
  ptemod: [1, 391, 12733],
};

const ENGINES = ["interpreter", "bt"] as const;
/** Nanoseconds an operation took, by name and engine. */
const measuredNs = new Map<string, number>();

for (const operation of Object.keys(PAPER)) {
  for (const engine of ENGINES) {
    let machine: NanoMachine | undefined;
    Deno.bench(`${operation} ${engine}`, { group: operation, baseline: engine === "bt" }, () => {
      if (machine === undefined) {
        machine = new NanoMachine(operation, engine);
        measuredNs.set(`${operation} ${engine}`, machine.measureNs());
      }
      machine.run(BATCH_OPERATIONS);
    });
  }
}

globalThis.addEventListener("unload", () => {
  if (measuredNs.size === 0) return;
  const heads = ["ns here: interpreter", "bt", "cycles in the paper: native", "software VMM", "hardware VMM"];
  const lines = Object.entries(PAPER).map(([operation, cycles]) => {
    const ours = ENGINES.map((engine) => measuredNs.get(`${operation} ${engine}`)?.toFixed(1) ?? "-");
    return [operation, ...ours, ...cycles.map(String)];
  });
  const rows = [["", ...heads], ...lines];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const text = rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")
  );
  const meanings = Object.keys(PAPER).map((operation) => `${operation}: ${nanoOperations[operation].describe}`);
  console.log(`\nNanobenchmarks (CPU time an operation)\n${text.join("\n")}\n${meanings.join("; ")}`);
});
