// A VM's state to keep, and to take back from wherever it was kept: sealed by a hash, so that what was damaged, or belongs to
// another machine, is refused before a guest runs on it. The seal finds damage; it is no defence against who can make one:
// whoever writes saved states is trusted as one who writes plugins (SECURITY.md).

import { Hasher, type Host, InputError, type Saved, type SavedVm, type Vm } from "../core/mod.ts";

/** A saved VM and the seal over it. */
export interface SealedVm extends SavedVm {
  readonly seal: string;
}

/** Deepest nesting that a state is looked at to. */
const MOST_LEVELS = 32;

/** Saves a VM and seals what was saved. */
export function saveVm(host: Host, vm: Vm): SealedVm {
  const { clock, plugins } = host.save(vm);
  return { clock, plugins, seal: sealOf({ clock, plugins }) };
}

/**
 * Puts a VM into a saved state, as `Host.restore` does. Throws InputError, and leaves the VM as it was, if the state is
 * damaged or was saved from a machine with other plugins, devices or memory.
 */
export function restoreVm(host: Host, vm: Vm, saved: unknown): void {
  const { clock, plugins, seal } = (typeof saved === "object" && saved !== null ? saved : {}) as Partial<SealedVm>;
  if (!isSaved(clock) || !isSaved(plugins) || seal !== sealOf({ clock, plugins })) {
    throw new InputError(`the saved state of VM "${vm.name}" is damaged: its seal does not match; save it again`);
  }
  const before = host.save(vm);
  const present = Object.keys(before.plugins).toSorted().join(", "), given = Object.keys(plugins).toSorted().join(", ");
  if (given !== present) {
    throw new InputError(`the saved state is of a machine with ${given}; VM "${vm.name}" has ${present}`);
  }
  try {
    host.restore(vm, { clock, plugins } as SavedVm);
  } catch (cause) {
    host.restore(vm, before);
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new InputError(`the saved state does not fit VM "${vm.name}": ${reason}`, { cause });
  }
}

function sealOf(saved: Saved): string {
  const hasher = new Hasher();
  hasher.saved(saved);
  return hasher.digest();
}

/** Whether a value is plain data throughout. */
function isSaved(value: unknown, levels = MOST_LEVELS): value is Saved {
  if (value === null || ["boolean", "number", "string"].includes(typeof value)) return true;
  if (value instanceof Uint8Array || value instanceof Int32Array) return true;
  if (typeof value !== "object" || levels === 0) return false;
  const isPlain = Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
  return isPlain && Object.values(value).every((item) => isSaved(item, levels - 1));
}
