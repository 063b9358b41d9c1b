// The commands that list what there is: `plugins` by tier with their options, `plugins --events`, and `guests`.

import type { Plugin, Tier } from "../core/mod.ts";
import { z } from "../core/mod.ts";
import { guests } from "../guests/mod.ts";
import { builtinPlugins, declaredTokens } from "./catalogue.ts";
import { createHost } from "./machine.ts";
import { type CommandSpec, type Given, table } from "./options.ts";

export const pluginsCommand: CommandSpec = {
  name: "plugins",
  summary: "Lists the plugins with their options and defaults.",
  options: [{ name: "events", help: "list every event instead: its kind, its owner, and who listens by default" }],
};

export const guestsCommand: CommandSpec = {
  name: "guests",
  summary: "Lists the guests with their options and defaults.",
  options: [],
};

const tiers: readonly [Tier, string][] = [
  ["base", "base: alone runs any guest correctly"],
  ["enhanced", "enhanced: faster or denser, loaded unless --plugins says otherwise"],
  ["policy", "policy: answers questions, loaded when named"],
  ["tool", "tool: looks at guests, loaded when named or by the options that need it"],
];

export function listPlugins(given: Given): string {
  if (given.has("events")) return listEvents();
  const sections = tiers.map(([tier, title]) => {
    const plugins = builtinPlugins.filter((plugin) => (plugin.tier ?? "policy") === tier);
    return plugins.length === 0 ? "" : `${title}\n\n${plugins.map(describePlugin).join("")}`;
  });
  return sections.filter((section) => section !== "").join("\n");
}

function describePlugin(plugin: Plugin): string {
  const requires = plugin.requires?.length ? `  requires ${plugin.requires.join(", ")}\n` : "";
  const replaces = plugin.replaces?.length ? `  replaces ${plugin.replaces.map((s) => s.name).join(", ")}\n` : "";
  const options = table(
    [...optionRows(plugin.name, plugin.options), ...optionRows(plugin.name, plugin.vmOptions)],
    "    ",
  );
  return `  ${plugin.name}: ${plugin.summary ?? ""}\n${indent(requires + replaces)}${options}`;
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}

interface OptionSchema {
  readonly default?: unknown;
  readonly description?: string;
}

/** `plugin.option`, its default, and what it means. */
function optionRows(plugin: string, schema: z.ZodType | undefined): string[][] {
  if (schema === undefined) return [];
  const json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as {
    properties?: Record<string, OptionSchema>;
  };
  return Object.entries(json.properties ?? {}).map(([name, option]) => [
    `${plugin}.${name}${option.default === undefined ? "" : ` = ${JSON.stringify(option.default)}`}`,
    option.description ?? "",
  ]);
}

function listEvents(): string {
  const host = createHost();
  const listening = new Map(host.bus.tokens().map(({ token, listeners }) => [token.name, listeners]));
  const rows = declaredTokens().map(({ owner, token }) => {
    const listeners = listening.get(token.name) ?? [];
    return [token.name, token.kind, owner, listeners.length > 0 ? [...new Set(listeners)].join(", ") : "-"];
  });
  return table([["EVENT", "KIND", "OWNER", "LISTENERS"], ...rows]);
}

export function listGuests(): string {
  return guests.map((guest) => {
    const options = Object.entries(guest.options).map(([name, option]) => [
      `guest.${name} = ${JSON.stringify(option.default)}`,
      option.describe,
    ]);
    return `${guest.name}: ${guest.summary} (${guest.memoryMib} MiB)\n${table(options, "    ")}`;
  }).join("");
}
