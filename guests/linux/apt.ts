// Debian packages for i386 by name, through the system's apt with its sources and keys, but with private lists, caches
// and state: the machine's own packages stay as they are. Where it stands: package.ts asks for records and files.
// Follows apt.conf(5), apt-get(8) and apt-cache(8).

import { kernelPackageOf, type PackageRecord, parsePackageRecords } from "./control.ts";
import { sha256Hex } from "./files.ts";

/** Debian's kernel cannot be had here: no apt, no such package, or no network and nothing cached. */
export class LinuxUnavailable extends Error {
  constructor(reason: string, options?: ErrorOptions) {
    super(`${reason}; give a kernel and an initramfs of your own with --kernel FILE and --initrd FILE`, options);
    this.name = "LinuxUnavailable";
  }
}

/** How apt is found and how patient we are with the network. */
export interface AptSettings {
  /** Folders to look for apt-get and dpkg-deb in, as in PATH. Default: the environment's. */
  readonly searchPath?: string;
  /** Pauses before the second, third, ... attempt. */
  readonly retryDelaysMs?: readonly number[];
}

const DEFAULT_RETRY_DELAYS_MS = [2_000, 8_000, 30_000] as const;

/**
 * Read by apt after the system's configuration. Its hooks would clean or index the machine's own apt folders, and other
 * indexes than Packages are of no use here. A set Architectures list keeps apt from asking dpkg for more.
 */
const APT_CONFIGURATION = `APT::Architecture "i386";
#clear APT::Architectures;
APT::Architectures { "i386"; };
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::Contents-deb;
#clear Acquire::IndexTargets::deb::CNF;
Acquire::Languages "none";
APT::Sandbox::User "root";
`;

/** An apt of its own in `folder`, which the caller creates empty and removes afterwards. */
export class PrivateApt {
  readonly #folder: string;
  readonly #settings: AptSettings;
  readonly #log: (line: string) => void;
  #updateProblem = "";

  constructor(folder: string, settings: AptSettings, log: (line: string) => void) {
    this.#folder = folder;
    this.#settings = settings;
    this.#log = log;
  }

  /**
   * Downloads the kernel that metapackage `metapackage` stands for, and `others`. Each attempt refreshes the indexes; a
   * suite that cannot be fetched is no error while the rest names the packages, and a version that cannot be downloaded
   * gives way to the next older one. Returns records with the paths of the .deb files, the kernel first.
   * Throws LinuxUnavailable when apt is missing or every attempt failed.
   */
  async fetchKernel(metapackage: string, others: readonly string[]): Promise<DownloadedPackage[]> {
    await this.#prepareFolder();
    const delaysMs = this.#settings.retryDelaysMs ?? DEFAULT_RETRY_DELAYS_MS;
    for (let attempt = 0;; attempt++) {
      try {
        await this.#update();
        const packages = [await this.#downloadKernel(metapackage)];
        for (const name of others) packages.push(await this.#downloadFirst(name, await this.#versions(name)));
        return packages;
      } catch (error) {
        if (!(error instanceof AptFailure)) throw error;
        if (attempt >= delaysMs.length) {
          throw new LinuxUnavailable(`apt could not fetch ${metapackage} for i386 (${error.message})`, {
            cause: error,
          });
        }
        this.#log(`apt: ${error.message}; trying again in ${delaysMs[attempt] / 1000} s`);
        await new Promise((resolve) => setTimeout(resolve, delaysMs[attempt]));
      }
    }
  }

  async #prepareFolder(): Promise<void> {
    for (const name of ["state/lists/partial", "cache/archives/partial", "debs"]) {
      await Deno.mkdir(`${this.#folder}/${name}`, { recursive: true });
    }
    await Deno.writeTextFile(`${this.#folder}/status`, "");
    await Deno.writeTextFile(`${this.#folder}/apt.conf`, APT_CONFIGURATION);
  }

  async #update(): Promise<void> {
    this.#log("apt: refreshing the i386 package indexes");
    // Without a network apt-get only warns and succeeds, so that its words count, not its status.
    const { firstError } = await this.#run("apt-get", ["update"]);
    this.#updateProblem = firstError;
    if (firstError !== "") this.#log(`apt: some indexes could not be refreshed (${firstError}); using the rest`);
  }

