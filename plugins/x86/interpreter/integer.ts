// All handlers of the integer instruction set that run at any privilege, by the names the opcode table gives them.

import { aluBinders } from "./alu.ts";
import { bitBinders } from "./bits.ts";
import { controlBinders } from "./control.ts";
import { decimalBinders } from "./decimal.ts";
import { flagBinders } from "./flagops.ts";
import { moveBinders } from "./move.ts";
import { multiplyBinders } from "./multiply.ts";
import type { Binder } from "./operation.ts";
import { shiftBinders } from "./shift.ts";
import { stackBinders } from "./stackops.ts";
import { stringBinders } from "./string.ts";

export const integerBinders: Readonly<Record<string, Binder>> = {
  ...aluBinders,
  ...bitBinders,
  ...controlBinders,
  ...decimalBinders,
  ...flagBinders,
  ...moveBinders,
  ...multiplyBinders,
  ...shiftBinders,
  ...stackBinders,
  ...stringBinders,
};
