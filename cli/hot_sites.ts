// The instructions whose plain accesses trapped, by symbol: what --stats writes of them, and the table of --hot-sites
// (plugins/adaptive-bt; BT paper, 3.3).

import type { Host } from "../core/mod.ts";
import * as adaptiveBt from "../plugins/adaptive-bt/mod.ts";
import * as symbols from "../plugins/symbols/mod.ts";

/** A site, with the name of its place where symbols are loaded. */
export type NamedSite = adaptiveBt.HotSite & { readonly symbol?: string };

/** Sites that --stats lists at the most. */
const MOST_LISTED = 100;

/** The hottest sites; undefined where nobody counts them. */
export function hotSitesOf(host: Host): readonly NamedSite[] | undefined {
  const { loaded } = host.plugins;
  if (!loaded.has("adaptive-bt")) return undefined;
  const tables = loaded.has("symbols") ? host.vms.map((vm) => host.service(symbols.symbolsOf)(vm)) : [];
  return host.service(adaptiveBt.hotSites)().slice(0, MOST_LISTED).map((site) => {
    const symbol = tables.map((table) => table.nameOf(site.address)).find((name) => name !== undefined);
    return symbol === undefined ? site : { ...site, symbol };
  });
}

/** The `count` hottest sites as a table, a line each. */
export function hotSitesTable(host: Host, count: number): string {
  const sites = hotSitesOf(host);
  if (sites === undefined || sites.length === 0) {
    return "no plain access of any instruction trapped\n";
  }
  const rows = [
    ["address", "cause", "traps", "saved", "adapted", "given back", "now", "symbol"],
    ...sites.slice(0, count).map((site) =>
      [
        ...[`0x${site.address.toString(16).padStart(8, "0")}`, site.cause, site.traps, site.saved],
        ...[site.adaptations, site.restorations, site.state, site.symbol ?? ""],
      ].map(String)
    ),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const isNumber = (column: number) => column >= 2 && column <= 5;
  const line = (row: readonly string[]) =>
    row.map((cell, i) => isNumber(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])).join("  ").trimEnd();
  return rows.map((row) => line(row) + "\n").join("");
}
