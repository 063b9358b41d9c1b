// Tests of guests/linux/modules.ts: module names, the .modinfo section, load order.

import { assertEquals, assertThrows } from "@std/assert";
import { moduleDependencies, type ModuleFacts, moduleLoadOrder, moduleName } from "../../../guests/linux/modules.ts";
import { kernelModule } from "./fixtures.ts";

function index(depends: Record<string, string[]>): Map<string, ModuleFacts> {
  return new Map(Object.entries(depends).map(([name, names]) => [name, { path: `${name}.ko`, depends: names }]));
}

const virtio = index({
  virtio_balloon: ["virtio", "virtio_ring"],
  virtio_pci: ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev"],
  virtio_pci_modern_dev: [],
  virtio_pci_legacy_dev: [],
  virtio_ring: ["virtio"],
  virtio: [],
});

Deno.test("modules load after everything they depend on, each once", () => {
  assertEquals(moduleLoadOrder(virtio, ["virtio_balloon", "virtio-pci", "virtio"]), [
    "virtio",
    "virtio_ring",
    "virtio_balloon",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
  ]);
});

Deno.test("no module wanted, none loaded", () => assertEquals(moduleLoadOrder(virtio, []), []));

Deno.test("a module the kernel lacks is named together with what needs it", () => {
  assertThrows(() => moduleLoadOrder(index({ a: ["b"] }), ["a"]), Error, "no module a -> b");
});

Deno.test("modules that depend in a circle are refused", () => {
  const circle = index({ a: ["b"], b: ["c"], c: ["a"] });
  assertThrows(() => moduleLoadOrder(circle, ["a"]), Error, "a -> b -> c -> a");
});

for (
  const [info, expected] of [
    ["license=GPL\0depends=vmw_vmci\0intree=Y\0", ["vmw_vmci"]],
    ["depends=virtio-ring,virtio\0", ["virtio_ring", "virtio"]],
    ["license=GPL\0depends=\0", []],
  ] as const
) {
  Deno.test(`.modinfo ${JSON.stringify(info)} names ${expected.length} dependencies`, () => {
    assertEquals(moduleDependencies(kernelModule(info)), [...expected]);
  });
}

Deno.test("a file that is no module is refused with the reason", () => {
  assertThrows(() => moduleDependencies(new TextEncoder().encode("\x7fELF")), Error, "not a 32-bit ELF file");
  assertThrows(() => moduleDependencies(new Uint8Array(100)), Error, "not a 32-bit ELF file");
  assertThrows(() => moduleDependencies(kernelModule("license=GPL\0")), Error, "no depends=");
});

for (
  const [given, name] of [
    ["lib/modules/6.1.0/kernel/drivers/char/hw_random/virtio-rng.ko", "virtio_rng"],
    ["vmw_balloon", "vmw_balloon"],
    ["vmw-balloon", "vmw_balloon"],
  ]
) {
  Deno.test(`${given} is the module ${name}`, () => assertEquals(moduleName(given), name));
}