  async #versions(name: string): Promise<PackageRecord[]> {
    const result = await this.#run("apt-cache", ["show", name]);
    const records = parsePackageRecords(result.stdout).filter((record) => record.name === name);
    if (records.length === 0) {
      const reason = this.#updateProblem === "" ? "" : `; apt-get update: ${this.#updateProblem}`;
      throw new AptFailure(`no package ${name} in the i386 indexes${reason}`);
    }
    return records;
  }

  async #downloadKernel(metapackage: string): Promise<DownloadedPackage> {
    const kernels: PackageRecord[] = [];
    for (const record of await this.#versions(metapackage)) {
      const name = kernelPackageOf(record);
      if (name === undefined) throw new AptFailure(`${metapackage} ${record.version} names no kernel package`);
      kernels.push(...(await this.#versions(name)).filter((kernel) => kernel.version === record.version));
    }
    return await this.#downloadFirst(metapackage, kernels);
  }

  async #downloadFirst(what: string, versions: readonly PackageRecord[]): Promise<DownloadedPackage> {
    let failure = new AptFailure(`no version of ${what} in the i386 indexes`);
    for (const record of versions) {
      try {
        return await this.#download(record);
      } catch (error) {
        if (!(error instanceof AptFailure)) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  async #download(record: PackageRecord): Promise<DownloadedPackage> {
    this.#log(`apt: downloading ${record.name} ${record.version} (${record.sizeBytes} bytes)`);
    const folder = await Deno.makeTempDir({ dir: `${this.#folder}/debs` });
    const result = await this.#run("apt-get", ["download", `${record.name}=${record.version}`], folder);
    if (!result.success) throw new AptFailure(`download of ${record.name} ${record.version}: ${result.firstError}`);
    for await (const { name } of Deno.readDir(folder)) {
      if (!name.endsWith(".deb")) continue;
      const path = `${folder}/${name}`;
      const sha256 = sha256Hex(await Deno.readFile(path));
      if (sha256 !== record.sha256) {
        throw new AptFailure(`${name} has SHA256 ${sha256}, the index says ${record.sha256}`);
      }
      return { record, path };
    }
    throw new AptFailure(`apt-get downloaded no file for ${record.name} ${record.version}`);
  }

  async #run(program: "apt-get" | "apt-cache", command: readonly string[], cwd?: string): Promise<Finished> {
    const options = [
      `Dir::State=${this.#folder}/state`,
      `Dir::State::lists=${this.#folder}/state/lists`,
      `Dir::State::status=${this.#folder}/status`,
      `Dir::State::extended_states=${this.#folder}/extended_states`,
      `Dir::Cache=${this.#folder}/cache`,
      `Dir::Cache::archives=${this.#folder}/cache/archives`,
    ].flatMap((option) => ["-o", option]);
    const args = ["-c", `${this.#folder}/apt.conf`, ...options, ...command];
    const { searchPath } = this.#settings;
    const { success, stdout, stderr } = await runTool(program, args, { searchPath, cwd });
    return { success, stdout: new TextDecoder().decode(stdout), firstError: firstErrorLine(stderr) };
  }
}

/** A package's record and its .deb file. */
export interface DownloadedPackage {
  readonly record: PackageRecord;
  readonly path: string;
}

/**
 * Starts one of Debian's package tools with messages in English and collects its output.
 * Throws LinuxUnavailable when it is not installed.
 */
export async function runTool(
  program: string,
  args: readonly string[],
  { searchPath, cwd }: { searchPath?: string; cwd?: string },
): Promise<Deno.CommandOutput> {
  return await withToolMissingExplained(program, () => toolCommand(program, args, { searchPath, cwd }).output());
}

/** The command behind runTool, for a caller that wants to stream its output. */
export function toolCommand(
  program: string,
  args: readonly string[],
  { searchPath, cwd }: { searchPath?: string; cwd?: string },
): Deno.Command {
  const env: Record<string, string> = { LC_ALL: "C" };
  if (searchPath !== undefined) env.PATH = searchPath;
  return new Deno.Command(program, { args: [...args], cwd, env, stdin: "null", stdout: "piped", stderr: "piped" });
}

/** Runs `start` and turns the host's "no such program" into LinuxUnavailable. */
export async function withToolMissingExplained<T>(program: string, start: () => T | Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new LinuxUnavailable(`no ${program} here: Debian's kernel is fetched with apt`, { cause: error });
  }
}

/** Apt ran and did not deliver: worth another attempt. */
class AptFailure extends Error {}

interface Finished {
  readonly success: boolean;
  readonly stdout: string;
  /** apt's first error, or else its first warning, or "". */
  readonly firstError: string;
}

function firstErrorLine(stderr: Uint8Array): string {
  const lines = new TextDecoder().decode(stderr).split("\n");
  const line = lines.find((text) => text.startsWith("E: ")) ?? lines.find((text) => text.startsWith("W: ")) ??
    "";
  // A source may carry a user and a password in its address: keep them out of logs.
  return line.replace(/^[EW]: /, "").replace(/\/\/[^/@\s]*@/g, "//");
}
