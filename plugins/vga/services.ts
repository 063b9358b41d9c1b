// What the vga plugin offers: a VM's screen as text, and somebody who types at its keyboard.

import { service, type Vm } from "../../core/mod.ts";

/** What a text screen shows at a moment. */
export interface TextScreen {
  readonly columns: number;
  readonly rows: number;
  /** Every row in Unicode, without spaces at its end. */
  readonly lines: readonly string[];
  /** Where the cursor is, from 0; undefined while it is off or elsewhere. */
  readonly cursor: { readonly row: number; readonly column: number } | undefined;
  /** A character's attribute byte: colours of foreground and background. */
  attributeAt(row: number, column: number): number;
}

/**
 * The screen of a VM as it is now; undefined in a graphics mode. Throws InputError for a VM whose options do not ask for a
 * VGA.
 */
export const screen = service<(vm: Vm) => TextScreen | undefined>("vga.screen");

/** Types at a VM's keyboard. */
export interface Typist {
  /**
   * Adds text to what is to be typed, as on a US keyboard, a key every few milliseconds of guest time and only as fast as
   * the guest takes it. Throws InputError for a character that has no key, and then types nothing of the text.
   */
  type(text: string): void;
  /** Characters that are not typed yet. */
  readonly waiting: number;
}

/** The typist of a VM; every VM with a keyboard has one. If the VM may be halted, `host.wake(vm)` after `type`. */
export const typist = service<(vm: Vm) => Typist>("vga.typist");
