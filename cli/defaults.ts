// What hosts and VMs are where nobody says otherwise, in configurations and in programs, and how large a host can be.

export const DEFAULT_SEED = 1;
/** Steps per microsecond of guest time. */
export const DEFAULT_CPU_MHZ = 100;
export const DEFAULT_SHARES = 1000;
export const DEFAULT_VM_MIB = 128;
/** One WebAssembly memory. */
export const MOST_HOST_MIB = 4096;
