// The processor plugin: one IA-32 vCPU a VM, its MMU and TLB, the interpreter as the base engine (trap-and-emulate), and
// registration of ports, device memory, interrupts, CPUID leaves and MSRs.

import { definePlugin, executor, type Vm, z } from "../../core/mod.ts";
import * as memory from "../memory/mod.ts";
import { CodeFrames } from "./code_frames.ts";
import { describedCpuid } from "./cpuid.ts";
import { VcpuExecutor } from "./executor.ts";
import { BlockCache } from "./interpreter/blocks.ts";
import { Interpreter } from "./interpreter/engine.ts";
import { IoSpace } from "./io.ts";
import { Mmu } from "./mmu.ts";
import { type Hooks, Processor } from "./processor.ts";
import * as services from "./services.ts";
import type { InterruptController } from "./services.ts";
import * as S from "./state.ts";
import { Fpu } from "./x87/fpu.ts";

export * from "./services.ts";
export { Attention, Mode, Processor } from "./processor.ts";
export { type CodeFrames as x86CodeFrames, markLines, touchesLines } from "./code_frames.ts";
export { GuestFault } from "./fault.ts";
export type { Block } from "./interpreter/blocks.ts";
export type { Interpreter } from "./interpreter/engine.ts";
export type { Operation } from "./interpreter/operation.ts";
export { Mmu } from "./mmu.ts";
export { describeCode, describeRegisters, describeState } from "./registers.ts";
export { type CodeLine, disassemble, disassembleAt, type NameOf } from "./disassembler.ts";
export { FetchStop, Missed } from "./mmu.ts";
export { KeptEntries, NO_PAGE } from "./kept_entries.ts";
export { Right, Tlb } from "./tlb.ts";
export * from "./instruction.ts";
export * as state from "./state.ts";
export { decode } from "./decoder.ts";
export { opcodeTable } from "./opcodes/table.ts";
export { flagEffects } from "./opcodes/flag_effects.ts";

export default definePlugin({
  name: "x86",
  summary: "IA-32 processor: decoder, MMU, interpreter",
  tier: "base",
  requires: ["memory"],
  options: z.strictObject({}),
  setup({ on, port, service, provide, perVm, stats }) {
    const machine = service(memory.machine), guestMemory = service(memory.guest);
    const controllers = new WeakMap<Vm, InterruptController>();
    const processors: Processor[] = [];
    const cpuid = port(services.cpuid), readMsr = port(services.readMsr), writeMsr = port(services.writeMsr);
    const trapped = port(services.trapped);
    const hooks: Hooks = {
      cpuid: (vm, leaf, subleaf) => cpuid.fold(describedCpuid(leaf), { vm, leaf, subleaf }),
      readMsr: (question) => readMsr.ask(question),
      writeMsr: (question) => writeMsr.ask(question),
      trapped,
      delivered: port(services.delivered),
      accessed: port(services.accessed),
      translated: port(services.translated),
    };
    const code = new CodeFrames(
      machine.totalFrames,
      (mpn) => processors.forEach((cpu) => cpu.mmu.data.dropWriteTags(mpn)),
      () => processors.forEach((cpu) => cpu.endBlock()),
    );
    const blocks = new BlockCache(machine.bytes, code);
    const processorOf = perVm((vm) => {
      const makeMmu = (cpu: Processor) => new Mmu(cpu, vm, machine, guestMemory(vm), code);
      const cpu = new Processor(vm, makeMmu, new IoSpace(trapped), new Fpu(), hooks);
      cpu.reset(describedCpuid(1).eax);
      processors.push(cpu);
      return cpu;
    });

    on(memory.mappingChanged, ({ vm, ppn }) => processorOf(vm)?.mmu.dropPpn(ppn));
    on(memory.written, ({ mpn }) => code.frameChanged(mpn));

    const interpreter = new Interpreter(blocks, processorOf);
    provide(services.processor, processorOf);
    provide(services.engine, interpreter);
    provide(services.interpreter, interpreter);
    provide(services.codeFrames, code);
    provide(services.bus, {
      ports: (vm, first, count, name, device) => processorOf(vm).io.claim(first, count, name, device),
      releasePorts: (vm, first, count) => processorOf(vm).io.release(first, count),
      memory: (vm, base, sizeBytes, name, device) => processorOf(vm).mmu.addDevice(base, sizeBytes, name, device),
      releaseMemory: (vm, name) => processorOf(vm).mmu.removeDevice(name),
      interruptController: (vm, controller) => void controllers.set(vm, controller),
      setInterrupt(vm, level) {
        const cpu = processorOf(vm);
        if (level) cpu.r[S.PENDING] |= S.Pending.interrupt;
        else cpu.r[S.PENDING] &= ~S.Pending.interrupt;
        cpu.updateAttention();
        if (cpu.attention !== 0) cpu.endBlock();
      },
      raiseNmi(vm) {
        const cpu = processorOf(vm);
        cpu.r[S.PENDING] |= S.Pending.nmi;
        cpu.updateAttention();
        cpu.endBlock();
      },
      suspend(vm) {
        const cpu = processorOf(vm);
        cpu.r[S.HALTED] = S.SUSPENDED;
        cpu.updateAttention();
        cpu.endBlock();
      },
      resume(vm, address) {
        const cpu = processorOf(vm), interrupt = cpu.r[S.PENDING] & S.Pending.interrupt;
        cpu.reset(describedCpuid(1).eax);
        cpu.enterReal({ cs: address >>> 4, ip: address & 0xf, sp: 0 });
        // The pin's level is the interrupt controller's.
        cpu.r[S.PENDING] = interrupt;
        cpu.updateAttention();
      },
    });
    // The engine in force is looked up at the first turn, when whatever replaces this one is loaded.
    let run: VcpuExecutor | undefined;
    provide(executor, {
      run: (vm) =>
        (run ??= new VcpuExecutor(service(services.engine), processorOf, (vm) => controllers.get(vm))).run(vm),
    });
    stats.gauge("decodedBlocks", "blocks", () => blocks.decoded);
    stats.gauge("invalidatedBlocks", "blocks", () => blocks.invalidations);
  },
});
