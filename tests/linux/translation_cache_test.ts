// Debian's Linux in translation caches that are far too small for it: they evict, again and again, and the kernel passes through
// the states that it passes through in the interpreter.

import { assert, assertEquals } from "@std/assert";
import bt from "../../plugins/bt/mod.ts";
import { Translator } from "../../plugins/bt/engine.ts";
import { engine } from "../../plugins/x86/mod.ts";
import { bootLinux, type Waypoint } from "./boot.ts";
import { Machine } from "./machine.ts";
import { linuxTest } from "./prepared.ts";

const PROMPT = "/ # ";

/** Sizes in KiB, and from where the boot goes on: translating all of it again and again takes its time. */
const cases: readonly { readonly cacheKib: number; readonly from?: Waypoint }[] = [
  { cacheKib: 4096 },
  { cacheKib: 256, from: "init" },
];

/** Entries of a block before it is translated: few, so that translations are far more than fit. */
const THRESHOLD = 70;

for (const { cacheKib, from } of cases) {
  linuxTest(`a translation cache of ${cacheKib} KiB boots Linux through the interpreter's states`, async (linux) => {
    const { record, saved } = await bootLinux(linux);
    const options = { plugins: [{ plugin: bt, options: { cacheKib, threshold: THRESHOLD } }] };
    const machine = from === undefined
      ? await Machine.powerOn(linux, options)
      : Machine.restore(await saved(from), options);
    const startSteps = machine.vm.clock.steps;
    await machine.runUntil(PROMPT);
    machine.audit();
    assertEquals(machine.hashes, record.hashes.filter(([steps]) => steps > startSteps));
    assertEquals([machine.vm.clock.steps, machine.host.stateHash(machine.vm)], record.prompt);
    const translator = machine.host.service(engine);
    assert(translator instanceof Translator);
    const { cache: { counts }, statistics: { evicted } } = translator;
    assert(evicted > 300, `${evicted} regions were evicted`);
    assert(counts.emittedBytes <= cacheKib * 1024, `${counts.emittedBytes} bytes`);
  });
}
