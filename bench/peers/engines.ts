// The engines that are compared: each is a command whose standard output is the guest's serial console, in a process of
// its own, so that its peak memory is its own. An engine that is not installed says so.

import { fromFileUrl } from "@std/path";

/** What every engine boots. */
export interface BootFiles {
  /** Path of the bzImage. */
  readonly kernel: string;
  /** Path of the initramfs. */
  readonly initrd: string;
  /** The kernel's command line. */
  readonly append: string;
  readonly memoryMib: number;
}

export interface Engine {
  readonly name: string;
  readonly summary: string;
  /** Whether it is Ballast's: the others are what it is compared with. */
  readonly isOurs: boolean;
  /** Why it cannot run here; undefined if it can. */
  missing(): Promise<string | undefined>;
  /** The program and its arguments. */
  command(files: BootFiles): readonly string[];
}

const QEMU = "qemu-system-i386";
/** Debian's package seabios. */
const BIOS = "/usr/share/seabios/bios.bin";
const VGA_BIOS = "/usr/share/seabios/vgabios-stdvga.bin";

export const engines: readonly Engine[] = [
  ours("bt", "Ballast's translator", []),
  ours("interpreter", "Ballast's interpreter", ["none"]),
  {
    name: "v86",
    summary: "npm v86, its JIT",
    isOurs: false,
    missing: async () => {
      for (const path of [BIOS, VGA_BIOS]) {
        if (!await isThere(path)) return `${path} is not there (Debian: seabios)`;
      }
    },
    command: (files) => denoRun("v86_linux.ts", files, [BIOS, VGA_BIOS]),
  },
  {
    name: "tcg",
    summary: "QEMU's TCG, one thread",
    isOurs: false,
    missing: async () => {
      const isInstalled = await runs(QEMU, "--version");
      return isInstalled ? undefined : `there is no ${QEMU} (Debian: qemu-system-x86)`;
    },
    command: ({ kernel, initrd, append, memoryMib }) => [
      ...[QEMU, "-accel", "tcg,thread=single", "-cpu", "qemu32", "-m", String(memoryMib)],
      ...["-kernel", kernel, "-initrd", initrd, "-append", append],
      ...["-display", "none", "-monitor", "none", "-serial", "stdio", "-net", "none", "-no-reboot"],
    ],
  },
  // The memory-management plugins, named one by one, whatever the default is.
  ours("flush", "bt without shadow-mmu", ["bt"]),
  ours("shadow", "bt with shadow-mmu", ["bt", "shadow-mmu"]),
  ours("shadow-traced", "shadow-mmu that drops no trace", ["bt", "shadow-mmu", "shadow-mmu.dropAfter=0"]),
  ours("shadow-adaptive", "shadow-mmu and adaptive-bt", ["bt", "shadow-mmu", "adaptive-bt"]),
  ours("traced-adaptive", "the same, dropping no trace", [
    ...["bt", "shadow-mmu", "shadow-mmu.dropAfter=0", "adaptive-bt"],
  ]),
  ours("shadow-eager", "shadow-mmu that fills eagerly", ["bt", "shadow-mmu", "shadow-mmu.eagerFill=true"]),
];

/** `plugins` as ballast_linux.ts takes them. */
function ours(name: string, summary: string, plugins: readonly string[]): Engine {
  return {
    name,
    summary,
    isOurs: true,
    missing: () => Promise.resolve(undefined),
    command: (files) => denoRun("ballast_linux.ts", files, plugins),
  };
}

/**
 * V8's options as the tasks in deno.json have them, for every engine that runs in Deno: a young generation of 24 MiB at the
 * most, where it would grow to 64; and no counting of calls at each entry of new code (for inlining, which fits neither).
 */
export const V8_FLAGS = "--v8-flags=--max-semi-space-size=8,--no-wasm-inlining";

/** A program of this folder in the Deno that runs this one. */
function denoRun(program: string, files: BootFiles, more: readonly string[]): string[] {
  const path = fromFileUrl(new URL(program, import.meta.url));
  const { kernel, initrd, append, memoryMib } = files;
  const permissions = ["--allow-read", "--allow-env"];
  return [
    ...[Deno.execPath(), "run", "--quiet", "--no-check", V8_FLAGS, ...permissions],
    ...[path, kernel, initrd, append, String(memoryMib), ...more],
  ];
}

/** Whether a program is there and ends well. */
async function runs(program: string, argument: string): Promise<boolean> {
  try {
    return (await new Deno.Command(program, { args: [argument], stdout: "null", stderr: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
