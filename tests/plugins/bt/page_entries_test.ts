// Entries of one frame that is mapped at several linear pages, against a plain list.

import { assertEquals } from "@std/assert";
import { Random } from "../../../core/mod.ts";
import { MOST_ALIASES, PageEntries } from "../../../plugins/bt/page_entries.ts";

const PAGE = 4096, MODES = [1, 9];

interface Made {
  readonly eip: number;
  readonly mode: number;
}

Deno.test("an entry is found at its linear address and in its mode alone, the latest that was added there", () => {
  const random = new Random("1"), entries = new PageEntries<Made>();
  let model: Made[] = [];
  const isAlias = (a: Made, b: Made) => a.mode === b.mode && a.eip % PAGE === b.eip % PAGE;
  for (let i = 0; i < 5000; i++) {
    const made = { eip: random.below(12) * PAGE + random.below(3), mode: MODES[random.below(2)] };
    const same = model.find(({ eip, mode }) => eip === made.eip && mode === made.mode);
    if (random.below(3) === 0) {
      if (same !== undefined) entries.delete(same, same.mode);
      model = model.filter((other) => other !== same);
    } else {
      const aliases = model.filter((other) => isAlias(other, made) && other !== same);
      const oldest = aliases.length < MOST_ALIASES ? undefined : aliases[0];
      assertEquals(entries.add(made, made.mode), oldest);
      if (oldest !== undefined) entries.delete(oldest, oldest.mode);
      model = [...model.filter((other) => other !== same && other !== oldest), made];
    }
    const probe = { eip: random.below(12) * PAGE + random.below(3), mode: MODES[random.below(2)] };
    const expected = model.find(({ eip, mode }) => eip === probe.eip && mode === probe.mode);
    assertEquals(entries.get(probe.eip, probe.mode), expected);
  }
});
