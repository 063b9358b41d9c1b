// The house as the design draws it: which way imports point, how large the core is, what files may not say, and that the
// adapters of std/ are exactly as large as their use.

import { assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { fromFileUrl, join, toFileUrl } from "@std/path";
import { arrowsOf, filesBelow, importsOf, namesImported, objection, type Requirements } from "./import_graph.ts";

const root = fromFileUrl(new URL("..", import.meta.url));
const files = [...filesBelow(root)];
const sources = new Map(
  files.filter((path) => path.endsWith(".ts")).map((path) => [path, Deno.readTextFileSync(join(root, path))]),
);

const MAX_CORE_LINES = 1000;

/** What every plugin requires, as its own mod.ts declares it. */
async function readRequirements(): Promise<Requirements> {
  const folders = new Set([...sources.keys()].flatMap((path) => path.match(/^plugins\/([^/]+)\//)?.[1] ?? []));
  const requirements = new Map<string, readonly string[]>();
  for (const folder of folders) {
    const { default: plugin } = await import(toFileUrl(join(root, "plugins", folder, "mod.ts")).href);
    assertEquals(plugin.name, folder, `the plugin in plugins/${folder} has the name of its folder`);
    requirements.set(folder, plugin.requires ?? []);
  }
  return requirements;
}

Deno.test("imports point the way the design says, and no other", async () => {
  const requirements = await readRequirements();
  const arrows = [...sources].flatMap(([path, source]) => arrowsOf(path, source));
  const objections = arrows.flatMap((arrow) => {
    const reason = objection(arrow, requirements);
    return reason === undefined ? [] : [`${arrow.from} -> ${arrow.to}: ${reason}`];
  });
  assertEquals(objections, []);
  // The graph was really drawn.
  assertGreater(arrows.length, sources.size);
});

Deno.test("every file that is imported is there", () => {
  const missing = [...sources].flatMap(([path, source]) =>
    arrowsOf(path, source).filter(({ to, isBare }) => !isBare && !files.includes(to)).map(({ to }) =>
      `${path} -> ${to}`
    )
  );
  assertEquals(missing, []);
});

Deno.test("programs that make hosts load nothing but what is ours and zod, and no schema of configurations", () => {
  const reached = new Set(["cli/machine.ts"]), bare = new Set<string>();
  for (const from of reached) {
    for (const { to, isBare } of arrowsOf(from, sources.get(from) ?? "")) (isBare ? bare : reached).add(to);
  }
  assertEquals([...bare], ["zod"]);
  assertEquals(reached.has("cli/config.ts"), false);
  assertGreater(reached.size, 200);
});

const planted: [from: string, specifier: string, allowed: boolean][] = [
  ["core/bus.ts", "./token.ts", true],
  ["core/plugin.ts", "zod", true],
  ["core/bus.ts", "@std/assert", false],
  ["core/bus.ts", "../plugins/memory/mod.ts", false],
  ["core/bus.ts", "../mod.ts", false],
  ["plugins/x86/mod.ts", "../../core/mod.ts", true],
  ["plugins/x86/opcodes/table.ts", "../decoder.ts", true],
  ["plugins/x86/mmu.ts", "../memory/mod.ts", true],
  ["plugins/x86/mmu.ts", "../memory/pmap.ts", false],
  ["plugins/x86/mmu.ts", "../pc/mod.ts", false],
  ["plugins/x86/mmu.ts", "../../guests/mod.ts", false],
  ["plugins/x86/mmu.ts", "../../mod.ts", false],
  ["plugins/x86/mmu.ts", "ballast", false],
  ["plugins/x86/mmu.ts", "../../std/path.ts", false],
  ["plugins/memory/mod.ts", "../x86/mod.ts", false],
  ["guests/hello.ts", "./assembler/mod.ts", true],
  ["guests/hello.ts", "../core/mod.ts", false],
  ["guests/linux/mod.ts", "../../plugins/boot/mod.ts", false],
  ["mod.ts", "./plugins/memory/mod.ts", true],
  ["cli/run.ts", "../plugins/x86/mod.ts", true],
  ["cli/run.ts", "../tests/core/fake_executor.ts", false],
  ["cli/experiment.ts", "../bench/experiments/mod.ts", true],
  ["cli/experiment.ts", "../bench/experiments/sampling.ts", false],
  ["mod.ts", "./bench/experiments/mod.ts", false],
  ["bench/experiments/sampling.ts", "./framework/scene.ts", true],
  ["bench/experiments/framework/engine.ts", "../sampling.ts", false],
  ["std/path.ts", "node:path", true],
  ["std/path.ts", "@std/path", false],
  ["std/path.ts", "../core/mod.ts", false],
  ["setup.ts", "./plugins/memory/mod.ts", false],
  ["bench/bus.bench.ts", "../core/mod.ts", true],
  ["tests/core/bus_test.ts", "../../plugins/memory/pmap.ts", true],
  ["tests/core/bus_test.ts", "@std/assert/equals", false],
  ["cli/run.ts", "jsr:@std/path", false],
  ["cli/run.ts", "../../elsewhere/mod.ts", false],
];

for (const [from, specifier, allowed] of planted) {
  Deno.test(`an import of ${specifier} in ${from} is ${allowed ? "allowed" : "refused"}`, () => {
    const requirements = new Map([["x86", ["memory"]], ["memory", []]]);
    const [arrow] = arrowsOf(from, `import { a } from "${specifier}";\n`);
    assertEquals(objection(arrow, requirements) === undefined, allowed);
  });
}

Deno.test("every kind of import is seen, and what only looks like one is not", () => {
  // Pieced together, so that this file's own imports stay what they are.
  const call = (specifier: string) => `${"import"}("${specifier}")`;
  const lines = [
    'import { a } from "./1.ts";',
    'import type { A } from "./2.ts";',
    'import {\n  a,\n  type B,\n} from "./3.ts";',
    'import * as all from "./4.ts";',
    'import first, { second } from "./5.ts";',
    'import "./6.ts";',
    'export * from "./7.ts";',
    'export { c } from "./8.ts";',
    `const late = await ${call("./9.ts")};`,
    '// import { no } from "./comment.ts";',
    ` * await ${call("./docstring.ts")};`,
    'const text = `import { no } from "./text.ts"`;',
    'export const from = "./constant.ts";',
  ];
  assertEquals(importsOf(lines.join("\n")), Array.from({ length: 9 }, (_, i) => `./${i + 1}.ts`));
});

/** Lines of a source that are neither blank nor comment alone. */
function codeLines(source: string): number {
  const withoutBlocks = source.replaceAll(/^\s*\/\*[\s\S]*?\*\/\s*$/gm, "");
  return withoutBlocks.split("\n").filter((line) => line.trim() !== "" && !line.trim().startsWith("//")).length;
}

Deno.test(`the core has at most ${MAX_CORE_LINES} lines of code`, () => {
  assertEquals(codeLines("// a\n\n/** b\n * c\n */\nconst d = 1; // e\n  /* f */\n"), 1);
  const core = [...sources].filter(([path]) => path.startsWith("core/"));
  assertLessOrEqual(core.reduce((lines, [, source]) => lines + codeLines(source), 0), MAX_CORE_LINES);
});

Deno.test("no file names a path of the machine it was written on", () => {
  const textual = /\.(?:ts|json|lock|md|c|h|S|sh|txt|html|yml)$|^\.ci\/|^\.gitignore$/;
  const homes = /\/(?:home|Users)\/[\w.-]+\/|\b[A-Z]:\\\\?Users\\/;
  // Where this checkout stands, and the folder around it, unless that is too short to be anybody's.
  const here = [root, join(root, "..")].map((path) => path.replace(/\/+$/, "")).filter((path) => path.length > 1);
  const found = files.filter((path) => textual.test(path)).filter((path) => {
    const text = Deno.readTextFileSync(join(root, path));
    return homes.test(text) || here.some((place) => text.includes(`${place}/`));
  });
  assertEquals(found, []);
});

Deno.test("adapters export exactly what the project imports from the packages they stand for", async () => {
  const { imports } = JSON.parse(Deno.readTextFileSync(join(root, "deno.json")));
  const mapped = Object.keys(imports).filter((name) => name.startsWith("@std/"));
  assertEquals(mapped, ["@std/assert", "@std/cli", "@std/path"]);
  const exported: Record<string, string[]> = {}, used: Record<string, string[]> = {};
  for (const module of mapped) {
    const adapter = await import(new URL(imports[module], toFileUrl(`${root}/`)).href);
    exported[module] = Object.keys(adapter).toSorted();
    used[module] = [...new Set([...sources.values()].flatMap((source) => namesImported(source, module)))].toSorted();
  }
  assertEquals(exported, used);
  const unnamed = [...sources].filter(([, source]) =>
    mapped.some((module) => importsOf(source).includes(module) && namesImported(source, module).length === 0)
  );
  assertEquals(unnamed.map(([path]) => path), [], "names are imported one by one, so that they can be compared");
});
