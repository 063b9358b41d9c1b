// The closed form of the idle memory tax, by itself: what memory VMs have once all pay the same price for a page. It is the oracle
// of experiments and shares no code with the policy (ESX paper, section 5.2).

/** A VM in the closed form; sizes in any one unit. */
export interface Taxed {
  readonly shares: number;
  /** Memory in active use. */
  readonly active: number;
  readonly min: number;
  readonly max: number;
}

const HALVINGS = 100;

/**
 * What each VM has of `total` with a tax rate: rho = S / (P (f + k (1 - f))) is the same for all, k = 1 / (1 - rate), within
 * [min, max]. Away from bounds that is P_i = rate A_i + S_i / sum(S) (total - rate sum(A)).
 */
export function taxedEquilibrium(total: number, vms: readonly Taxed[], taxRate: number): number[] {
  const k = 1 / (1 - taxRate);
  // With a budget of 1 / rho a share, a VM pays 1 for an active page and k for an idle one.
  const bought = ({ shares, active, min, max }: Taxed, budget: number) => {
    const afforded = shares * budget;
    return Math.min(max, Math.max(min, afforded <= active ? afforded : active + (afforded - active) / k));
  };
  let low = 0, high = Math.max(...vms.map(({ shares, max }) => (k * max) / shares));
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    const sum = vms.reduce((all, vm) => all + bought(vm, middle), 0);
    if (sum < total) low = middle;
    else high = middle;
  }
  return vms.map((vm) => bought(vm, high));
}
