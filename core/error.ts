// Errors that a person caused and can mend: they name the thing, the value, what was expected and what to do.

/** Bad usage or input. The command line prints the message alone, as one line, and ends with status 2. */
export class InputError extends Error {
  override name = "InputError";
}

/** What keeps one VM from going on, such as a swap file that cannot be read: it ends as failed, and the others go on. */
export class VmFailure extends Error {
  /** What the VM then contributes to the exit status of a run. */
  readonly status: number = 3;
}

/** Words of `candidates` closest to `word`, for "did you mean": the best one within a third of its length, or none. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = candidate.startsWith(word) && word.length > 1 ? 1 : editDistance(word, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** An InputError for an unknown name, with the nearest valid one or the whole list. */
export function unknownName(kind: string, word: string, candidates: Iterable<string>): InputError {
  const names = [...candidates];
  const near = nearest(word, names);
  const hint = near === undefined ? `known: ${names.join(", ") || "none"}` : `did you mean "${near}"?`;
  return new InputError(`unknown ${kind} "${word}"; ${hint}`);
}

/** Levenshtein distance between two words. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length];
}
