// What a store to a traced page-table entry costs (the BT paper's ptemod, 3.3 and figure 4): without traces; with them, where
// each store traps; and adapted. A loop of one such store and sixteen plain instructions, less the same loop without the store.
// The paper: 1 cycle native, 391 adapted, 12733 by a hardware exit.

import { measureStoreNs, storeConfigurations, storeMachine } from "./page_table_store.ts";

const BATCHES = 9;
const measuredNs = new Map<string, number>();

for (const name of storeConfigurations) {
  let run: ((rounds: number) => void) | undefined;
  Deno.bench(name, { group: "a store to a page-table entry", baseline: name === "traced, traps" }, () => {
    if (run === undefined) {
      run = storeMachine(name);
      measuredNs.set(name, measureStoreNs(run, BATCHES));
    }
    run(1000);
  });
}

globalThis.addEventListener("unload", () => {
  const loopNs = measuredNs.get("without the store"), trapNs = measuredNs.get("traced, traps");
  if (loopNs === undefined || trapNs === undefined) return;
  console.log(`\nA store to a page-table entry: CPU time beyond the loop's own ${loopNs.toFixed(1)} ns`);
  for (const [name, ns] of measuredNs) {
    const ratio = (ns - loopNs) / (trapNs - loopNs);
    console.log(`${name.padEnd(18)} ${(ns - loopNs).toFixed(1).padStart(8)} ns  ${ratio.toFixed(3)} of a trap`);
  }
});
