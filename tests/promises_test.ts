// SPECIFICATION.md and SECURITY.md: every line of their tables names what keeps it, and everything named is there.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { dirname, fromFileUrl, join } from "@std/path";
import project from "../deno.json" with { type: "json" };

const root = fromFileUrl(new URL("..", import.meta.url));
/** Cells that say that nothing keeps a line, or not yet. */
const SAYS_SO = /\bpending\b|^none$/;

interface Line {
  readonly text: string;
  /** Its last cell. */
  readonly keptBy: string;
}

/** The lines of a document's tables, without their heads. */
async function linesOf(document: string): Promise<Line[]> {
  const rows = (await Deno.readTextFile(join(root, document))).split("\n").filter((row) => row.startsWith("|"));
  return rows.filter((row, at) => !/^\| ---/.test(row) && !/^\| ---/.test(rows[at + 1] ?? "")).map((row) => {
    // A vertical bar in code is escaped.
    const cells = row.split(/(?<!\\)\|/).map((cell) => cell.trim());
    return { text: cells[1], keptBy: cells.at(-2) ?? "" };
  });
}

/** Folders that a name may begin with; another name lies where the one before it does. */
const TOP = /^(?:tests|bench|cli|\.ci)\//;

function pathsIn(cell: string): string[] {
  let folder = "";
  const names = [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name).filter((name) => !name.startsWith("deno "));
  return names.map((name) => {
    const path = TOP.test(name) ? name : join(folder, name);
    folder = dirname(path);
    return path;
  });
}

async function isThere(path: string): Promise<boolean> {
  try {
    const { isDirectory } = await Deno.stat(join(root, path));
    if (isDirectory) return [...Deno.readDirSync(join(root, path))].some(({ name }) => name.endsWith("_test.ts"));
    return /_test\.ts$|\.bench\.ts$|^\.ci\/|^cli\//.test(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

for (const [document, least] of [["SPECIFICATION.md", 60], ["SECURITY.md", 15]] as const) {
  Deno.test(`every line of ${document} names the tests that keep it, or says that none does, and they are there`, async () => {
    const lines = await linesOf(document);
    assertGreater(lines.length, least);
    for (const { text, keptBy } of lines) {
      const paths = pathsIn(keptBy);
      assert(paths.length > 0 || SAYS_SO.test(keptBy), `nothing keeps: ${text}`);
      const missing: string[] = [];
      for (const path of paths) if (!await isThere(path)) missing.push(path);
      assertEquals(missing, [], text);
    }
  });
}

Deno.test("every command that the two documents name is a task", async () => {
  for (const document of ["SPECIFICATION.md", "SECURITY.md"]) {
    const text = await Deno.readTextFile(join(root, document));
    const tasks = [...text.matchAll(/`deno task (\w+)/g)].map(([, task]) => task);
    assertGreater(tasks.length, 0);
    assertEquals(tasks.filter((task) => !(task in project.tasks)), [], document);
  }
});
