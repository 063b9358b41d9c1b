// Which VMs may share with each other, and the short numbers by which the table knows VMs and salts. A salt goes into the
// hash and is compared on a match, so that pages of different salts never share a frame (VMware's salting since ESXi 6.0,
// a defence against a guest that learns by timing what others hold).

import { InputError, type Vm } from "../../core/mod.ts";
import { MAX_NUMBER } from "./table.ts";

/** `none`: all share with all; `group`: within `saltGroup`, those without one with each other; `vm`: without one, alone. */
export const saltModes = ["none", "group", "vm"] as const;
export type SaltMode = (typeof saltModes)[number];

/** The salt of VMs that nothing sets apart. */
export const COMMON_SALT = 0;

interface Member {
  readonly number: number;
  readonly salt: number;
}

export class VmNumbers {
  readonly #members = new Map<Vm, Member>();
  readonly #vms: (Vm | undefined)[] = [];
  readonly #groups = new Map<string, number>();

  /** `groupOf` gives a VM's `saltGroup`. */
  constructor(readonly mode: SaltMode, readonly groupOf: (vm: Vm) => string | undefined) {}

  /** A VM's number. Given at its first use, and to another VM once it was removed. Throws InputError for too many VMs. */
  numberOf(vm: Vm): number {
    return this.#memberOf(vm).number;
  }

  saltOf(vm: Vm): number {
    return this.#memberOf(vm).salt;
  }

  vmOf(number: number): Vm | undefined {
    return this.#vms[number];
  }

  remove(vm: Vm): void {
    const member = this.#members.get(vm);
    if (member === undefined) return;
    this.#members.delete(vm);
    this.#vms[member.number] = undefined;
  }

  #memberOf(vm: Vm): Member {
    const known = this.#members.get(vm);
    if (known !== undefined) return known;
    const free = this.#vms.indexOf(undefined);
    const number = free >= 0 ? free : this.#vms.length;
    if (number > MAX_NUMBER) throw new InputError(`VM "${vm.name}": page sharing knows ${MAX_NUMBER + 1} VMs at most`);
    const member = { number, salt: this.#newSalt(vm, number) };
    this.#vms[number] = vm;
    this.#members.set(vm, member);
    return member;
  }

  #newSalt(vm: Vm, number: number): number {
    const group = this.mode === "none" ? undefined : this.groupOf(vm);
    if (group === undefined && this.mode !== "vm") return COMMON_SALT;
    // A number is given again only when the frames of the VM that had it are gone: its salt may be, too.
    const key = group === undefined ? `vm ${number}` : `group ${group}`;
    const salt = this.#groups.get(key) ?? this.#groups.size + 1;
    if (salt > MAX_NUMBER) throw new InputError(`VM "${vm.name}": page sharing knows ${MAX_NUMBER} salts at most`);
    this.#groups.set(key, salt);
    return salt;
  }
}
