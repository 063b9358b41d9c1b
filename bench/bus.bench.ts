// What a control event costs: told, asked and folded, with no listener, one and four. The bound to hold is tens of
// nanoseconds, and nothing worth measuring when nobody listens (design: the bus and the plugin contract).

import { Bus, decide, type Listener, observe, reduce } from "../core/mod.ts";

/** Calls in one measured iteration, so that the clock's resolution does not matter. */
const CALLS = 1000;

const told = observe<number>("bench.told");
const asked = decide<number, number>("bench.asked");
const folded = reduce<number>("bench.folded");

/** Where listeners leave their results, so that no call can be left out. */
let sum = 0;

for (const listeners of [0, 1, 4]) {
  const bus = new Bus();
  for (let i = 0; i < listeners; i++) {
    const name = `listener ${i}`;
    bus.on(told, name, ((value: number) => void (sum += value)) as Listener);
    // The last one answers, so that all are asked.
    bus.on(asked, name, ((value: number) => i === listeners - 1 ? value : undefined) as Listener);
    bus.on(folded, name, ((value: number) => value + i) as Listener);
  }
  const observing = bus.port(told), asking = bus.port(asked), folding = bus.port(folded);
  const baseline = listeners === 0;

  Deno.bench(`${CALLS} x emit, ${listeners} listeners`, { group: "emit", baseline }, () => {
    for (let i = 0; i < CALLS; i++) observing.emit(i);
  });

  Deno.bench(`${CALLS} x emit behind a test of active, ${listeners} listeners`, { group: "emit" }, () => {
    for (let i = 0; i < CALLS; i++) if (observing.active) observing.emit(i);
  });

  Deno.bench(`${CALLS} x ask, ${listeners} listeners`, { group: "ask", baseline }, () => {
    for (let i = 0; i < CALLS; i++) sum += asking.ask(i) ?? 0;
  });

  Deno.bench(`${CALLS} x fold, ${listeners} listeners`, { group: "fold", baseline }, () => {
    for (let i = 0; i < CALLS; i++) sum += folding.fold(i, undefined);
  });
}
