// Every target of the fuzzer, by name.

import { unknownName } from "../../core/mod.ts";
import { deviceTargets } from "./devices.ts";
import { inputTargets } from "./inputs.ts";
import { programTargets } from "./programs.ts";
import type { Target } from "./target.ts";
import { virtioTargets } from "./virtio.ts";

export const targets: readonly Target[] = [...programTargets, ...deviceTargets, ...virtioTargets, ...inputTargets];

export function targetOf(name: string): Target {
  const target = targets.find((other) => other.name === name);
  if (target === undefined) throw unknownName("fuzz target", name, targets.map((other) => other.name));
  return target;
}
