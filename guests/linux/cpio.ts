// Writer of cpio archives in the "newc" form that Linux unpacks as an initramfs.
// Where it stands: below initramfs.ts, which decides what is in the archive.
// Follows Linux Documentation/driver-api/early-userspace/buffer-format.rst.

/** One member of the archive. Paths are relative to the guest's root and have no leading "/". `mode` holds permission bits. */
export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string; readonly mode: number }
  | { readonly kind: "file"; readonly path: string; readonly mode: number; readonly data: Uint8Array }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | {
    readonly kind: "character-device";
    readonly path: string;
    readonly mode: number;
    readonly major: number;
    readonly minor: number;
  };

/** File type bits of a Unix mode (inode(7)). */
export const FILE_TYPE = { directory: 0o040000, file: 0o100000, symlink: 0o120000, characterDevice: 0o020000 } as const;

export const CPIO_MAGIC = "070701";
export const CPIO_TRAILER = "TRAILER!!!";
/** Magic and thirteen fields of eight hexadecimal digits. */
export const CPIO_HEADER_BYTES = 110;

const ALIGNMENT_BYTES = 4;
const SYMLINK_MODE = 0o777;

/**
 * Packs `entries` in the order given: a directory must come before what is in it. The bytes depend on the entries alone:
 * times are zero, the owner is root, inode numbers count from 1. Throws an Error for a path that is empty, absolute,
 * repeated or contains "..".
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const seen = new Set<string>();
  entries.forEach((entry, index) => {
    if (!isPlainPath(entry.path)) throw new Error(`cpio: ${JSON.stringify(entry.path)} is no relative path`);
    if (seen.has(entry.path)) throw new Error(`cpio: ${entry.path} is there twice`);
    seen.add(entry.path);
    parts.push(...member(entry.path, index + 1, attributes(entry)));
  });
  parts.push(...member(CPIO_TRAILER, 0, { mode: 0, data: new Uint8Array(0), major: 0, minor: 0, links: 1 }));
  return concatenate(parts);
}

interface Attributes {
  readonly mode: number;
  readonly data: Uint8Array;
  readonly major: number;
  readonly minor: number;
  readonly links: number;
}

function isPlainPath(path: string): boolean {
  return path.split("/").every((part) => part !== "" && part !== "." && part !== "..") && !path.includes("\0");
}

function attributes(entry: CpioEntry): Attributes {
  const none = { data: new Uint8Array(0), major: 0, minor: 0, links: 1 };
  switch (entry.kind) {
    case "directory":
      return { ...none, mode: FILE_TYPE.directory | entry.mode, links: 2 };
    case "file":
      return { ...none, mode: FILE_TYPE.file | entry.mode, data: entry.data };
    case "symlink":
      return { ...none, mode: FILE_TYPE.symlink | SYMLINK_MODE, data: new TextEncoder().encode(entry.target) };
    case "character-device":
      return { ...none, mode: FILE_TYPE.characterDevice | entry.mode, major: entry.major, minor: entry.minor };
  }
}

function member(path: string, inode: number, { mode, data, major, minor, links }: Attributes): Uint8Array[] {
  const name = new TextEncoder().encode(path + "\0");
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, major, minor, name.length, 0];
  const header = CPIO_MAGIC + fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join("");
  return [
    new TextEncoder().encode(header),
    name,
    padding(CPIO_HEADER_BYTES + name.length),
    data,
    padding(data.length),
  ];
}

function padding(lengthBytes: number): Uint8Array {
  return new Uint8Array((ALIGNMENT_BYTES - lengthBytes % ALIGNMENT_BYTES) % ALIGNMENT_BYTES);
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
