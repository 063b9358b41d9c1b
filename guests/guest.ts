// What a guest is: a named program for a bare PC, built on demand from a few options. Guests know nothing of the hypervisor;
// whoever runs one loads its bytes, puts the machine into the entry state below and lets it go.
//
// Entry state. Real mode: CS:IP = (entry >> 4):(entry & 15), DS = ES = SS = 0, SP = 0x7c00, interrupts off.
// Protected mode: flat 4 GiB segments, CS = 0x08 (code), DS = ES = FS = GS = SS = 0x10 (data), CPL 0, paging and interrupts off,
// EIP = entry, ESP = 0x9000, EAX = EBX = 0.
// Devices: 16550 UART at 0x3f8, two 8259A PICs, 8254 PIT, debug-exit port 0xf4 (a value v ends the machine with status
// (v << 1) | 1). Halting with interrupts off is a power-off with status 0.

/** One option of a guest: its default, which tells its type, and its meaning. */
export interface GuestOption {
  readonly default: number | string;
  readonly describe: string;
  /** Least and greatest value of a number. */
  readonly min?: number;
  readonly max?: number;
}

/** Values by option name. */
export type GuestOptionValues = Readonly<Record<string, number | string>>;

/** A program, ready to be loaded. */
export interface GuestImage {
  /** What to copy where, in guest-physical addresses. */
  readonly loads: readonly { readonly address: number; readonly bytes: Uint8Array }[];
  /** Guest-physical address of the first instruction. */
  readonly entry: number;
  readonly mode: "real" | "protected";
  /** Addresses of the program's labels. */
  readonly symbols: ReadonlyMap<string, number>;
}

/** A guest of the catalogue. */
export interface Guest {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** What it does, what it prints, what it is for. */
  readonly description: string;
  /** Memory it runs in by default, in MiB. */
  readonly memoryMib: number;
  readonly options: Readonly<Record<string, GuestOption>>;
  /** Assembles the guest. Options left out have their defaults; throws on an unknown name or a value out of range. */
  build(options?: GuestOptionValues): GuestImage;
}

type Options = Readonly<Record<string, GuestOption>>;
type ValuesOf<O extends Options> = { readonly [K in keyof O]: O[K]["default"] extends number ? number : string };

/** A guest whose `build` sees complete, checked options. */
export function defineGuest<const O extends Options>(
  guest: Omit<Guest, "options" | "build"> & { readonly options: O; build(options: ValuesOf<O>): GuestImage },
): Guest {
  return { ...guest, build: (values = {}) => guest.build(checkOptions(guest.name, guest.options, values)) };
}

function checkOptions<O extends Options>(guest: string, options: O, values: GuestOptionValues): ValuesOf<O> {
  const checked: Record<string, number | string> = {};
  for (const name of Object.keys(values)) {
    if (!Object.hasOwn(options, name)) {
      const known = Object.keys(options).join(", ") || "none";
      throw new Error(`guest ${guest} has no option ${name}; expected one of: ${known}`);
    }
  }
  for (const [name, option] of Object.entries(options)) {
    const value = values[name] ?? option.default;
    if (typeof value !== typeof option.default) {
      throw new Error(`guest ${guest}, option ${name}: ${JSON.stringify(value)}; expected a ${typeof option.default}`);
    }
    if (typeof value === "number") checkNumber(guest, name, option, value);
    checked[name] = value;
  }
  return checked as ValuesOf<O>;
}

function checkNumber(guest: string, name: string, { min = 0, max = 0xffff_ffff }: GuestOption, value: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new Error(`guest ${guest}, option ${name}: ${value}; expected a whole number from ${min} to ${max}`);
}
