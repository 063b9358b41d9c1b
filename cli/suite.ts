// The command `suite`: runs a folder of test images, each in a machine of its own, and prints what they came to. The images
// are Multiboot kernels that report on the serial port and end through the debug-exit port, as kvm-unit-tests' do
// (lib/report.c there: what they end with; console lines PASS:, FAIL:, SKIP: and SUMMARY:).

import { join } from "@std/path";
import { definePlugin, InputError, type Vm } from "../core/mod.ts";
import * as boot from "../plugins/boot/mod.ts";
import * as consolePlugin from "../plugins/console/mod.ts";
import * as memory from "../plugins/memory/mod.ts";
import * as pc from "../plugins/pc/mod.ts";
import { setImmediate } from "node:timers";
import { fileError, readUserFile, userPath } from "./files.ts";
import { addVm, createHost, defaultHostMib, type VmOptions } from "./machine.ts";
import { type CommandSpec, type Given, table } from "./options.ts";

const DEFAULT_TIMEOUT_S = 60;
/** Longest turn of a VM: the wall clock is looked at between turns. */
const TURN_NS = 1e6;

export const suiteCommand: CommandSpec = {
  name: "suite",
  operands: "FOLDER",
  minOperands: 1,
  maxOperands: 1,
  summary: "Runs a folder of Multiboot test images, such as kvm-unit-tests', and prints a table.",
  options: [
    { name: "memory", value: "SIZE", help: "memory of each VM; default 128M" },
    { name: "timeout", value: "SECONDS", help: `wall time of each image; default ${DEFAULT_TIMEOUT_S}` },
    { name: "environment", value: "FILE", help: "given to each image as its first module: lines NAME=VALUE" },
    { name: "append", value: "STRING", help: "given to each image as its command line, after its name" },
    { name: "only", value: "TEXT", help: "run the images whose names hold TEXT" },
    { name: "plugins", value: "LIST", repeats: true, help: "plugins added to base; none for base" },
    { name: "without", value: "LIST", repeats: true, help: "plugins left out" },
    { name: "verbose", help: "print what each image prints" },
  ],
  notes: `
An image ends by the debug-exit port, with the status (value << 1) | 1: 1 passed, 77 skipped. Any other end fails it.

Exit status: 0 if no image failed, 1 otherwise. The last line is \`N passed, N failed, N skipped\`.`,
};

export type Verdict = "passed" | "failed" | "skipped";

/** What one image came to. */
export interface ImageResult {
  readonly name: string;
  readonly verdict: Verdict;
  /** `status N` for an end by the debug-exit port, `timeout`, or another end's name. */
  readonly end: string;
  /** What it said about its tests: lines that begin with PASS, FAIL and SKIP. */
  readonly passes: number;
  readonly failures: number;
  readonly skips: number;
  readonly steps: number;
  /** Its whole serial output. */
  readonly output: string;
}

/** How images are run. */
export interface SuiteOptions {
  readonly memoryMib?: number;
  /** Wall time of each image. */
  readonly timeoutSeconds?: number;
  /** The first module of each image. */
  readonly environment?: Uint8Array;
  /** Arguments: the command line after the image's name. */
  readonly append?: string;
  readonly plugins?: readonly string[];
  readonly without?: readonly string[];
}

/** Exit statuses of an image: what it wrote was 0, or what makes automake's status of a skipped test. */
const PASSED_STATUS = 1, SKIPPED_STATUS = 77;

export async function suite(given: Given): Promise<number> {
  const [path] = given.operands;
  const folder = userPath(path), only = given.text("only") ?? "";
  const environmentPath = given.text("environment");
  const names = (list: readonly string[]) => list.flatMap((text) => text.split(",")).filter((name) => name !== "");
  const options: SuiteOptions = {
    memoryMib: given.sizeMib("memory"),
    timeoutSeconds: given.seconds("timeout"),
    environment: environmentPath && await readUserFile(userPath(environmentPath), "environment") || undefined,
    append: given.text("append"),
    plugins: given.has("plugins") ? names(given.list("plugins")).filter((name) => name !== "none") : undefined,
    without: names(given.list("without")),
  };
  const results: ImageResult[] = [];
  for (const { name, bytes } of await readImages(folder)) {
    if (!name.includes(only)) continue;
    const result = await runImage(name, bytes, options);
    if (given.has("verbose")) console.log(`--- ${name}\n${result.output.trimEnd()}`);
    results.push(result);
  }
  if (results.length === 0) throw new InputError(`suite ${path}: no Multiboot image${only && ` named *${only}*`}`);
  console.log(resultTable(results));
  const count = (verdict: Verdict) => results.filter((result) => result.verdict === verdict).length;
  console.log(`${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`);
  return count("failed") === 0 ? 0 : 1;
}

