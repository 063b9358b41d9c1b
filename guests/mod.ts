// The catalogue of small guests: programs for a bare PC written with the assembler in assembler/.

import { alu } from "./alu.ts";
import type { Guest } from "./guest.ts";
import { hello } from "./hello.ts";
import { idle } from "./idle.ts";
import { isprime } from "./isprime.ts";
import { pagetable } from "./pagetable.ts";
import { privileged } from "./privileged.ts";
import { toucher } from "./toucher.ts";

export type { Guest, GuestImage, GuestOption, GuestOptionValues } from "./guest.ts";

/** Every guest, by name. */
export const guests: readonly Guest[] = [alu, hello, idle, isprime, pagetable, privileged, toucher];

/** The guest called `name`, or undefined. */
export function findGuest(name: string): Guest | undefined {
  return guests.find((guest) => guest.name === name);
}
