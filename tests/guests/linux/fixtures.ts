// Handmade inputs for the tests of guests/linux: tar streams, kernel modules, a busybox, and a stand-in for apt whose
// "packages" are plain tar files, so that the whole preparation runs without a network.

import { sha256Hex } from "../../../guests/linux/files.ts";

const encoder = new TextEncoder();

export interface TarMember {
  readonly path: string;
  readonly data?: Uint8Array;
  /** Type flag of the header; default "0", a regular file. */
  readonly type?: string;
  /** Value of the ustar prefix field. */
  readonly prefix?: string;
}

/** A tar archive in ustar headers, ended by two zero blocks. */
export function tar(members: readonly TarMember[]): Uint8Array<ArrayBuffer> {
  return concatenate([...members.flatMap(tarMember), new Uint8Array(1024)]);
}

function tarMember({ path, data = new Uint8Array(0), type = "0", prefix = "" }: TarMember): Uint8Array[] {
  const header = new Uint8Array(512);
  const put = (offset: number, text: string) => header.set(encoder.encode(text), offset);
  put(0, path);
  put(100, "0000644\0");
  put(124, data.length.toString(8).padStart(11, "0") + "\0");
  put(156, type);
  put(257, "ustar\u000000");
  put(345, prefix);
  put(148, " ".repeat(8));
  put(148, header.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0") + "\0 ");
  return [header, data, new Uint8Array((512 - data.length % 512) % 512)];
}

/** The bytes in chunks of `chunkBytes`, as a pipe would deliver them. */
export async function* chunked(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += chunkBytes) {
    yield await Promise.resolve(bytes.subarray(offset, offset + chunkBytes));
  }
}

/** A 32-bit ELF object with a .modinfo section that holds `info`, and the section names it needs. */
export function kernelModule(info: string): Uint8Array {
  const names = encoder.encode("\0.shstrtab\0.modinfo\0");
  const modinfo = encoder.encode(info);
  const headerBytes = 52;
  const sectionBytes = 40;
  const tableOffset = headerBytes + names.length + modinfo.length;
  const object = new Uint8Array(tableOffset + 3 * sectionBytes);
  const view = new DataView(object.buffer);
  object.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint32(0x20, tableOffset, true);
  view.setUint16(0x2e, sectionBytes, true);
  view.setUint16(0x30, 3, true);
  view.setUint16(0x32, 1, true);
  object.set(names, headerBytes);
  object.set(modinfo, headerBytes + names.length);
  const describe = (index: number, nameOffset: number, offset: number, size: number) => {
    view.setUint32(tableOffset + index * sectionBytes, nameOffset, true);
    view.setUint32(tableOffset + index * sectionBytes + 16, offset, true);
    view.setUint32(tableOffset + index * sectionBytes + 20, size, true);
  };
  describe(1, 1, headerBytes, names.length);
  describe(2, 11, headerBytes + names.length, modinfo.length);
  return object;
}

/** A file with an applet table between other strings, as in a real busybox. */
export function busyboxWith(applets: readonly string[]): Uint8Array {
  return encoder.encode(`\x7fELF code [ [[ \0usage\0${applets.join("\0")}\0\0more\0`);
}

/** One version of one package that the stand-in offers. */
export interface OfferedPackage {
  readonly name: string;
  readonly version: string;
  readonly depends?: string;
  /** What the .deb unpacks to. Without it the index lists the package, but the download fails. */
  readonly members?: readonly TarMember[];
  /** Digest the index gives, if not the file's own. */
  readonly sha256?: string;
}

/**
 * Writes stand-ins for apt-get, apt-cache and dpkg-deb that offer `packages` (newest version of a name first) into
 * `folder` and returns the search path that finds them. Each file named "outage-*" in the folder makes one download fail.
 */
export async function fakeApt(folder: string, packages: readonly OfferedPackage[]): Promise<string> {
  await Deno.mkdir(`${folder}/show`, { recursive: true });
  await Deno.mkdir(`${folder}/debs`, { recursive: true });
  for (const { name, version, depends = "", members, sha256 } of packages) {
    const deb = tar(members ?? []);
    if (members !== undefined) await Deno.writeFile(`${folder}/debs/${name}=${version}`, deb);
    const fields = [
      `Package: ${name}`,
      `Version: ${version}`,
      "Architecture: i386",
      `Depends: ${depends}`,
      `Size: ${deb.length}`,
      `SHA256: ${sha256 ?? sha256Hex(deb)}`,
    ];
    await Deno.writeTextFile(`${folder}/show/${name}`, fields.join("\n") + "\n\n", { append: true });
  }
  const last = 'for last in "$@"; do :; done\n';
  const scripts = {
    "apt-get": `${last}echo "$last" >> "${folder}/calls"
if [ "$last" = update ]; then echo "E: Some index files failed to download." >&2; exit 100; fi
for outage in "${folder}"/outage-*; do
  if [ -f "$outage" ]; then rm "$outage"; echo "E: Temporary failure resolving" >&2; exit 100; fi
done
cp "${folder}/debs/$last" "./$last.deb" 2>/dev/null || { echo "E: 404 Not Found" >&2; exit 100; }
`,
    "apt-cache": `${last}cat "${folder}/show/$last" 2>/dev/null || { echo "E: No packages found" >&2; exit 100; }\n`,
    "dpkg-deb": `${last}cat "$last"\n`,
  };
  for (const [name, body] of Object.entries(scripts)) {
    await Deno.writeTextFile(`${folder}/${name}`, `#!/bin/sh\n${body}`, { mode: 0o755 });
  }
  return `${folder}:/usr/bin:/bin`;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
