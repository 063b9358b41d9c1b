// Debian's Linux for tests: prepared once a test file, from the cache where it is filled. Where Linux is not to be had, a
// developer's tests are skipped and say why; in CI (CI=true) they fail.

import { fromFileUrl } from "@std/path";
import { type LinuxFlavour, LinuxUnavailable, type PreparedLinux, prepareLinux } from "../../guests/linux/mod.ts";

/** Folder of packages, images and snapshots. */
export const cacheDir = Deno.env.get("BALLAST_CACHE") ?? fromFileUrl(new URL("../../cache", import.meta.url));

const prepared = await prepare("686");

async function prepare(flavour: LinuxFlavour): Promise<PreparedLinux | LinuxUnavailable> {
  return await prepareLinux({ cacheDir, flavour, log: () => {} }).catch((error: unknown) => {
    if (error instanceof LinuxUnavailable) return error;
    throw error;
  });
}

/** The kernel with PAE. Throws LinuxUnavailable. */
export async function preparePae(): Promise<PreparedLinux> {
  const pae = await prepare("686-pae");
  if (pae instanceof LinuxUnavailable) throw pae;
  return pae;
}

/** A test that needs Linux; `unless` says why a given Linux does not serve. */
export function linuxTest(
  name: string,
  fn: (linux: PreparedLinux) => Promise<void>,
  unless: (linux: PreparedLinux) => string | undefined = () => undefined,
): void {
  if (prepared instanceof LinuxUnavailable) {
    const isCi = Deno.env.get("CI") === "true";
    const fail = () => Promise.reject(prepared);
    return isCi ? Deno.test(name, fail) : Deno.test.ignore(`${name} (skipped: ${prepared.message})`, fail);
  }
  const reason = unless(prepared);
  const test = () => fn(prepared);
  return reason === undefined ? Deno.test(name, test) : Deno.test.ignore(`${name} (skipped: ${reason})`, test);
}
