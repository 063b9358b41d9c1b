// The states of free memory: high, soft, hard and low, with hysteresis (ESX paper, section 6.3).

import { type ReclamationState, reclamationStates } from "./events.ts";

/** Parts of machine memory, from 0 to 1. */
export interface Thresholds {
  readonly high: number;
  readonly soft: number;
  readonly hard: number;
  readonly low: number;
  /** By how much free memory must exceed the threshold of a higher state to come back to it. */
  readonly margin: number;
}

/** The paper's, and a margin of ours, which it leaves open. */
export const defaultThresholds: Thresholds = { high: 0.06, soft: 0.04, hard: 0.02, low: 0.01, margin: 0.005 };

/**
 * The state that follows `state` when `free` of machine memory is free. Memory falls into a lower state as soon as it
 * is below that state's threshold, through several at once if need be; it comes back to a higher one only when it
 * exceeds that one's threshold by the margin. In between, nothing changes.
 */
export function nextState(state: ReclamationState, free: number, thresholds: Thresholds): ReclamationState {
  let at = reclamationStates.indexOf(state);
  while (at < LOWEST && free < thresholds[reclamationStates[at + 1]]) at++;
  while (at > 0 && free > thresholds[reclamationStates[at - 1]] + thresholds.margin) at--;
  return reclamationStates[at];
}

const LOWEST = reclamationStates.length - 1;
