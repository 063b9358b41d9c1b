// Debian control paragraphs (apt-cache show) and what we read from them: package records and the kernel's own name.
// Where it stands: apt.ts asks apt, this file understands the answers.
// Follows Debian Policy 5.1 (syntax of control files) and 7.1 (syntax of relationship fields).

/** One version of a binary package, as apt's index describes it. */
export interface PackageRecord {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal digest of the .deb file. */
  readonly sha256: string;
  /** Names in Depends and Pre-Depends, alternatives flattened, without versions. */
  readonly depends: readonly string[];
}

/** Packages in the order listed. Paragraphs without a SHA256 (installed, but in no index) are left out. */
export function parsePackageRecords(paragraphs: string): PackageRecord[] {
  return paragraphs.split(/\n{2,}/).map(parseFields).flatMap((fields) => {
    const name = fields.get("Package");
    const version = fields.get("Version");
    const sha256 = fields.get("SHA256");
    if (name === undefined || version === undefined || sha256 === undefined) return [];
    return [{
      name,
      version,
      architecture: fields.get("Architecture") ?? "",
      sizeBytes: Number(fields.get("Size") ?? "0"),
      sha256: sha256.toLowerCase(),
      depends: relationNames(`${fields.get("Pre-Depends") ?? ""},${fields.get("Depends") ?? ""}`),
    }];
  });
}

/** The real kernel package behind a metapackage ("linux-image-6.1.0-50-686"), or undefined when it names none. */
export function kernelPackageOf(metapackage: PackageRecord): string | undefined {
  return metapackage.depends.find((name) => /^linux-image-\d/.test(name));
}

/** The kernel's release as `uname -r` gives it: "linux-image-6.1.0-50-686" gives "6.1.0-50-686". */
export function kernelRelease(kernelPackage: string): string {
  const match = /^linux-image-(\d+\.\d+\.\d+\S*)$/.exec(kernelPackage);
  if (match === null) throw new Error(`${kernelPackage}: not the name of a kernel package`);
  return match[1];
}

function parseFields(paragraph: string): Map<string, string> {
  const fields = new Map<string, string>();
  let last: string | undefined;
  for (const line of paragraph.split("\n")) {
    const field = /^([^\s:]+):\s*(.*)$/.exec(line);
    if (field !== null) {
      last = field[1];
      fields.set(last, field[2].trim());
    } else if (last !== undefined && /^[ \t]/.test(line)) {
      fields.set(last, `${fields.get(last) ?? ""}\n${line.trim()}`);
    }
  }
  return fields;
}

function relationNames(relations: string): string[] {
  return relations.split(/[,|]/).map((relation) => relation.trim().split(/[\s(:]/)[0]).filter((name) => name !== "");
}
