// What differs between two VMs of the same plugins, as text: registers by name, memory by page, other states by field.

import { Hasher, type Host, type Saved, type StateOwner, type Vm } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import * as x86 from "../x86/mod.ts";

/** Lines of each kind that are shown; the rest is counted. */
const MOST_LINES = 16;
const WORD_BYTES = 4;

interface Side {
  readonly host: Host;
  readonly vm: Vm;
}

/** Lines of `where: first | second`; empty where nothing differs. */
export function describeDifferences(first: Side, second: Side): string {
  const lines = [...clockDifferences(first.vm, second.vm), ...registerDifferences(first, second)];
  const others = [...second.host.plugins.statesOf(second.vm)];
  for (const [i, { plugin, index, owner }] of [...first.host.plugins.statesOf(first.vm)].entries()) {
    if (plugin === "memory") lines.push(...limited(memoryDifferences(first, second)));
    else if (hashOf(owner) !== hashOf(others[i].owner)) {
      // The processor's integer registers are shown by name.
      const name = index === 0 ? plugin : `${plugin}.${index}`;
      const fields = fieldDifferences(name, owner.save(), others[i].owner.save());
      lines.push(...limited(plugin === "x86" ? fields.filter((line) => !/^x86\.(registers|tlb)/.test(line)) : fields));
    }
  }
  return lines.map((line) => `  ${line}`).join("\n");
}

function clockDifferences(a: Vm, b: Vm): string[] {
  const pairs: [string, unknown, unknown][] = [
    ["steps", a.clock.steps, b.clock.steps],
    ["guest time in ns", a.clock.nowNs(), b.clock.nowNs()],
    ["ended", a.exit?.reason ?? "no", b.exit?.reason ?? "no"],
  ];
  return pairs.filter(([, x, y]) => x !== y).map(([what, x, y]) => `${what}: ${x} | ${y}`);
}

/** The lines of the register dump that differ. */
function registerDifferences(first: Side, second: Side): string[] {
  const [ours, theirs] = [first, second].map(({ host, vm }) => {
    const text = x86.describeRegisters(host.service(x86.processor)(vm));
    return [...text.matchAll(/[A-Z][A-Z0-9]*\s*=[0-9a-f]+(?: base .*)?|[GI]DT base \w+ limit \w+/g)].map(([item]) =>
      item
    );
  });
  return ours.flatMap((item, i) => item === theirs[i] ? [] : [`${item} | ${theirs[i]}`]);
}

function* memoryDifferences(first: Side, second: Side): Generator<string> {
  const ours = first.host.service(memory.guest)(first.vm), theirs = second.host.service(memory.guest)(second.vm);
  const zeros = new Uint8Array(memory.PAGE_SIZE);
  for (let ppn = 0; ppn < ours.pages; ppn++) {
    const a = ours.peek(ppn) ?? zeros, b = theirs.peek(ppn) ?? zeros;
    if (a === b) continue;
    const x = new DataView(a.buffer, a.byteOffset), y = new DataView(b.buffer, b.byteOffset);
    for (let at = 0; at < memory.PAGE_SIZE; at += WORD_BYTES) {
      const ourWord = x.getUint32(at, true), theirWord = y.getUint32(at, true);
      if (ourWord === theirWord) continue;
      yield `memory at ${wide(ppn * memory.PAGE_SIZE + at)} (physical): ${wide(ourWord)} | ${wide(theirWord)}`;
    }
  }
}

function limited(lines: Iterable<string>): string[] {
  const shown: string[] = [];
  let more = 0;
  for (const line of lines) {
    if (shown.length < MOST_LINES) shown.push(line);
    else more++;
  }
  return more === 0 ? shown : [...shown, `... and ${more} more`];
}

function hashOf(owner: StateOwner): string {
  const hasher = new Hasher();
  owner.hash?.(hasher);
  return hasher.digest();
}

/** Paths of saved fields that differ. */
function fieldDifferences(path: string, a: Saved, b: Saved): string[] {
  if (isRecord(a) && isRecord(b)) {
    const names = new Set([...Object.keys(a), ...Object.keys(b)]);
    return [...names].flatMap((name) => fieldDifferences(`${path}.${name}`, a[name] ?? null, b[name] ?? null));
  }
  const [x, y] = [a, b].map((value) => JSON.stringify(ArrayBuffer.isView(value) ? [...value] : value));
  return x === y ? [] : [`${path}: ${shortened(x)} | ${shortened(y)}`];
}

function isRecord(value: Saved): value is { readonly [field: string]: Saved } {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
}

function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function wide(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}
