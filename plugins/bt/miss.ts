// Where the inline fast path of an access does not hold: the address may still be in the TLB, since accesses that share a look-up
// (emit/runs.ts) all come here where they do not lie in one page. What the TLB does not have is filled in outside.

import { BINARY } from "./emit/imports.ts";
import * as L from "./layout.ts";
import { Access, FunctionBody, type FunctionImport, HYPERVISOR, I32, Op } from "./wasm.ts";

/** What the module of `missFunction` imports, the first of its functions: linear address and kind to machine address or -1. */
export const FILL_IMPORT: FunctionImport = { name: "fill", type: BINARY };
const FILL = 0;
/** Kinds of access: the number of bytes, 1 to 4, and whether it is a store. */
const KIND_BYTES = 7, KIND_WRITES = 8;
const PAGE_MASK = 0xfffff000 | 0;

/** `miss(linear, kind)`: the machine address, or -1 where the interpreter must do the access. */
export function missFunction(): FunctionBody {
  const f = new FunctionBody(2);
  const LINEAR = 0, KIND = 1;
  const entry = f.local(I32);
  f.get(LINEAR).constant(8).op(Op.i32ShrU).constant(L.DATA_BANK_BYTES - 16).op(Op.i32And);
  f.constant(L.DATA_BANK_BYTES).constant(0).constant(0).memory(Access.i32Load, HYPERVISOR, L.INSTRUCTION_BANK);
  f.op(Op.select).op(Op.i32Add).tee(entry);
  f.memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + L.TLB_WRITE);
  f.get(entry).memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + L.TLB_READ);
  f.get(KIND).constant(KIND_WRITES).op(Op.i32And).op(Op.select);
  f.get(LINEAR).get(KIND).constant(KIND_BYTES).op(Op.i32And).op(Op.i32Add).constant(1).op(Op.i32Sub);
  f.constant(PAGE_MASK).op(Op.i32And).op(Op.i32Eq).if();
  f.get(entry).memory(Access.i32Load, HYPERVISOR, L.DATA_TLB + L.TLB_ADDEND).get(LINEAR).op(Op.i32Add).op(Op.return);
  f.end();
  return f.get(LINEAR).get(KIND).call(FILL);
}
