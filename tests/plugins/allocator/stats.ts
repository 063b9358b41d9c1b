// Counters and gauges of one plugin, for tests.

import type { Host } from "../../../core/mod.ts";

export function makeStats(host: Host, plugin: string): Record<string, number> {
  return host.plugins.loaded.get(plugin)?.stats.snapshot() ?? {};
}
