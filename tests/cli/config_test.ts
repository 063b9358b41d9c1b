import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../core/mod.ts";
import { configJsonSchema, readConfig } from "../../cli/config.ts";
import { DEFAULT_CPU_MHZ, DEFAULT_SEED, DEFAULT_SHARES } from "../../cli/defaults.ts";

Deno.test("a configuration gets its defaults", () => {
  const config = readConfig('{"vms": [{"guest": "hello"}]}', "c.json");
  assertEquals(config.host, { seed: DEFAULT_SEED, cpuMhz: DEFAULT_CPU_MHZ });
  assertEquals(config.vms, [{ guest: "hello", minMib: 0, shares: DEFAULT_SHARES, options: {} }]);
});

Deno.test("a configuration may say everything", () => {
  const text = JSON.stringify({
    host: { memoryMib: 512, plugins: ["memory", { use: "./mine.ts", options: { a: 1 } }], seed: 3, cpuMhz: 500 },
    vms: [
      {
        name: "a",
        memoryMib: 64,
        minMib: 32,
        shares: 2000,
        guest: { use: "isprime", options: { n: 7 } },
        stdin: "in.txt",
      },
      { name: "b", kernel: "vmlinuz", initrd: "initrd", append: "quiet", options: { pc: { vmware: false } } },
    ],
  });
  const config = readConfig(text, "c.json");
  assertEquals(config.host.plugins, ["memory", { use: "./mine.ts", options: { a: 1 } }]);
  assertEquals(config.vms[0].guest, { use: "isprime", options: { n: 7 } });
  assertEquals(config.vms[1].options, { pc: { vmware: false } });
});

const refused: readonly [string, string][] = [
  ["{", "c.json is not JSON"],
  ["[]", "c.json: the configuration: []"],
  ["{}", "c.json: vms: missing"],
  ['{"vms": []}', "c.json: vms: []"],
  ['{"vms": [{"guest": "a"}], "hosts": {}}', 'unknown key hosts; did you mean "host"?'],
  ['{"vms": [{"guest": "a", "memroyMib": 1}]}', 'unknown key vms[0].memroyMib; did you mean "memoryMib"?'],
  [
    '{"host": {"colour": 1}, "vms": [{"guest": "a"}]}',
    "unknown key host.colour; known: memoryMib, plugins, seed, cpuMhz",
  ],
  [
    '{"host": {"plugins": [{"use": "a", "option": {}}]}, "vms": [{"guest": "a"}]}',
    "unknown key host.plugins[0].option; did you",
  ],
  ['{"vms": [{"guest": {"use": "a", "opts": {}}}]}', "unknown key vms[0].guest.opts; known: use, options"],
  ['{"vms": [{"guest": "a", "memoryMib": "64"}]}', 'c.json: vms[0].memoryMib: "64"; '],
  ['{"vms": [{"guest": "a", "memoryMib": 5000}]}', "vms[0].memoryMib: 5000; "],
  ['{"vms": [{"guest": "a", "name": "a b"}]}', 'vms[0].name: "a b"; expected letters, digits, dots and dashes'],
  ['{"vms": [{}]}', "give either guest or kernel"],
  ['{"vms": [{"guest": "a", "kernel": "b"}]}', "give either guest or kernel"],
  ['{"vms": [{"guest": "a", "append": "b"}]}', "initrd and append need a kernel"],
];
for (const [text, message] of refused) {
  Deno.test(`a configuration ${text} is refused: ${message}`, () => {
    const error = assertThrows(() => readConfig(text, "c.json"), InputError);
    assertStringIncludes(error.message, message);
    assertEquals(error.message.includes("\n"), false);
  });
}

Deno.test("the JSON Schema describes every key and forbids others", () => {
  const schema = configJsonSchema() as { properties: Record<string, unknown>; additionalProperties: boolean };
  assertEquals(Object.keys(schema.properties), ["host", "vms"]);
  assertEquals(schema.additionalProperties, false);
  assertStringIncludes(JSON.stringify(schema), "machine memory");
});
