// docs/teaching.md names files that are there and commands that there are.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { experiments } from "../bench/experiments/mod.ts";
import project from "../deno.json" with { type: "json" };

const root = fromFileUrl(new URL("..", import.meta.url));
const page = await Deno.readTextFile(`${root}/docs/teaching.md`);

Deno.test("every file that the teaching page names is there", async () => {
  const paths = [...page.matchAll(/`((?:core|plugins|bench|docs|tests)\/[\w./-]+)`/g)].map((match) => match[1]);
  assertGreater(paths.length, 10);
  for (const path of paths) assert((await Deno.stat(`${root}/${path}`)).isFile, path);
});

Deno.test("every command of the teaching page is a task, and every experiment of it exists", () => {
  const tasks = [...page.matchAll(/`deno task (\w+)/g)].map((match) => match[1]);
  assertEquals(tasks.filter((task) => !(task in project.tasks)), []);
  const named = [...page.matchAll(/task experiment ([a-z-]+)/g)].map((match) => match[1]);
  assertGreater(named.length, 8);
  assertEquals(named.filter((name) => !experiments.some((experiment) => experiment.name === name)), []);
});
