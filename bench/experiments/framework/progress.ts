// The progress line on standard error: how much is done, what runs, and how much time is left. And the user's Ctrl-C.

/** The user wants no more. */
export class Interrupted extends Error {
  override name = "Interrupted";
}

export interface ProgressParts {
  readonly write: (text: string) => void;
  readonly isTerminal: boolean;
  readonly nowMs: () => number;
}

/** Wall time between two lines: redrawn on a terminal, one below the other elsewhere. */
const TERMINAL_MS = 200, LOG_MS = 10_000;
/** Done before a time left is guessed. */
const LEAST_DONE = 0.02;

export class Progress {
  isInterrupted = false;
  #name = "";
  #startedMs = 0;
  #writtenMs = 0;
  #width = 0;

  constructor(readonly parts: ProgressParts) {}

  begin(name: string): void {
    this.#name = name;
    this.#startedMs = this.#writtenMs = this.parts.nowMs();
  }

  /** Says where an experiment is, lets signals in, and throws Interrupted after one. `done` from 0 to 1. */
  async breathe(done: number, label: string): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.isInterrupted) throw new Interrupted();
    const { nowMs, isTerminal } = this.parts;
    if (nowMs() - this.#writtenMs < (isTerminal ? TERMINAL_MS : LOG_MS)) return;
    this.#writtenMs = nowMs();
    const elapsed = (nowMs() - this.#startedMs) / 1000;
    const left = done < LEAST_DONE ? "" : `, about ${durationText((elapsed / done) * (1 - done))} left`;
    this.#show(`${this.#name}: ${Math.floor(done * 100)} % (${label})${left}`);
  }

  /** Ends an experiment's line with a line that stays. */
  end(text: string): void {
    this.#erase();
    this.parts.write(`${text}\n`);
  }

  #show(text: string): void {
    if (!this.parts.isTerminal) return this.parts.write(`${text}\n`);
    this.parts.write(`\r${text.padEnd(this.#width)}`);
    this.#width = text.length;
  }

  #erase(): void {
    if (this.#width > 0) this.parts.write(`\r${" ".repeat(this.#width)}\r`);
    this.#width = 0;
  }
}

/** Seconds as a person says them. */
export function durationText(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
