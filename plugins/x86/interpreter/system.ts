// Instructions that read and change the machine: control and debug registers, MSRs, CPUID, time stamp, HLT, INVLPG, I/O
// (SDM 2A and 2B under each; SDM 3A, 2.5 for the control registers).

import { detectDebugAccess, readDebugRegister, writeDebugRegister } from "../debug.ts";
import { EAX, EBX, ECX, EDX } from "../instruction.ts";
import { readMsr, timeStamp, writeMsr } from "../msr.ts";
import type { Processor } from "../processor.ts";
import * as S from "../state.ts";
import { type Binder, effectiveAddress, type Operation } from "./operation.ts";
import { readOperand16, requireCpl0 } from "./segmentops.ts";

const V = S.Vector;

/** CR0 bits that exist; ET reads as one. CR4 bits that the described CPU has. */
const CR0_BITS = S.CR0_PE | S.CR0_MP | S.CR0_EM | S.CR0_TS | S.CR0_ET | S.CR0_NE | S.CR0_WP | S.CR0_AM | S.CR0_NW |
  S.CR0_CD |
  S.CR0_PG;
const CR4_BITS = S.CR4_TSD | S.CR4_DE | S.CR4_PSE | S.CR4_PAE | S.CR4_PGE | S.CR4_OSFXSR | S.CR4_OSXMMEXCPT;
/** CR4 bits whose change flushes the TLB, and CR0 bits likewise. */
const CR4_FLUSHES = S.CR4_PSE | S.CR4_PAE | S.CR4_PGE, CR0_FLUSHES = S.CR0_PG | S.CR0_WP | S.CR0_PE;
/** What a change of CR0 or CR4 needs the PAE pointers loaded for. */
const CR0_LOADS_PDPTES = S.CR0_PG | S.CR0_CD | S.CR0_NW, CR4_LOADS_PDPTES = S.CR4_PAE | S.CR4_PGE | S.CR4_PSE;

/** MOV to CR0, LMSW: raises #GP(0) for combinations that cannot be. */
export function setCr0(cpu: Processor, value: number): void {
  const { r } = cpu;
  const next = (value & CR0_BITS) | S.CR0_ET, before = r[S.CR0];
  if ((next & S.CR0_PG) !== 0 && !(next & S.CR0_PE)) cpu.raise(V.generalProtection, 0);
  if ((next & S.CR0_NW) !== 0 && !(next & S.CR0_CD)) cpu.raise(V.generalProtection, 0);
  const changed = next ^ before;
  const pae = (next & S.CR0_PG) !== 0 && (r[S.CR4] & S.CR4_PAE) !== 0;
  const loads = pae && (changed & CR0_LOADS_PDPTES) !== 0;
  if (loads && !cpu.mmu.loadPdptes(r[S.CR3])) cpu.raise(V.generalProtection, 0);
  r[S.CR0] = next;
  if (loads || (changed & CR0_FLUSHES) !== 0) cpu.mmu.flush(false);
  if (changed & S.CR0_PE) cpu.setCpl(0);
  cpu.updateMode();
  cpu.updateAttention();
}

export function setCr3(cpu: Processor, value: number): void {
  const { r } = cpu;
  const pae = (r[S.CR0] & S.CR0_PG) !== 0 && (r[S.CR4] & S.CR4_PAE) !== 0;
  if (pae && !cpu.mmu.loadPdptes(value)) cpu.raise(V.generalProtection, 0);
  r[S.CR3] = value;
  cpu.mmu.flush(true);
}

export function setCr4(cpu: Processor, value: number): void {
  const { r } = cpu;
  if (value & ~CR4_BITS) cpu.raise(V.generalProtection, 0);
  const changed = value ^ r[S.CR4];
  const pae = (r[S.CR0] & S.CR0_PG) !== 0 && (value & S.CR4_PAE) !== 0;
  if (pae && (changed & CR4_LOADS_PDPTES) !== 0 && !cpu.mmu.loadPdptes(r[S.CR3])) cpu.raise(V.generalProtection, 0);
  r[S.CR4] = value;
  if (changed & CR4_FLUSHES) cpu.mmu.flush(false);
}

function movToCr(cpu: Processor, op: Operation): void {
  requireCpl0(cpu);
  cpu.trap("mov cr");
  const value = cpu.r[op.instruction.rm];
  if (op.variant === 0) setCr0(cpu, value);
  else if (op.variant === 2) cpu.r[S.CR2] = value;
  else if (op.variant === 3) setCr3(cpu, value);
  else setCr4(cpu, value);
}

function movFromCr(cpu: Processor, op: Operation): void {
  requireCpl0(cpu);
  cpu.trap("mov cr");
  cpu.r[op.instruction.rm] = cpu.r[S.CR0 + (op.variant === 0 ? 0 : op.variant - 1)];
}

/** The debug register that an instruction names: 4 and 5 are 6 and 7 or, with CR4.DE, raise #UD. Checks come in its order. */
function debugRegister(cpu: Processor, op: Operation): number {
  const number = op.instruction.reg, isAlias = number === 4 || number === 5;
  if (isAlias && (cpu.r[S.CR4] & S.CR4_DE) !== 0) cpu.raise(V.invalidOpcode);
  requireCpl0(cpu);
  detectDebugAccess(cpu);
  return isAlias ? number + 2 : number;
}

