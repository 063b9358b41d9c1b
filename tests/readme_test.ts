// The README's commands do what it says: every `sh` block runs, in order, with this Deno in place of the npx command.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";

const projectFolder = fromFileUrl(new URL("..", import.meta.url));
const readme = await Deno.readTextFile(`${projectFolder}/README.md`);
const NPX_DENO = "npx -y deno@2.9.6";

/** What is typed into a block's standard input: the shell of `task linux` waits for commands. */
const typed: Readonly<Record<string, string>> = { "task linux": "uname -m\npoweroff -f\n" };

/** What a block's standard output must show, by a command in it. */
const shown: Readonly<Record<string, RegExp>> = {
  "task start": /Who ran how long[\s\S]*prime-3-shares +3000[\s\S]*What trapped[\s\S]*What machine memory holds/,
  "task linux": /uname -m\r?\ni686/,
  "--set guest.n=97": /isPrime\(97\) = 1/,
  "run --allow-read mod.ts run --guest hello": /^hello, world\nhello, world\n$/,
  "task inspect --guest isprime": /mov ecx, edi +innocuous[\s\S]*prime +continuation +never/,
  "task run out/two.json": /busy: alu: checksum/,
  "task plugins --events": /core\.vmEnding +reduce/,
  "--plugins ./out/single-step.ts": /privileged: 500 iterations/,
};

const blocks = [...readme.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map((match) => match[1]);

/** A block's name in the list of tests: its last command. */
const titleOf = (block: string) => block.trimEnd().split("\n").at(-1) ?? "";

async function runBlock(block: string): Promise<{ status: number; stdout: string; stderr: string }> {
  const script = block.replaceAll(NPX_DENO, `"${Deno.execPath()}"`);
  const process = new Deno.Command("sh", {
    args: ["-e", "-c", script],
    cwd: projectFolder,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const input = Object.entries(typed).find(([command]) => block.includes(command))?.[1] ?? "";
  const writer = process.stdin.getWriter();
  // A command that reads nothing may have ended before it could be told that there is nothing.
  await writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
  const { code, stdout, stderr } = await process.output();
  return { status: code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

Deno.test("the README has its parts in order", () => {
  const headings = [...readme.matchAll(/^## (.*)$/gm)].map((match) => match[1]);
  const expected = [
    "Start",
    "Linux",
    "Run a guest",
    "Look inside",
    "Plugins",
    "Swap one",
    "Experiments",
    "Where results lie",
    "Work on it",
  ];
  assertEquals(headings, expected);
  for (const command of Object.keys(shown)) {
    assert(blocks.some((block) => block.includes(command)), `no block of the README has "${command}"`);
  }
});

for (const block of blocks) {
  Deno.test(`README: ${titleOf(block)}`, async () => {
    const { status, stdout, stderr } = await runBlock(block);
    assertEquals(status, 0, `${block}\n${stdout}\n${stderr}`);
    for (const [command, pattern] of Object.entries(shown)) if (block.includes(command)) assertMatch(stdout, pattern);
    if (block.includes("--state-hash")) {
      const hashes = stderr.split("\n").filter((line) => line.startsWith("state-hash"));
      assert(hashes.length >= 2 && hashes.length % 2 === 0, stderr);
      assertEquals(hashes.slice(0, hashes.length / 2), hashes.slice(hashes.length / 2), "the engines disagree");
    }
  });
}

Deno.test("the README names the Deno version that continuous integration uses", async () => {
  assertStringIncludes(await Deno.readTextFile(`${projectFolder}/.ci/run`), NPX_DENO);
});
