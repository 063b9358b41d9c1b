// Sampling without replacement, for statistical estimates of a VM's active memory (ESX paper, section 5.3): Floyd's
// algorithm (Bentley and Floyd, CACM 30(9), 1987) takes one random number per page sampled, however large the VM is.

/** `count` distinct numbers below `size`, every set of that many equally likely; all of them, if `count` exceeds `size`. */
export function sample(size: number, count: number, below: (bound: number) => number): number[] {
  const chosen = new Set<number>();
  for (let last = Math.max(0, size - count); last < size; last++) {
    const candidate = below(last + 1);
    chosen.add(chosen.has(candidate) ? last : candidate);
  }
  return [...chosen];
}
