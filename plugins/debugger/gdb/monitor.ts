// `monitor ...` commands: what gdb itself has no words for.

import * as x86 from "../../x86/mod.ts";
import type { GdbTarget } from "./session.ts";

interface MonitorCommand {
  readonly usage: string;
  readonly help: string;
  run(target: GdbTarget, argument: string): string;
}

const CODE_LINES = 12;

const commands: Readonly<Record<string, MonitorCommand>> = {
  help: { usage: "help", help: "this list", run: listCommands },
  state: {
    usage: "state",
    help: "registers with hidden parts, code, stack",
    run: ({ cpu, nameOf }) => x86.describeState(cpu, nameOf),
  },
  code: {
    usage: "code",
    help: "instructions from EIP, in the processor's own mode",
    run: ({ cpu, nameOf }) => x86.describeCode(cpu, CODE_LINES, nameOf),
  },
  time: {
    usage: "time",
    help: "steps and guest time",
    run: ({ vm }) => `${vm.clock.steps} steps, ${vm.clock.nowNs()} ns`,
  },
  translate: {
    usage: "translate ADDRESS",
    help: "guest-physical address of a linear one",
    run({ cpu }, argument) {
      const linear = parseNumber(argument);
      if (linear === undefined) return "expected an address such as 0xc0100000";
      const physical = cpu.mmu.probe(linear);
      return physical === undefined ? "not mapped" : `0x${physical.toString(16)}`;
    },
  },
  name: {
    usage: "name ADDRESS",
    help: "symbol at or before an address",
    run({ nameOf }, argument) {
      const address = parseNumber(argument);
      return address === undefined ? "expected an address such as 0xc0100000" : nameOf(address) ?? "no symbol";
    },
  },
  address: {
    usage: "address SYMBOL",
    help: "address of a symbol",
    run({ addressOf }, argument) {
      const address = addressOf(argument);
      return address === undefined ? `no symbol ${argument}` : `0x${address.toString(16)}`;
    },
  },
};

/** The answer to a command, lines ended. */
export function answerMonitor(text: string, target: GdbTarget): string {
  const [name = "", argument = ""] = text.trim().split(/\s+/);
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) return `unknown command "${name}"; monitor help lists them\n`;
  return `${command.run(target, argument)}\n`;
}

function listCommands(): string {
  return Object.values(commands).map(({ usage, help }) => `${usage.padEnd(20)} ${help}`).join("\n");
}

function parseNumber(text: string): number | undefined {
  const digits = /^0x([0-9a-f]{1,8})$/i.exec(text)?.[1];
  return digits === undefined ? undefined : parseInt(digits, 16);
}
