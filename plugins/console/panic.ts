// Recognises a Linux kernel panic on the console. The kernel says so before it resets or halts: only the two together
// mean a panic, for any program can print the words. Source: Linux kernel/panic.c.

const PANIC = "Kernel panic - not syncing";
/** Printed when the kernel neither resets nor halts but waits for ever. */
const END_OF_PANIC = "---[ end Kernel panic - not syncing";

/** What a line says of a panic: its start with a reason, its end, or nothing. */
export function readPanic(line: string): { readonly kind: "start" | "end"; readonly text: string } | undefined {
  const end = line.indexOf(END_OF_PANIC);
  if (end >= 0) return { kind: "end", text: line.slice(end) };
  const start = line.indexOf(PANIC);
  return start >= 0 ? { kind: "start", text: line.slice(start) } : undefined;
}
