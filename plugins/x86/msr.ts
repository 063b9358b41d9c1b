// Model-specific registers of the described CPU and the time-stamp counter (SDM 4). What is not here is asked of plugins;
// what nobody knows raises #GP.

import type { Processor } from "./processor.ts";
import * as S from "./state.ts";

/** MSR addresses. */
export const Msr = {
  p5McAddress: 0x00,
  p5McType: 0x01,
  timeStampCounter: 0x10,
  platformId: 0x17,
  eblCrPowerOn: 0x2a,
  biosUpdate: 0x79,
  biosSign: 0x8b,
  sysenterCs: 0x174,
  sysenterEsp: 0x175,
  sysenterEip: 0x176,
} as const;

const TWO_32 = 0x1_0000_0000;

/** The time-stamp counter as [low, high], at the exact step. */
export function timeStamp(cpu: Processor): readonly [number, number] {
  cpu.syncSteps();
  const cycles = cpu.vm.clock.cycles();
  const low = (cycles >>> 0) + (cpu.r[S.TSC_OFFSET_LOW] >>> 0);
  const high = Math.floor(cycles / TWO_32) + cpu.r[S.TSC_OFFSET_HIGH] + (low >= TWO_32 ? 1 : 0);
  return [low | 0, high | 0];
}

function setTimeStamp(cpu: Processor, low: number, high: number): void {
  cpu.r[S.TSC_OFFSET_LOW] = cpu.r[S.TSC_OFFSET_HIGH] = 0;
  const [nowLow, nowHigh] = timeStamp(cpu);
  const difference = (low >>> 0) - (nowLow >>> 0);
  cpu.r[S.TSC_OFFSET_LOW] = difference;
  cpu.r[S.TSC_OFFSET_HIGH] = high - nowHigh - (difference < 0 ? 1 : 0);
}

/** RDMSR: [low, high], or undefined for an MSR that does not exist. */
export function readMsr(cpu: Processor, msr: number): readonly [number, number] | undefined {
  switch (msr) {
    case Msr.timeStampCounter:
      return timeStamp(cpu);
    case Msr.sysenterCs:
      return [cpu.r[S.SYSENTER_CS], 0];
    case Msr.sysenterEsp:
      return [cpu.r[S.SYSENTER_ESP], 0];
    case Msr.sysenterEip:
      return [cpu.r[S.SYSENTER_EIP], 0];
    case Msr.biosSign:
      return [0, cpu.r[S.MSR_BIOS_SIGN]];
    case Msr.p5McAddress:
    case Msr.p5McType:
    case Msr.platformId:
    case Msr.eblCrPowerOn:
      return [0, 0];
    default:
      return cpu.hooks.readMsr({ vm: cpu.vm, msr });
  }
}

/** WRMSR; false for an MSR that does not exist or cannot be written. */
export function writeMsr(cpu: Processor, msr: number, low: number, high: number): boolean {
  switch (msr) {
    case Msr.timeStampCounter:
      setTimeStamp(cpu, low, high);
      return true;
    case Msr.sysenterCs:
      cpu.r[S.SYSENTER_CS] = low;
      return true;
    case Msr.sysenterEsp:
      cpu.r[S.SYSENTER_ESP] = low;
      return true;
    case Msr.sysenterEip:
      cpu.r[S.SYSENTER_EIP] = low;
      return true;
    case Msr.biosSign:
      // Software clears it before CPUID, which would load the revision of an update; there is none.
      cpu.r[S.MSR_BIOS_SIGN] = 0;
      return true;
    case Msr.p5McAddress:
    case Msr.p5McType:
    case Msr.biosUpdate:
    case Msr.eblCrPowerOn:
      return true;
    default:
      return cpu.hooks.writeMsr({ vm: cpu.vm, msr, low, high }) === true;
  }
}