/** The Multiboot images in a folder, by name. */
export async function readImages(folder: string): Promise<{ name: string; bytes: Uint8Array }[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(folder)) if (entry.isFile) names.push(entry.name);
  } catch (cause) {
    throw fileError(cause, "suite", folder, "read");
  }
  const images: { name: string; bytes: Uint8Array }[] = [];
  for (const name of names.toSorted()) {
    const bytes = await readUserFile(join(folder, name), "image");
    if (boot.findMultibootHeader(bytes) !== undefined) images.push({ name, bytes });
  }
  return images;
}

/** Runs one image in a host of its own until it ends or its time is up. */
export async function runImage(name: string, kernel: Uint8Array, options: SuiteOptions = {}): Promise<ImageResult> {
  const { environment, append, memoryMib } = options;
  const initrd = environment === undefined ? {} : { initrd: environment, initrdName: "environment" };
  // As QEMU and GRUB have it, and as test images count their arguments: the program's name comes first.
  const commandLine = append === undefined ? name : `${name} ${append}`;
  const guest: VmOptions["guest"] = { linux: { kernel, kernelName: name, append: commandLine, ...initrd } };
  const vmOptions: VmOptions = { guest, memoryMib };
  const host = createHost({
    memoryMib: defaultHostMib([vmOptions]),
    quantumNs: TURN_NS,
    plugins: options.plugins,
    without: options.without,
    options: { pc: { testDevice: true } },
  });
  const output: number[] = [];
  host.load({
    plugin: definePlugin({
      name: "suite",
      summary: "collects what a test image prints",
      requires: ["console"],
      setup: ({ on }) => on(consolePlugin.output, ({ byte }) => void output.push(byte)),
    }),
  });
  const vm = addVm(host, vmOptions);
  // Test images come from a world in which a BIOS ran before them: real-mode code waits for its timer.
  for (const { address, bytes } of host.service(pc.biosTimer)(vm)) host.service(memory.guest)(vm).write(address, bytes);
  const endMs = performance.now() + (options.timeoutSeconds ?? DEFAULT_TIMEOUT_S) * 1000;
  await host.run({
    stop: () => performance.now() >= endMs,
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
  });
  if (vm.exit === undefined) vm.end({ reason: "limit", status: 0, detail: "timeout" });
  const text = new TextDecoder().decode(Uint8Array.from(output));
  const count = (word: string) => text.split("\n").filter((line) => line.startsWith(word)).length;
  return {
    name,
    ...judge(vm),
    passes: count("PASS"),
    failures: count("FAIL"),
    skips: count("SKIP"),
    steps: vm.clock.steps,
    output: text,
  };
}

/** The verdict on an ended VM. */
function judge({ exit }: Vm): Pick<ImageResult, "verdict" | "end"> {
  if (exit?.reason !== "debug-exit") {
    return { verdict: "failed", end: exit?.detail === "timeout" ? "timeout" : exit?.reason ?? "running" };
  }
  const { status } = exit;
  const verdict = status === PASSED_STATUS ? "passed" : status === SKIPPED_STATUS ? "skipped" : "failed";
  return { verdict, end: `status ${status}` };
}

/** One line an image, and what it said last. */
export function resultTable(results: readonly ImageResult[]): string {
  const heading = ["image", "verdict", "end", "PASS", "FAIL", "SKIP", "steps", "last words"];
  const rows = results.map((result) => [
    result.name,
    result.verdict,
    result.end,
    ...[result.passes, result.failures, result.skips, result.steps].map(String),
    lastWords(result.output),
  ]);
  return table([heading, ...rows]);
}

/** The summary if there is one, else the last line that says something. */
function lastWords(output: string): string {
  const lines = output.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  return lines.findLast((line) => line.startsWith("SUMMARY:")) ?? lines.at(-1) ?? "";
}
