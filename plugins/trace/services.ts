// What the trace plugin tells: lines of text, for whoever writes them down.

import { observe, type Vm } from "../../core/mod.ts";

/** What can be traced. */
export const traceKinds = ["exec", "exceptions", "io", "mmu", "irq"] as const;
export type TraceKind = (typeof traceKinds)[number];

/** A line of a trace: the VM's step, what it is of, and the rest. */
export const traceLine = observe<{ readonly vm: Vm; readonly kind: TraceKind; readonly text: string }>("trace.line");
