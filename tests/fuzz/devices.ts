// One target for each device: reads and writes of any size and value at its ports and in its memory, with time passing, the
// guest taking interrupts, and the whole machine saved and restored in between.

import { DeviceMachine, type Size } from "./device_machine.ts";
import { Dice, type Target } from "./target.ts";

interface Space {
  /** Ranges of ports and of guest-physical addresses: first and count. */
  readonly ports?: readonly (readonly [first: number, count: number])[];
  readonly memory?: readonly (readonly [first: number, bytes: number])[];
}

/** Accesses of a case. */
const ACCESSES = 1500;

const PCI = [[0xcf8, 8]] as const;
const PICS = [[0x20, 2], [0xa0, 2], [0x4d0, 2]] as const;

/** Devices with their registers; interrupt controllers stand beside those whose lines they see. */
const spaces: Readonly<Record<string, Space>> = {
  "8259": { ports: PICS },
  "local-apic": { memory: [[0xfee0_0000, 0x400]], ports: [[0x20, 2], [0xa0, 2]] },
  "io-apic": { memory: [[0xfec0_0000, 0x40], [0xfee0_0000, 0x400]], ports: [[0x2000, 16]] },
  "8254": { ports: [[0x40, 4], [0x61, 1], [0x20, 2]] },
  serial: { ports: [[0x3f8, 8], [0x2f8, 8], [0x20, 2]] },
  cmos: { ports: [[0x70, 2], [0xa0, 2]] },
  keyboard: { ports: [[0x60, 1], [0x64, 1], [0x20, 2]] },
  dma: { ports: [[0x00, 16], [0x80, 16], [0xc0, 32]] },
  pci: { ports: PCI, memory: [[0xe000_0000, 0x4000]] },
  acpi: { ports: [[0x600, 0x10], [0x70, 2]] },
  system: { ports: [[0x92, 1], [0x80, 1], [0xf0, 2], [0xf4, 4]] },
  "vmware-backdoor": { ports: [[0x5658, 1]] },
  "test-device": { ports: [[0xe0, 4], [0x2000, 16]], memory: [[0xff00_0000, 0x1_0000]] },
  vga: { ports: [[0x3b0, 0x30]], memory: [[0xa_0000, 0x2_0000]] },
  unclaimed: { ports: [[0, 0x1_0000]], memory: [[0x20_0000, 0x1000], [0xfff0_0000, 0xf_ffff]] },
};

function accesses(space: Space): (seed: string) => number {
  return (seed) => {
    const dice = new Dice(seed);
    let machine = new DeviceMachine();
    const middle = dice.below(ACCESSES);
    for (let count = 0; count < ACCESSES; count++) {
      access(dice, machine, space);
      if (dice.oneIn(12)) machine.pass(dice.pick([1, 1000, 1e6, 50e6, dice.word()]));
      if (dice.oneIn(12)) machine.run(1 + dice.below(50));
      if (count === middle) machine = machine.copy();
    }
    machine.copy();
    machine.audit();
    return ACCESSES;
  };
}

function access(dice: Dice, machine: DeviceMachine, { ports = [], memory = [] }: Space): void {
  const size = dice.pick<Size>([1, 1, 2, 4]);
  const [first, count] = dice.pick([...ports, ...memory]);
  const at = first + (dice.oneIn(8) ? count - 1 - dice.below(Math.min(4, count)) : dice.below(count));
  const value = dice.value(), isPort = ports.some((range) => range[0] === first);
  // APICs take words at multiples of 16.
  const address = isPort || dice.oneIn(4) ? at : (at & ~0xf) >>> 0, width = isPort || dice.oneIn(4) ? size : 4;
  if (dice.oneIn(2)) isPort ? machine.in(address, size) : machine.load(address, width);
  else isPort ? machine.out(address, size, value) : machine.store(address, width, value);
  // VMware's backdoor is asked through registers.
  if (dice.oneIn(16)) {
    machine.cpu.setRegister(dice.pick([0, 1, 2, 3, 6]), dice.pick([0x564d5868, 0x456c6d6f, dice.below(64)]));
  }
}

export const deviceTargets: readonly Target[] = Object.entries(spaces).map(([name, space]) => ({
  name,
  summary: `registers of ${name}`,
  unit: "accesses",
  budget: 15_000,
  run: accesses(space),
}));
