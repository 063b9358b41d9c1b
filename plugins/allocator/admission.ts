// Admission control: a VM is let in only if its minimum and overhead can be promised in machine memory, and the rest of
// its maximum in the swap file (ESX paper, section 6.2). A refusal shows the sums.

/** What a VM is promised, in pages. */
export interface Reservation {
  readonly minPages: number;
  readonly maxPages: number;
  readonly overheadPages: number;
}

/** What promises are made from, in pages. */
export interface Capacity {
  readonly machinePages: number;
  /** The hypervisor's own, VMs' overhead aside. */
  readonly hypervisorPages: number;
  readonly swapPages: number;
}

const PAGES_PER_MIB = 256;

/** Why `wanted` is not let in beside those admitted, with the sums in MiB; undefined if it is. */
export function refusal(wanted: Reservation, admitted: readonly Reservation[], capacity: Capacity): string | undefined {
  const { minPages, maxPages, overheadPages } = wanted;
  if (minPages > maxPages) return `its minimum of ${mib(minPages)} MiB is more than its memory, ${mib(maxPages)} MiB`;
  const { machinePages, hypervisorPages, swapPages } = capacity;
  const reserved = sum(admitted.map((vm) => vm.minPages + vm.overheadPages));
  const unreserved = machinePages - hypervisorPages - reserved;
  if (minPages + overheadPages > unreserved) {
    return `its minimum and overhead come to ${mib(minPages)} + ${mib(overheadPages)} = ` +
      `${mib(minPages + overheadPages)} MiB, and of machine memory are unreserved ${mib(machinePages)} - ` +
      `${mib(hypervisorPages)} (hypervisor) - ${mib(reserved)} (minimum and overhead of ${vms(admitted)}) = ` +
      `${mib(unreserved)} MiB; lower minMib or give the host more memory`;
  }
  const swapReserved = sum(admitted.map((vm) => vm.maxPages - vm.minPages));
  const swapUnreserved = swapPages - swapReserved;
  if (maxPages - minPages > swapUnreserved) {
    return `its memory less its minimum comes to ${mib(maxPages)} - ${mib(minPages)} = ${
      mib(maxPages - minPages)
    } MiB, ` +
      `and of the swap file are unreserved ${mib(swapPages)} - ${mib(swapReserved)} (of ${vms(admitted)}) = ` +
      `${mib(swapUnreserved)} MiB; raise minMib or swap.sizeMib`;
  }
  return undefined;
}

function vms(admitted: readonly Reservation[]): string {
  return admitted.length === 1 ? "1 VM" : `${admitted.length} VMs`;
}

function mib(pages: number): string {
  return String(Math.round((pages / PAGES_PER_MIB) * 100) / 100);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
