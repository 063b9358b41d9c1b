// x87 instructions in emitted code, by the opcode table's handler names (Intel SDM 1, chapter 8; SDM 2A). Every instruction
// leaves before it has changed anything where a routine refuses, where a register is empty that must not be, or the other way
// round. The transcendental instructions and those on whole environments are interpreted.

import type { Chooser } from "./operands.ts";
import { x87ComparisonChoosers } from "./x87_comparison.ts";
import { x87ComputeChoosers } from "./x87_compute.ts";
import { x87ControlChoosers } from "./x87_control.ts";
import { x87TransferChoosers } from "./x87_transfer.ts";

export const x87Choosers: Readonly<Record<string, Chooser>> = {
  ...x87ComputeChoosers,
  ...x87ComparisonChoosers,
  ...x87TransferChoosers,
  ...x87ControlChoosers,
};
