// Threads in gdb's packets: their numbers, and what `vCont` asks of each (GDB manual, E.1 and E.2).

/** What one action of `vCont` asks; without a thread, of every one that no action before it names. */
export interface ThreadAction {
  readonly kind: "continue" | "step";
  /** In hexadecimal, as gdb writes it. */
  readonly thread?: string;
}

/** A thread's number; undefined where the text is none, or means any or all of them. */
export function readThread(text: string): number | undefined {
  return /^[0-9a-f]{1,8}$/i.test(text) ? parseInt(text, 16) || undefined : undefined;
}

/** The actions of `vCont`, separated by semicolons; undefined where one is not understood. Signals are dropped. */
export function readActions(text: string): ThreadAction[] | undefined {
  const actions: ThreadAction[] = [];
  for (const part of text.split(";")) {
    const match = /^([cs]|[CS][0-9a-f]{2})(?::(-1|[0-9a-f]{1,8}))?$/i.exec(part);
    if (match === null) return undefined;
    const kind = match[1][0].toLowerCase() === "s" ? "step" : "continue";
    const number = match[2] === undefined ? undefined : readThread(match[2]);
    actions.push(number === undefined ? { kind } : { kind, thread: number.toString(16) });
  }
  return actions;
}
