// The project's own initramfs: busybox, an /init that ends in a shell on the serial console, device nodes, kernel modules.
// Where it stands: prepareLinux gives it the pieces from Debian's packages; cpio.ts packs what it lays out here.
// Follows Linux Documentation/filesystems/ramfs-rootfs-initramfs.rst and admin-guide/devices.txt.

import { gzipSync } from "node:zlib";
import { type CpioEntry, writeCpio } from "./cpio.ts";

/** What goes into the archive. */
export interface InitramfsParts {
  /** Debian's statically linked busybox for i386. */
  readonly busybox: Uint8Array;
  /** Kernel modules in load order; `path` is relative to the guest's root. */
  readonly modules: readonly { readonly path: string; readonly data: Uint8Array }[];
  /** More files by absolute guest path. Programs (ELF or "#!") become executable; nothing above may be replaced. */
  readonly extraFiles: ReadonlyMap<string, Uint8Array>;
  /** The text of /init. */
  readonly init: string;
}

/** File in the guest that lists the modules /init loads, one absolute path a line, in load order. */
export const MODULE_LIST_PATH = "lib/modules/load-order";

/**
 * The default /init. It mounts the kernel's file systems, loads the modules, and gives the first serial console to a
 * shell with job control, so that lines sent to the port run one after the other; when the shell ends, the machine
 * powers off. `ballast.run=/path` on the kernel's command line runs that script in place of the shell.
 */
export const DEFAULT_INIT = `#!/bin/sh
export PATH=/bin HOME=/root TERM=vt100
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
hostname ballast

if [ -f /${MODULE_LIST_PATH} ]; then
  while read -r module; do
    insmod "$module" || echo "init: cannot load $module"
  done < /${MODULE_LIST_PATH}
fi

# A port that asserts CTS gets hardware flow control: the kernel drops RTS while its input buffer is full.
grep -q '^0:.*[|]CTS' /proc/tty/driver/serial && stty crtscts < /dev/console

script=
read -r words < /proc/cmdline
for word in $words; do
  case "$word" in ballast.run=*) script="\${word#ballast.run=}" ;; esac
done

if [ -n "$script" ]; then
  setsid cttyhack sh "$script"
  echo "init: $script ended with status $?"
else
  setsid cttyhack sh
fi
poweroff -f
`;

/** Devices that must exist before /init mounts devtmpfs: major and minor from devices.txt. */
const DEVICES: readonly CpioEntry[] = [
  { kind: "character-device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
  { kind: "character-device", path: "dev/null", mode: 0o666, major: 1, minor: 3 },
  { kind: "character-device", path: "dev/ttyS0", mode: 0o600, major: 4, minor: 64 },
];

const DIRECTORIES = ["bin", "dev", "etc", "proc", "root", "sys"] as const;
const STICKY_WORLD_WRITABLE = 0o1777;

/** The archive, not compressed, its layout a function of `parts` alone. Throws an Error for a bad or repeated path. */
export function buildInitramfs(parts: InitramfsParts): Uint8Array {
  const archive = new Layout();
  for (const path of DIRECTORIES) archive.directory(path);
  archive.add({ kind: "directory", path: "tmp", mode: STICKY_WORLD_WRITABLE });
  for (const device of DEVICES) archive.add(device);
  archive.file("init", encode(parts.init), 0o755);
  archive.file("etc/passwd", encode("root:x:0:0:root:/root:/bin/sh\n"), 0o644);
  archive.file("etc/group", encode("root:x:0:\n"), 0o644);
  archive.file("bin/busybox", parts.busybox, 0o755);
  for (const applet of busyboxApplets(parts.busybox)) {
    if (applet !== "busybox") archive.add({ kind: "symlink", path: `bin/${applet}`, target: "busybox" });
  }
  for (const { path, data } of parts.modules) archive.file(path, data, 0o644);
  if (parts.modules.length > 0) {
    archive.file(MODULE_LIST_PATH, encode(parts.modules.map(({ path }) => `/${path}\n`).join("")), 0o644);
  }
  const extra = [...parts.extraFiles].sort(([a], [b]) => a < b ? -1 : 1);
  for (const [path, data] of extra) {
    if (!path.startsWith("/")) throw new Error(`extra file ${JSON.stringify(path)}: give an absolute guest path`);
    archive.file(path.slice(1), data, isProgram(data) ? 0o755 : 0o644);
  }
  return writeCpio(archive.entries);
}

/** gzip with a header free of time and name, so that equal archives give equal bytes. */
export function compressInitramfs(archive: Uint8Array): Uint8Array {
  return new Uint8Array(gzipSync(archive, { level: 9 }));
}

/**
 * The names of a busybox binary's applets, read from its table (NUL-terminated names in sorted order, the first two
 * "[" and "[["; libbb/appletlib.c), so that the guest's program need not run on the host.
 */
export function busyboxApplets(busybox: Uint8Array): string[] {
  const image = new TextDecoder("latin1").decode(busybox);
  const tableStart = image.search(/(?<=\0)\[\0\[\[\0[a-z]/);
  if (tableStart < 0) throw new Error("busybox: no applet table in this binary");
  return image.slice(tableStart, image.indexOf("\0\0", tableStart)).split("\0");
}

/** Collects entries and adds each missing parent directory once. */
class Layout {
  readonly entries: CpioEntry[] = [];
  readonly #directories = new Set<string>();

  add(entry: CpioEntry): void {
    const slash = entry.path.lastIndexOf("/");
    if (slash > 0) this.directory(entry.path.slice(0, slash));
    if (entry.kind === "directory") this.#directories.add(entry.path);
    this.entries.push(entry);
  }

  directory(path: string): void {
    if (!this.#directories.has(path)) this.add({ kind: "directory", path, mode: 0o755 });
  }

  file(path: string, data: Uint8Array, mode: number): void {
    this.add({ kind: "file", path, mode, data });
  }
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function isProgram(data: Uint8Array): boolean {
  const start = new TextDecoder("latin1").decode(data.subarray(0, 4));
  return start === "\x7fELF" || start.startsWith("#!");
}
