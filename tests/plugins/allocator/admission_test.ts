// Admission control against the rule of the ESX paper, section 6.2, and what a refusal says.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { refusal, type Reservation } from "../../../plugins/allocator/admission.ts";

const MIB = 256;
const vm = (minMib: number, maxMib: number, overheadMib: number): Reservation => ({
  minPages: minMib * MIB,
  maxPages: maxMib * MIB,
  overheadPages: overheadMib * MIB,
});
const capacity = { machinePages: 512 * MIB, hypervisorPages: 2 * MIB, swapPages: 300 * MIB };

const cases: [what: string, wanted: Reservation, admitted: Reservation[], expected: string | undefined][] = [
  ["a VM that fits", vm(128, 256, 32), [vm(128, 256, 32)], undefined],
  ["a VM that just fits", vm(478, 478, 32), [], undefined],
  [
    "a minimum that cannot be kept",
    vm(128, 256, 32),
    [vm(160, 200, 32), vm(160, 200, 32)],
    "its minimum and overhead come to 128 + 32 = 160 MiB, and of machine memory are unreserved 512 - 2 (hypervisor) - " +
    "384 (minimum and overhead of 2 VMs) = 126 MiB; lower minMib or give the host more memory",
  ],
  [
    "a rest that does not fit into the swap file",
    vm(0, 256, 32),
    [vm(156, 256, 32)],
    "its memory less its minimum comes to 256 - 0 = 256 MiB, and of the swap file are unreserved 300 - 100 (of 1 VM) = " +
    "200 MiB; raise minMib or swap.sizeMib",
  ],
  ["a minimum above the memory", vm(64, 32, 0), [], "its minimum of 64 MiB is more than its memory, 32 MiB"],
];
for (const [what, wanted, admitted, expected] of cases) {
  Deno.test(`admission: ${what}: ${expected === undefined ? "let in" : "refused with the sums"}`, () => {
    assertEquals(refusal(wanted, admitted, capacity), expected);
  });
}

Deno.test("a sequence of power-ons and power-offs admits exactly those whose promises can be kept", () => {
  const pages = fc.nat(600);
  const arrival = fc.record({ a: pages, b: pages, overheadPages: fc.nat(40), leaves: fc.option(fc.nat(8)) });
  const totals = fc.record({ machinePages: fc.nat(2500), hypervisorPages: fc.nat(100), swapPages: fc.nat(2500) });
  fc.assert(
    fc.property(totals, fc.array(arrival, { maxLength: 20 }), (capacity, arrivals) => {
      const running: Reservation[] = [];
      let machineLeft = capacity.machinePages - capacity.hypervisorPages, swapLeft = capacity.swapPages;
      for (const { a, b, overheadPages, leaves } of arrivals) {
        const gone = leaves === null ? undefined : running.splice(leaves, 1)[0];
        if (gone !== undefined) {
          machineLeft += gone.minPages + gone.overheadPages;
          swapLeft += gone.maxPages - gone.minPages;
        }
        const wanted = { minPages: Math.min(a, b), maxPages: Math.max(a, b), overheadPages };
        const fits = wanted.minPages + overheadPages <= machineLeft && wanted.maxPages - wanted.minPages <= swapLeft;
        assertEquals(refusal(wanted, running, capacity) === undefined, fits);
        if (!fits) continue;
        running.push(wanted);
        machineLeft -= wanted.minPages + overheadPages;
        swapLeft -= wanted.maxPages - wanted.minPages;
      }
    }),
    { numRuns: 500, seed: 1 },
  );
});
