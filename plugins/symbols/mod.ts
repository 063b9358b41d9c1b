// The symbols plugin: names of addresses in each VM, for traces, breakpoints and dumps. Who starts a guest adds them.

import { definePlugin, InputError, nearest, service, type Vm, z } from "../../core/mod.ts";
import { SymbolTable } from "./table.ts";

export { readSymbols } from "./read.ts";
export { type Symbol, SymbolTable } from "./table.ts";

/** The symbols of a VM: linear addresses. */
export const symbolsOf = service<(vm: Vm) => SymbolTable>("symbols.symbolsOf");

/**
 * A linear address as a person writes it: `0xc1000000`, `c1000000h`, a symbol, or either `+OFFSET`. Throws InputError for
 * what is neither.
 */
export function parseAddress(text: string, table: SymbolTable): number {
  const match = /^([^+]+)(?:\+(?:0x([0-9a-f]+)|([0-9]+)))?$/i.exec(text.trim());
  if (match === null) throw new InputError(`address "${text}"; expected 0xADDRESS, SYMBOL or SYMBOL+OFFSET`);
  const [, base, hexOffset, decimalOffset] = match;
  const offset = hexOffset !== undefined ? parseInt(hexOffset, 16) : Number(decimalOffset ?? 0);
  const number = /^0x([0-9a-f]{1,8})$/i.exec(base)?.[1] ?? /^([0-9][0-9a-f]{0,7})h$/i.exec(base)?.[1];
  const address = number !== undefined ? parseInt(number, 16) : table.addressOf(base);
  if (address !== undefined) return (address + offset) >>> 0;
  if (/^[0-9]/.test(base)) throw new InputError(`address "${text}"; write a hexadecimal address as 0x${base}`);
  if (table.size === 0) {
    throw new InputError(`address "${text}": the guest has no symbols; give them by --symbols FILE`);
  }
  const near = nearest(base, table.names());
  const hint = near === undefined ? `none of the ${table.size} symbols is like it` : `did you mean "${near}"?`;
  throw new InputError(`unknown symbol "${base}"; ${hint}`);
}

export default definePlugin({
  name: "symbols",
  summary: "names of addresses, for traces and debuggers",
  tier: "tool",
  requires: [],
  options: z.strictObject({}),
  setup({ provide }) {
    // A run changes nothing of them: they are no state.
    const tables = new WeakMap<Vm, SymbolTable>();
    provide(symbolsOf, (vm) => {
      const table = tables.get(vm) ?? new SymbolTable();
      tables.set(vm, table);
      return table;
    });
  },
});
