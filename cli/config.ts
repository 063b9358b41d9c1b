// The configuration of a run: its schema, the JSON file it is read from, and errors that say where in the file.

import { InputError, nearest, z } from "../core/mod.ts";
import { DEFAULT_CPU_MHZ, DEFAULT_SEED, DEFAULT_SHARES, MOST_HOST_MIB } from "./defaults.ts";

const pluginSchema = z.union([
  z.string().describe("a plugin's name, or the path of its file"),
  z.strictObject({
    use: z.string().describe("a plugin's name, or the path of its file"),
    options: z.record(z.string(), z.unknown()).default({}).describe("its options by name"),
  }),
]);

const guestOptions = z.record(z.string(), z.union([z.number(), z.string()]));

const vmSchema = z.strictObject({
  name: z.string().regex(/^[\w.-]+$/, "expected letters, digits, dots and dashes").optional()
    .describe("default: the guest's name"),
  memoryMib: z.int().min(1).max(MOST_HOST_MIB).optional().describe("default: what the guest asks for, Linux 128"),
  minMib: z.int().min(0).default(0).describe("MiB of machine memory that are never taken from it"),
  shares: z.number().positive().default(DEFAULT_SHARES).describe("claim on CPU and memory relative to other VMs"),
  guest: z.union([
    z.string(),
    z.strictObject({ use: z.string(), options: guestOptions.default({}) }),
  ]).optional().describe("a guest's name, or its name and options"),
  kernel: z.string().optional().describe("path of a Linux bzImage"),
  initrd: z.string().optional().describe("path of its initial RAM disk"),
  append: z.string().optional().describe("the kernel command line"),
  disk: z.union([z.string(), z.array(z.string())]).optional().describe("paths of disk images, each a virtio disk"),
  stdin: z.string().optional().describe("path of a file that is typed into the serial console"),
  options: z.record(z.string(), z.record(z.string(), z.unknown())).default({})
    .describe("this VM's options of a plugin, by the plugin's name"),
}).refine((vm) => (vm.guest === undefined) !== (vm.kernel === undefined), "give either guest or kernel")
  .refine((vm) => vm.kernel !== undefined || (vm.initrd ?? vm.append) === undefined, "initrd and append need a kernel");

const hostSchema = z.strictObject({
  memoryMib: z.int().min(1).max(MOST_HOST_MIB).optional().describe("machine memory; default: what the VMs may use"),
  plugins: z.array(pluginSchema).optional().describe("added to base; default: every enhanced plugin"),
  seed: z.int().min(0).default(DEFAULT_SEED).describe("of all random numbers"),
  cpuMhz: z.number().min(1).max(10_000).default(DEFAULT_CPU_MHZ).describe("steps per microsecond of guest time"),
});

export const configSchema = z.strictObject({
  host: hostSchema.prefault({}),
  vms: z.array(vmSchema).min(1),
});

/** A configuration, complete but for what depends on guests. */
export type Config = z.output<typeof configSchema>;
/** What a configuration may leave out. */
export type ConfigInput = z.input<typeof configSchema>;
export type VmSpec = Config["vms"][number];

/** The schema of configuration files, for editors. */
export function configJsonSchema(): unknown {
  return z.toJSONSchema(configSchema, { io: "input" });
}

/** Checks a configuration; `source` names it in the error. */
export function parseConfig(value: unknown, source: string): Config {
  const parsed = configSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new InputError(`${source}: ${explain(parsed.error.issues[0], value)}`);
}

/** Reads a configuration file. */
export function readConfig(text: string, source: string): Config {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new InputError(`${source} is not JSON: ${reason}`, { cause });
  }
  return parseConfig(value, source);
}

type Issue = z.core.$ZodIssue;

/** One line: where, what is there, what is expected. */
function explain(issue: Issue, value: unknown): string {
  if (issue.code === "invalid_union") {
    // The branch that got furthest is the one that was meant.
    const branches = issue.errors.filter((branch) => branch.length > 0);
    const deepest = branches.toSorted((a, b) => rank(b[0]) - rank(a[0]))[0]?.[0];
    if (deepest !== undefined) return explain({ ...deepest, path: [...issue.path, ...deepest.path] } as Issue, value);
  }
  const where = pathText(issue.path);
  if (issue.code === "unrecognized_keys") {
    const [key] = issue.keys;
    const near = nearest(key, keysAt(issue.path));
    const hint = near === undefined ? `known: ${keysAt(issue.path).join(", ")}` : `did you mean "${near}"?`;
    return `unknown key ${pathText([...issue.path, key])}; ${hint}`;
  }
  const found = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], value);
  return `${where || "the configuration"}: ${found === undefined ? "missing" : shortJson(found)}; ${issue.message}`;
}

function rank(issue: Issue): number {
  return issue.path.length + (issue.code === "unrecognized_keys" ? 1 : 0);
}

function pathText(path: readonly PropertyKey[]): string {
  return path.map((key, i) => typeof key === "number" ? `[${key}]` : `${i === 0 ? "" : "."}${String(key)}`).join("");
}

function shortJson(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
}

/** Valid keys of the object at a path of the configuration. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let at: JsonSchema | undefined = configJsonSchema() as JsonSchema;
  for (const key of path) {
    at = typeof key === "number" ? at?.items : at?.properties?.[String(key)];
    at = at?.anyOf?.find((branch) => branch.properties !== undefined) ?? at;
  }
  return Object.keys(at?.properties ?? {});
}
