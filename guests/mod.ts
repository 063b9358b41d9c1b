// The catalogue of small guests: programs for a bare PC written with the assembler in assembler/.

import { alu } from "./alu.ts";
import { balloon } from "./balloon.ts";
import { churn } from "./churn.ts";
import { filecache } from "./filecache.ts";
import type { Guest } from "./guest.ts";
import { hello } from "./hello.ts";
import { idle } from "./idle.ts";
import { isprime } from "./isprime.ts";
import { mosaic } from "./mosaic.ts";
import { nanobench } from "./nanobench.ts";
import { oscillator } from "./oscillator.ts";
import { pager } from "./pager.ts";
import { pagetable } from "./pagetable.ts";
import { privileged } from "./privileged.ts";
import { rewriter } from "./rewriter.ts";
import { toucher } from "./toucher.ts";

export { type NanoOperation, nanoOperations, ROUND_OPERATIONS, stepsOf } from "./nanobench.ts";
export type { Guest, GuestImage, GuestOption, GuestOptionValues } from "./guest.ts";

/** Every guest, by name. */
export const guests: readonly Guest[] = [
  alu,
  balloon,
  churn,
  filecache,
  hello,
  idle,
  isprime,
  mosaic,
  nanobench,
  oscillator,
  pager,
  pagetable,
  privileged,
  rewriter,
  toucher,
];

/** The guest called `name`, or undefined. */
export function findGuest(name: string): Guest | undefined {
  return guests.find((guest) => guest.name === name);
}
