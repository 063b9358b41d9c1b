// Reader of newc archives, the other half of guests/linux/cpio.ts: tests read back what it wrote.
// Follows Linux Documentation/driver-api/early-userspace/buffer-format.rst, and checks every rule it relies on.

import { type CpioEntry, FILE_TYPE } from "../../../guests/linux/cpio.ts";

const HEADER_BYTES = 110;
const TYPE_MASK = 0o170000;

/** The members of an archive in order. Throws an Error when the archive breaks the format. */
export function readCpio(archive: Uint8Array): CpioEntry[] {
  const text = (start: number, length: number) => new TextDecoder().decode(archive.subarray(start, start + length));
  const aligned = (offset: number) => Math.ceil(offset / 4) * 4;
  const entries: CpioEntry[] = [];
  let offset = 0;
  while (true) {
    if (text(offset, 6) !== "070701") throw new Error(`no header at ${offset}`);
    const field = (index: number) => {
      const digits = text(offset + 6 + index * 8, 8);
      if (!/^[0-9A-F]{8}$/.test(digits)) throw new Error(`field ${index} at ${offset}: ${digits}`);
      return parseInt(digits, 16);
    };
    const [mode, mtime, sizeBytes, major, minor, nameBytes] = [1, 5, 6, 9, 10, 11].map(field);
    if (mtime !== 0) throw new Error(`a time of ${mtime} at ${offset}`);
    const name = text(offset + HEADER_BYTES, nameBytes);
    if (!name.endsWith("\0")) throw new Error(`name at ${offset} does not end in NUL`);
    const path = name.slice(0, -1);
    const dataStart = aligned(offset + HEADER_BYTES + nameBytes);
    const data = archive.slice(dataStart, dataStart + sizeBytes);
    if (data.length !== sizeBytes) throw new Error(`${path} is cut off`);
    offset = aligned(dataStart + sizeBytes);
    if (path === "TRAILER!!!") break;
    entries.push(entry(path, mode, data, major, minor));
  }
  if (offset !== archive.length) throw new Error(`${archive.length - offset} bytes after the trailer`);
  return entries;
}

function entry(path: string, typeAndMode: number, data: Uint8Array, major: number, minor: number): CpioEntry {
  const mode = typeAndMode & ~TYPE_MASK;
  switch (typeAndMode & TYPE_MASK) {
    case FILE_TYPE.directory:
      return { kind: "directory", path, mode };
    case FILE_TYPE.file:
      return { kind: "file", path, mode, data };
    case FILE_TYPE.symlink:
      return { kind: "symlink", path, target: new TextDecoder().decode(data) };
    case FILE_TYPE.characterDevice:
      return { kind: "character-device", path, mode, major, minor };
    default:
      throw new Error(`${path}: unknown type in mode ${typeAndMode.toString(8)}`);
  }
}