function movToDr(cpu: Processor, op: Operation): void {
  const number = debugRegister(cpu, op);
  cpu.trap("mov dr");
  writeDebugRegister(cpu, number, cpu.r[op.instruction.rm]);
}

function movFromDr(cpu: Processor, op: Operation): void {
  const number = debugRegister(cpu, op);
  cpu.trap("mov dr");
  cpu.r[op.instruction.rm] = readDebugRegister(cpu, number);
}

function lmsw(cpu: Processor, op: Operation): void {
  requireCpl0(cpu);
  const value = readOperand16(cpu, op);
  const low = S.CR0_PE | S.CR0_MP | S.CR0_EM | S.CR0_TS;
  // LMSW can set PE and cannot clear it.
  setCr0(cpu, (cpu.r[S.CR0] & (~low | S.CR0_PE)) | (value & low));
}

function rdtsc(cpu: Processor): void {
  if ((cpu.r[S.CR4] & S.CR4_TSD) !== 0 && cpu.r[S.CPL] !== 0) cpu.raise(V.generalProtection, 0);
  cpu.trap("rdtsc");
  const [low, high] = timeStamp(cpu);
  cpu.r[EAX] = low;
  cpu.r[EDX] = high;
}

function rdmsr(cpu: Processor): void {
  requireCpl0(cpu);
  cpu.trap("rdmsr");
  const value = readMsr(cpu, cpu.r[ECX] >>> 0) ?? cpu.raise(V.generalProtection, 0);
  cpu.r[EAX] = value[0];
  cpu.r[EDX] = value[1];
}

function wrmsr(cpu: Processor): void {
  requireCpl0(cpu);
  cpu.trap("wrmsr");
  if (!writeMsr(cpu, cpu.r[ECX] >>> 0, cpu.r[EAX], cpu.r[EDX])) cpu.raise(V.generalProtection, 0);
}

function cpuid(cpu: Processor): void {
  cpu.trap("cpuid");
  const result = cpu.hooks.cpuid(cpu.vm, cpu.r[EAX] >>> 0, cpu.r[ECX] >>> 0);
  cpu.r[EAX] = result.eax;
  cpu.r[EBX] = result.ebx;
  cpu.r[ECX] = result.ecx;
  cpu.r[EDX] = result.edx;
}

function hlt(cpu: Processor): void {
  requireCpl0(cpu);
  cpu.trap("hlt");
  cpu.r[S.HALTED] = 1;
  cpu.updateAttention();
}

function invlpg(cpu: Processor, op: Operation): void {
  requireCpl0(cpu);
  cpu.trap("invlpg");
  cpu.mmu.flushPage((cpu.r[S.BASE + op.segment] + effectiveAddress(cpu, op)) | 0);
}

function clts(cpu: Processor): void {
  requireCpl0(cpu);
  cpu.r[S.CR0] &= ~S.CR0_TS;
}

/** WBINVD and INVD: there is no cache to write back. */
function flushCache(cpu: Processor): void {
  requireCpl0(cpu);
}

function inPort(cpu: Processor, op: Operation): void {
  const port = op.immediate & 0xffff;
  readPort(cpu, op, port);
}

function inDx(cpu: Processor, op: Operation): void {
  readPort(cpu, op, cpu.r[EDX] & 0xffff);
}

function readPort(cpu: Processor, op: Operation, port: number): void {
  const { row, operandSize } = op.instruction;
  if (row.operands[0] === "al") cpu.r8[0] = cpu.io.read(cpu, port, 1);
  else if (operandSize === 16) cpu.r16[0] = cpu.io.read(cpu, port, 2);
  else cpu.r[EAX] = cpu.io.read(cpu, port, 4);
}

function outPort(cpu: Processor, op: Operation): void {
  writePort(cpu, op, op.immediate & 0xffff);
}

function outDx(cpu: Processor, op: Operation): void {
  writePort(cpu, op, cpu.r[EDX] & 0xffff);
}

function writePort(cpu: Processor, op: Operation, port: number): void {
  const { row, operandSize } = op.instruction;
  const size = row.operands[1] === "al" ? 1 : operandSize === 16 ? 2 : 4;
  cpu.io.write(cpu, port, size, cpu.r[EAX]);
}

function undefinedOpcode(cpu: Processor): void {
  cpu.raise(V.invalidOpcode);
}

/** RDPMC: no counters exist. */
function rdpmc(cpu: Processor): void {
  cpu.raise(V.generalProtection, 0);
}

export const systemBinders: Readonly<Record<string, Binder>> = {
  movToCr: () => movToCr,
  movFromCr: () => movFromCr,
  movToDr: () => movToDr,
  movFromDr: () => movFromDr,
  lmsw: () => lmsw,
  rdtsc: () => rdtsc,
  rdpmc: () => rdpmc,
  rdmsr: () => rdmsr,
  wrmsr: () => wrmsr,
  cpuid: () => cpuid,
  hlt: () => hlt,
  invlpg: () => invlpg,
  clts: () => clts,
  invd: () => flushCache,
  wbinvd: () => flushCache,
  in: (op) => op.instruction.row.operands[1] === "Ib" ? inPort : inDx,
  out: (op) => op.instruction.row.operands[0] === "Ib" ? outPort : outDx,
  ud: () => undefinedOpcode,
};
