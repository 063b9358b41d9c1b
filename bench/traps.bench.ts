// What a sensitive instruction costs by the way it is handled: a group for each class, a thousand operations an iteration
// (BT paper 3.3). `deno task traps` draws the same as a ladder.

import { BATCH_OPERATIONS, NanoMachine } from "../cli/nano.ts";
import { sensitiveClasses, sensitiveClassNames } from "../plugins/bt/mod.ts";

for (const name of sensitiveClassNames) {
  const { forms } = sensitiveClasses[name];
  for (const form of forms) {
    const isFastest = form === forms[forms.length - 1];
    Deno.bench(`${name} ${form}`, { group: name, baseline: isFastest }, benchOf(name, form));
  }
  Deno.bench(`${name} interpreted`, { group: name }, benchOf(name, "interpreter"));
}

/** The machine is made, and warmed up, when its turn comes. */
function benchOf(...[operation, engine]: ConstructorParameters<typeof NanoMachine>): () => void {
  let machine: NanoMachine | undefined;
  return () => {
    if (machine === undefined) {
      machine = new NanoMachine(operation, engine);
      machine.warmUp();
    }
    machine.run(BATCH_OPERATIONS);
  };
}
