import { assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../core/mod.ts";
import { checkFlatImage } from "../../../plugins/boot/flat.ts";
import type { FlatImage } from "../../../plugins/boot/mod.ts";

const MIB = 1 << 20;
const image = (more: Partial<FlatImage> = {}): FlatImage => ({
  loads: [{ address: 0x7c00, bytes: new Uint8Array(512) }],
  entry: 0x7c00,
  mode: "real",
  ...more,
});

Deno.test("an image that fits to the last byte is accepted", () => {
  checkFlatImage(image(), 0x7e00);
  checkFlatImage(image({ entry: MIB, mode: "protected" }), 2 * MIB);
});

const refused: readonly [string, FlatImage, number, string][] = [
  ["bytes beyond memory", image(), 0x7dff, "the guest's bytes at 0x7c00 to 0x7e00 lie beyond its memory"],
  [
    "an entry beyond memory",
    image({ entry: MIB, mode: "protected" }),
    MIB,
    "protected-mode entry 0x100000 is not below",
  ],
  ["a real-mode entry beyond 1 MiB", image({ entry: MIB }), 2 * MIB, "real-mode entry 0x100000 is not below 0x100000"],
];
for (const [what, bad, memoryBytes, message] of refused) {
  Deno.test(`${what} is refused`, () => {
    assertStringIncludes(assertThrows(() => checkFlatImage(bad, memoryBytes), InputError).message, message);
  });
}
