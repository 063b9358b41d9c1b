// The typist: presses keys at the pace of guest time, and waits where the keyboard's buffer is full, so that no key is lost.

import type { GuestClock, GuestTimer, Saved, StateOwner } from "../../core/mod.ts";
import type { Keyboard } from "../pc/mod.ts";
import { scancodesOf } from "./keys.ts";
import type { Typist } from "./services.ts";

export class PacedTypist implements Typist, StateOwner {
  #text = "";
  readonly #timer: GuestTimer;

  /** `keyNs` is the guest time between two keys. */
  constructor(readonly clock: GuestClock, readonly keyboard: Keyboard, readonly keyNs: number) {
    this.#timer = clock.timer("vga.typist", (nowNs) => this.#press(nowNs));
  }

  type(text: string): void {
    for (const character of text) scancodesOf(character);
    this.#text += text;
    if (this.#text !== "" && this.#timer.deadlineNs === Infinity) this.#timer.arm(this.clock.nowNs() + this.keyNs);
  }

  get waiting(): number {
    return this.#text.length;
  }

  #press(nowNs: number): void {
    if (this.keyboard.typeScancodes(scancodesOf(this.#text[0]))) this.#text = this.#text.slice(1);
    if (this.#text !== "") this.#timer.arm(nowNs + this.keyNs);
  }

  /** No part of what the guest sees. */
  save(): Saved {
    return { text: this.#text };
  }
  restore(saved: Saved): void {
    this.#text = (saved as { text: string }).text;
  }
}
