// What a kernel module says about itself, and the order in which a set of them must be loaded.
// Where it stands: package.ts indexes Debian's modules with it, initramfs.ts writes the order down for /init.
// Follows the ELF specification (32-bit, little endian) and Linux scripts/mod/modpost.c for the .modinfo section.

/** A module of the kernel package: where it is installed and the names it needs loaded before itself. */
export interface ModuleFacts {
  /** Path in the package, for example "lib/modules/6.1.0-50-686/kernel/drivers/misc/vmw_balloon.ko". */
  readonly path: string;
  readonly depends: readonly string[];
}

/** Modules by name, names as modprobe writes them (underscores). */
export type ModuleIndex = ReadonlyMap<string, ModuleFacts>;

/** The module's name for a file path or a name written with dashes: "kernel/virtio-rng.ko" gives "virtio_rng". */
export function moduleName(pathOrName: string): string {
  return pathOrName.slice(pathOrName.lastIndexOf("/") + 1).replace(/\.ko$/, "").replaceAll("-", "_");
}

/**
 * The wanted modules and all they depend on, each after its dependencies; otherwise in the order wanted.
 * Throws an Error that names a module missing from the index or a circle of dependencies.
 */
export function moduleLoadOrder(index: ModuleIndex, wanted: readonly string[]): string[] {
  const order: string[] = [];
  const done = new Set<string>();
  const visit = (name: string, neededBy: readonly string[]): void => {
    if (done.has(name)) return;
    const chain = [...neededBy, name];
    if (neededBy.includes(name)) throw new Error(`kernel modules depend in a circle: ${chain.join(" -> ")}`);
    const facts = index.get(name);
    if (facts === undefined) throw new Error(`this kernel has no module ${chain.join(" -> ")}`);
    for (const dependency of facts.depends) visit(dependency, chain);
    done.add(name);
    order.push(name);
  };
  for (const name of wanted) visit(moduleName(name), []);
  return order;
}

/** Byte offsets in the ELF32 file header and in a section header. */
const ELF = {
  magic: 0x464c457f,
  classOffset: 4,
  class32: 1,
  sectionTableOffset: 0x20,
  sectionHeaderBytes: 0x2e,
  sectionCount: 0x30,
  sectionNamesIndex: 0x32,
  headerBytes: 0x34,
} as const;
const SECTION = { name: 0, offset: 16, size: 20 } as const;

/**
 * The `depends=` list in the .modinfo section of a module (an ELF32 object file).
 * Throws an Error when the bytes are no such file or have no such section.
 */
export function moduleDependencies(object: Uint8Array): string[] {
  const info = section(object, ".modinfo");
  for (const pair of new TextDecoder().decode(info).split("\0")) {
    if (!pair.startsWith("depends=")) continue;
    return pair.slice("depends=".length).split(",").filter((name) => name !== "").map(moduleName);
  }
  throw new Error(".modinfo has no depends=");
}

function section(object: Uint8Array, wanted: string): Uint8Array {
  const view = new DataView(object.buffer, object.byteOffset, object.byteLength);
  if (
    object.length < ELF.headerBytes || view.getUint32(0, true) !== ELF.magic ||
    object[ELF.classOffset] !== ELF.class32
  ) {
    throw new Error("not a 32-bit ELF file");
  }
  const table = view.getUint32(ELF.sectionTableOffset, true);
  const headerBytes = view.getUint16(ELF.sectionHeaderBytes, true);
  const count = view.getUint16(ELF.sectionCount, true);
  const contents = (index: number): Uint8Array => {
    const header = table + index * headerBytes;
    const offset = view.getUint32(header + SECTION.offset, true);
    return object.subarray(offset, offset + view.getUint32(header + SECTION.size, true));
  };
  const names = contents(view.getUint16(ELF.sectionNamesIndex, true));
  for (let index = 0; index < count; index++) {
    const start = view.getUint32(table + index * headerBytes + SECTION.name, true);
    const end = names.indexOf(0, start);
    if (new TextDecoder().decode(names.subarray(start, end)) === wanted) return contents(index);
  }
  throw new Error(`no section ${wanted}`);
}
