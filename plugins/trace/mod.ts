// The trace plugin: what a guest does as lines of text with disassembly and symbols: every instruction, exceptions,
// accesses to devices, address translation, interrupts. Without `exec` the engine runs as it does without the plugin.

import { definePlugin, type Vm, z } from "../../core/mod.ts";
import * as symbols from "../symbols/mod.ts";
import * as x86 from "../x86/mod.ts";
import { ExecutionTracer } from "./exec.ts";
import { describeAccess, describeDelivery, describeTranslation } from "./format.ts";
import { type TraceKind, traceKinds, traceLine } from "./services.ts";

export * from "./services.ts";

/** Width of the columns of steps and kinds. */
const STEPS_WIDTH = 12, KIND_WIDTH = 10;

export default definePlugin({
  name: "trace",
  summary:
    "what guests do as lines of text: instructions, exceptions, device accesses, address translation, interrupts",
  tier: "tool",
  requires: ["x86", "symbols"],
  replaces: [x86.engine],
  options: z.strictObject({
    events: z.array(z.enum(traceKinds)).default(["exceptions"])
      .describe(`what to trace: ${traceKinds.join(", ")}`),
  }),
  setup({ options, on, port, service, provide }) {
    const lines = port(traceLine);
    const processorOf = service(x86.processor), tableOf = service(symbols.symbolsOf);
    const traced = new Set<TraceKind>(options.events);
    const nameOf = (vm: Vm): x86.NameOf => (address) => tableOf(vm).nameOf(address);
    /** What happened within the instruction that is under way: its own line goes first. */
    const held: (() => void)[] = [];
    const tracer = !traced.has("exec")
      ? undefined
      : new ExecutionTracer(service(x86.engine), processorOf, nameOf, (vm, steps, text) => {
        emit(vm, "exec", steps, text);
        for (const line of held.splice(0)) line();
      });
    if (tracer !== undefined) provide(x86.engine, tracer);

    function emit(vm: Vm, kind: TraceKind, steps: number, rest: string): void {
      if (!lines.active) return;
      lines.emit({ vm, kind, text: `${String(steps).padStart(STEPS_WIDTH)} ${kind.padEnd(KIND_WIDTH)} ${rest}` });
    }

    function tell(vm: Vm, kind: TraceKind, rest: string): void {
      // A processor that is being made resets itself before anybody else knows it.
      const cpu: x86.Processor | undefined = processorOf(vm);
      const steps = cpu === undefined ? 0 : cpu.blockSteps + cpu.index;
      if (tracer?.isStepping) held.push(() => emit(vm, kind, steps, rest));
      else emit(vm, kind, steps, rest);
    }

    if (traced.has("exceptions") || traced.has("irq")) {
      on(x86.delivered, (event) => {
        const kind = event.kind === "interrupt" ? "irq" : "exceptions";
        if (traced.has(kind)) tell(event.vm, kind, describeDelivery(event, processorOf(event.vm), nameOf(event.vm)));
      });
    }
    if (traced.has("io")) on(x86.accessed, (event) => tell(event.vm, "io", describeAccess(event)));
    if (traced.has("mmu")) on(x86.translated, (event) => tell(event.vm, "mmu", describeTranslation(event)));
  },
});
