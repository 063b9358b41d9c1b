// Characters as keystrokes on a US keyboard, in scan codes of set 2 (IBM PS/2 Hardware Interface Technical Reference,
// "Keyboards"): a key's make code, and F0h before it when it is released.

import { InputError } from "../../core/mod.ts";

const RELEASE = 0xf0, SHIFT = 0x12, CONTROL = 0x14;

/** Keys with their make codes: unshifted and shifted character. */
const KEYS: readonly [characters: string, makeCode: number][] = [
  ["aA", 0x1c],
  ["bB", 0x32],
  ["cC", 0x21],
  ["dD", 0x23],
  ["eE", 0x24],
  ["fF", 0x2b],
  ["gG", 0x34],
  ["hH", 0x33],
  ["iI", 0x43],
  ["jJ", 0x3b],
  ["kK", 0x42],
  ["lL", 0x4b],
  ["mM", 0x3a],
  ["nN", 0x31],
  ["oO", 0x44],
  ["pP", 0x4d],
  ["qQ", 0x15],
  ["rR", 0x2d],
  ["sS", 0x1b],
  ["tT", 0x2c],
  ["uU", 0x3c],
  ["vV", 0x2a],
  ["wW", 0x1d],
  ["xX", 0x22],
  ["yY", 0x35],
  ["zZ", 0x1a],
  ["1!", 0x16],
  ["2@", 0x1e],
  ["3#", 0x26],
  ["4$", 0x25],
  ["5%", 0x2e],
  ["6^", 0x36],
  ["7&", 0x3d],
  ["8*", 0x3e],
  ["9(", 0x46],
  ["0)", 0x45],
  ["-_", 0x4e],
  ["=+", 0x55],
  ["[{", 0x54],
  ["]}", 0x5b],
  ["\\|", 0x5d],
  [";:", 0x4c],
  ["'\"", 0x52],
  ["`~", 0x0e],
  [",<", 0x41],
  [".>", 0x49],
  ["/?", 0x4a],
  [" ", 0x29],
  ["\n", 0x5a],
  ["\r", 0x5a],
  ["\t", 0x0d],
  ["\b", 0x66],
  ["\x7f", 0x66],
  ["\x1b", 0x76],
];

interface Keystroke {
  readonly makeCode: number;
  readonly held?: number;
}

/** Control with a letter gives the letter's place in the alphabet; keys of their own come first. */
const LETTERS = 26, CONTROL_TO_LETTER = 0x60;

const keystrokes = new Map<string, Keystroke>();
for (const [characters, makeCode] of KEYS) {
  keystrokes.set(characters[0], { makeCode });
  if (characters.length > 1) keystrokes.set(characters[1], { makeCode, held: SHIFT });
}
for (let control = 1; control <= LETTERS; control++) {
  const letter = keystrokes.get(String.fromCharCode(CONTROL_TO_LETTER + control));
  const character = String.fromCharCode(control);
  if (letter !== undefined && !keystrokes.has(character)) {
    keystrokes.set(character, { makeCode: letter.makeCode, held: CONTROL });
  }
}

/** Scan codes of a character's key pressed and released. Throws InputError for one that no key gives. */
export function scancodesOf(character: string): number[] {
  const stroke = keystrokes.get(character);
  if (stroke === undefined) {
    throw new InputError(`no key of a US keyboard types ${JSON.stringify(character)}; expected ASCII`);
  }
  const key = [stroke.makeCode, RELEASE, stroke.makeCode];
  return stroke.held === undefined ? key : [stroke.held, ...key, RELEASE, stroke.held];
}
