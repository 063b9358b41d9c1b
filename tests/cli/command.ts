// Runs the command line as its users do: a process of its own, with the permissions that a test names.

import { fromFileUrl } from "@std/path";

const projectFolder = fromFileUrl(new URL("../..", import.meta.url));

export interface CommandOptions {
  /** What is piped into standard input; nothing where absent. */
  readonly stdin?: string;
  readonly cwd?: string;
  /** Default: read alone. */
  readonly permissions?: readonly string[];
  /** Called with the process once its console shows `when`. */
  readonly act?: { readonly when: string; readonly run: (process: Deno.ChildProcess) => void };
}

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `ballast ARGS`. */
export async function ballast(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const permissions = options.permissions ?? ["--allow-read"];
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", ...permissions, `${projectFolder}/mod.ts`, ...args],
    cwd: options.cwd,
    // Where the tests themselves were started is not where this command is given.
    env: { NO_COLOR: "1", INIT_CWD: options.cwd ?? Deno.cwd() },
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const process = command.spawn();
  if (options.stdin !== undefined) {
    const writer = process.stdin.getWriter();
    await writer.write(new TextEncoder().encode(options.stdin));
    await writer.close();
  }
  const stderr = new Response(process.stderr).text();
  let stdout = "", acted = false;
  for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
    stdout += text;
    if (options.act !== undefined && !acted && stdout.includes(options.act.when)) {
      acted = true;
      options.act.run(process);
    }
  }
  const { code } = await process.status;
  return { status: code, stdout, stderr: await stderr };
}

/** Gives `use` a folder that is outside the project and gone afterwards. */
export async function inTemporaryFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "ballast-test-" });
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
