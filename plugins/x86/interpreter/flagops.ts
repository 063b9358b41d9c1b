// Instructions on single flags: CLC, STC, CMC, CLD, STD, CLI, STI, LAHF, SAHF, SALC; and NOP (Intel SDM 2A and 2B).

import { AF, CF, DF, IF, PF, SF, ZF } from "../instruction.ts";
import type { Processor } from "../processor.ts";
import { CPL, FLAGS_OTHER, INTERRUPT_SHADOW, Vector } from "../state.ts";
import type { Binder } from "./operation.ts";

/** Binders by handler name. */
export const flagBinders: Record<string, Binder> = {
  clc: () => clc,
  stc: () => stc,
  cmc: () => cmc,
  cld: () => cld,
  std: () => std,
  cli: () => cli,
  sti: () => sti,
  lahf: () => lahf,
  sahf: () => sahf,
  salc: () => salc,
  nop: () => nop,
};

/** Indices of AL and AH in r8. */
const AL = 0, AH = 1;
/** The flags that SAHF loads, and bit 1, which is always set. */
const SAHF_FLAGS = SF | ZF | AF | PF | CF, ALWAYS_SET = 2;

function clc(cpu: Processor): void {
  cpu.setCf(0);
}
function stc(cpu: Processor): void {
  cpu.setCf(1);
}
function cmc(cpu: Processor): void {
  cpu.setCf(cpu.cf ^ 1);
}
function cld(cpu: Processor): void {
  cpu.r[FLAGS_OTHER] &= ~DF;
}
function std(cpu: Processor): void {
  cpu.r[FLAGS_OTHER] |= DF;
}

function cli(cpu: Processor): void {
  checkInterruptPrivilege(cpu);
  cpu.setEflags(0, IF);
}

/** The instruction after STI runs before an interrupt is taken, if IF was clear. */
function sti(cpu: Processor): void {
  checkInterruptPrivilege(cpu);
  if (cpu.r[FLAGS_OTHER] & IF) return;
  cpu.r[INTERRUPT_SHADOW] = 1;
  cpu.setEflags(IF, IF);
}

/** V86 mode runs at CPL 3, real mode at CPL 0: one comparison says it for all modes. */
function checkInterruptPrivilege(cpu: Processor): void {
  if (cpu.r[CPL] > cpu.iopl) cpu.raise(Vector.generalProtection, 0);
}

function lahf(cpu: Processor): void {
  cpu.r8[AH] = (cpu.statusFlags() & SAHF_FLAGS) | ALWAYS_SET;
}
function sahf(cpu: Processor): void {
  cpu.setStatusFlags((cpu.r8[AH] & SAHF_FLAGS) | (cpu.statusFlags() & ~SAHF_FLAGS));
}

/** SALC, undocumented: AL is CF in every bit. */
function salc(cpu: Processor): void {
  cpu.r8[AL] = -cpu.cf;
}

/** NOP, and the hint NOPs, which touch no memory. */
function nop(): void {}
