// Hosts with memory, swap and page sharing, and nothing that executes unless a test brings it.

import { Host, type Plugin, type Vm } from "../../../core/mod.ts";
import memory, { guest, machine, mechanism, PAGE_SIZE, type Ppn, report } from "../../../plugins/memory/mod.ts";
import pageSharing, { sharing } from "../../../plugins/page-sharing/mod.ts";
import swap, { pager } from "../../../plugins/swap/mod.ts";
import { vmConfig } from "../../core/fake_executor.ts";

export interface SharingSetting {
  /** Options of page-sharing. */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly plugins?: readonly Plugin[];
  readonly seed?: number;
}

/** A host, and short names for what the tests use of it. */
export function sharingHost(memoryMib: number, { options, plugins = [], seed = 1 }: SharingSetting = {}) {
  const host = new Host({ memoryMib, seed, quantumNs: 1e6 });
  host.load(
    { plugin: memory },
    { plugin: swap },
    { plugin: pageSharing, options },
    ...plugins.map((plugin) => ({ plugin })),
  );
  const memoryOf = host.service(guest);
  const shared = host.service(sharing), ram = host.service(machine);
  return {
    host,
    sharing: shared,
    machine: ram,
    mechanism: host.service(mechanism),
    pager: host.service(pager),
    report: host.service(report),
    memoryOf,
    /** Admits a VM; `saltGroup` where it is given. */
    add(name: string, memoryMib: number, saltGroup?: string): Vm {
      const options = saltGroup === undefined ? {} : { "page-sharing": { saltGroup } };
      return host.add(vmConfig(name, { memoryMib, options }));
    },
    /** The guest fills a page with words that begin with `seed` and follow from it; equal seeds, equal pages. 0: zeros. */
    fill(vm: Vm, ppn: Ppn, seed: number): void {
      const at = memoryOf(vm).frameForWrite(ppn) * PAGE_SIZE;
      for (let i = 0; i < PAGE_SIZE; i += 4) ram.view.setInt32(at + i, Math.imul(seed, i + 1), true);
    },
    stats: () => host.plugins.loaded.get("page-sharing")?.stats.snapshot() ?? {},
    audit(): void {
      ram.audit();
      shared.audit();
    },
  };
}

export type SharingHost = ReturnType<typeof sharingHost>;
