// The keyboard controller, keyboard and mouse against the PS/2 technical reference, and Linux's i8042 probe.

import { assertEquals } from "@std/assert";
import {
  CommandByte,
  KBC_COMMAND,
  KBC_DATA,
  KBC_STATUS,
  KbcCommand,
  KbcStatus,
  KeyboardController,
  SELF_TEST_PASSED,
} from "../../../plugins/pc/devices/keyboard.ts";
import { KeyboardCommand, MouseCommand, Ps2 } from "../../../plugins/pc/devices/ps2.ts";
import { hashOf } from "./harness.ts";

function makeKeyboard() {
  const irqs: number[] = [], level = { 1: false, 12: false };
  let resets = 0;
  const line = (irq: 1 | 12) => (high: boolean) => {
    if (high && !level[irq]) irqs.push(irq);
    level[irq] = high;
  };
  const controller = new KeyboardController(line(1), line(12), () => resets++);
  const command = (value: number, ...parameters: number[]) => {
    controller.writeByte(KBC_COMMAND, value);
    for (const parameter of parameters) controller.writeByte(KBC_DATA, parameter);
  };
  const data = (...values: number[]) => values.forEach((value) => controller.writeByte(KBC_DATA, value));
  const mouse = (...values: number[]) => values.forEach((value) => command(KbcCommand.WRITE_AUX, value));
  const status = () => controller.readByte(KBC_STATUS);
  /** Everything in the output buffer, one byte after another. */
  const drain = () => {
    const bytes: number[] = [];
    while ((status() & KbcStatus.OUTPUT_FULL) !== 0) bytes.push(controller.readByte(KBC_DATA));
    return bytes;
  };
  return { controller, irqs, command, data, mouse, status, drain, resets: () => resets };
}

const { ACK } = Ps2;

Deno.test("Linux's probe: flush, self-test, command byte, aux loop-back with its interrupt, port tests", () => {
  const { command, drain, status, irqs } = makeKeyboard();
  drain();
  command(KbcCommand.SELF_TEST);
  assertEquals(drain(), [SELF_TEST_PASSED]);
  command(KbcCommand.READ_RAM);
  const [byte] = drain();
  const off = (byte | CommandByte.KEYBOARD_DISABLED) & ~CommandByte.KEYBOARD_INTERRUPT;
  command(KbcCommand.WRITE_RAM, off);
  command(KbcCommand.READ_RAM);
  assertEquals(drain(), [off]);
  for (const loop of [0x5a, 0xa5]) {
    command(KbcCommand.WRITE_AUX_OUTPUT, loop);
    assertEquals(status() & KbcStatus.AUX_OUTPUT_FULL, KbcStatus.AUX_OUTPUT_FULL);
    assertEquals(drain(), [loop]);
  }
  for (const [change, disabled] of [[KbcCommand.DISABLE_AUX, CommandByte.AUX_DISABLED], [KbcCommand.ENABLE_AUX, 0]]) {
    command(change);
    command(KbcCommand.READ_RAM);
    assertEquals(drain()[0] & CommandByte.AUX_DISABLED, disabled);
  }
  irqs.length = 0;
  command(KbcCommand.WRITE_RAM, off | CommandByte.AUX_INTERRUPT);
  command(KbcCommand.WRITE_AUX_OUTPUT, 0xa5);
  assertEquals(irqs, [12]);
  drain();
  command(KbcCommand.TEST_KEYBOARD);
  command(KbcCommand.TEST_AUX);
  assertEquals(drain(), [0, 0]);
});

Deno.test("keyboard commands are answered", () => {
  const untranslated = CommandByte.KEYBOARD_INTERRUPT;
  const cases: readonly [name: string, sent: number[], answer: number[]][] = [
    ["reset", [Ps2.RESET], [ACK, Ps2.SELF_TEST_PASSED]],
    ["identify", [Ps2.IDENTIFY], [ACK, 0xab, 0x83]],
    ["LEDs", [KeyboardCommand.SET_LEDS, 0x07], [ACK, ACK]],
    ["echo", [KeyboardCommand.ECHO], [KeyboardCommand.ECHO]],
    ["typematic rate", [Ps2.SET_RATE, 0x20], [ACK, ACK]],
    ["enable, disable, defaults", [Ps2.ENABLE], [ACK]],
    ["scan code set", [KeyboardCommand.SCAN_CODE_SET, 3, KeyboardCommand.SCAN_CODE_SET, 0], [ACK, ACK, ACK, ACK, 3]],
    ["all keys' type", [0xf8], [ACK]],
    ["one key's type", [0xfc, 0x1c], [ACK, ACK]],
    ["resend", [KeyboardCommand.ECHO], [KeyboardCommand.ECHO]],
    ["a command in place of a parameter", [KeyboardCommand.SET_LEDS, Ps2.IDENTIFY], [ACK, ACK, 0xab, 0x83]],
    ["unknown", [0xef], [Ps2.RESEND]],
  ];
  for (const [name, sent, answer] of cases) {
    const { command, data, drain } = makeKeyboard();
    command(KbcCommand.WRITE_RAM, untranslated);
    data(...sent);
    assertEquals(drain(), answer, name);
  }
});

Deno.test("mouse commands are answered through the auxiliary port with IRQ12", () => {
  const cases: readonly [name: string, sent: number[], answer: number[]][] = [
    ["reset", [Ps2.RESET], [ACK, Ps2.SELF_TEST_PASSED, 0]],
    ["identify", [Ps2.IDENTIFY], [ACK, 0]],
    ["rate and status", [Ps2.SET_RATE, 40, Ps2.ENABLE, MouseCommand.STATUS], [ACK, ACK, ACK, ACK, 0x20, 2, 40]],
    ["resolution", [MouseCommand.SET_RESOLUTION, 3, MouseCommand.STATUS], [ACK, ACK, ACK, 0, 3, 100]],
    ["scaling", [MouseCommand.SCALING_2_1, MouseCommand.STATUS], [ACK, ACK, 0x10, 2, 100]],
    ["read data", [MouseCommand.READ_DATA], [ACK, 0x08, 0, 0]],
    ["wrap", [MouseCommand.WRAP, 0x12, MouseCommand.END_WRAP], [ACK, 0x12, ACK]],
    ["unknown", [0x55], [Ps2.RESEND]],
  ];
  for (const [name, sent, answer] of cases) {
    const { command, mouse, drain, irqs, status } = makeKeyboard();
    command(KbcCommand.WRITE_RAM, CommandByte.AUX_INTERRUPT);
    mouse(...sent);
    assertEquals(status() & KbcStatus.AUX_OUTPUT_FULL, KbcStatus.AUX_OUTPUT_FULL, name);
    assertEquals(drain(), answer, name);
    assertEquals(irqs, answer.map(() => 12), name);
  }
});

Deno.test("typed scan codes interrupt one by one, in set 2 or translated to set 1", () => {
  const enter = [0x5a, 0xf0, 0x5a], right = [0xe0, 0x74, 0xe0, 0xf0, 0x74];
  const cases: readonly [translate: number, codes: number[], seen: number[]][] = [
    [0, enter, enter],
    [CommandByte.TRANSLATE, enter, [0x1c, 0x9c]],
    [CommandByte.TRANSLATE, right, [0xe0, 0x4d, 0xe0, 0xcd]],
    [CommandByte.TRANSLATE, [0x83], [0x41]],
  ];
  for (const [translate, codes, seen] of cases) {
    const { controller, command, drain, irqs } = makeKeyboard();
    command(KbcCommand.WRITE_RAM, CommandByte.KEYBOARD_INTERRUPT | translate);
    assertEquals(controller.typeScancodes(codes), true);
    assertEquals([irqs.length, drain()], [1, seen]);
    // A code that the translation swallows interrupts no one.
    assertEquals(irqs.length, seen.length);
  }
});

Deno.test("a keyboard that is disabled or full takes no keys", () => {
  const { controller, data, drain } = makeKeyboard();
  data(Ps2.DISABLE);
  drain();
  assertEquals(controller.typeScancodes([0x1c]), false);
  data(Ps2.ENABLE);
  drain();
  let typed = 0;
  while (controller.typeScancodes([0x1c]) && typed < 100) typed++;
  assertEquals(typed, 17, "sixteen in the keyboard, one in the output buffer");
});

Deno.test("a disabled interface holds its bytes back until it is enabled", () => {
  const { controller, command, status, drain } = makeKeyboard();
  command(KbcCommand.DISABLE_KEYBOARD);
  controller.typeScancodes([0x1c]);
  assertEquals(status() & KbcStatus.OUTPUT_FULL, 0);
  command(KbcCommand.ENABLE_KEYBOARD);
  assertEquals(drain(), [0x1e]);
});

Deno.test("the reset line: pulsed by FEh or written low, and by nothing else", () => {
  const cases: readonly [name: string, run: (kbc: ReturnType<typeof makeKeyboard>) => void, resets: number][] = [
    ["pulse reset", ({ command }) => command(0xfe), 1],
    ["pulse nothing", ({ command }) => command(0xff), 0],
    ["output port with reset low", ({ command }) => command(KbcCommand.WRITE_OUTPUT_PORT, 0xde), 1],
    ["output port with A20 low", ({ command }) => command(KbcCommand.WRITE_OUTPUT_PORT, 0xdd), 0],
  ];
  for (const [name, run, resets] of cases) {
    const kbc = makeKeyboard();
    run(kbc);
    assertEquals(kbc.resets(), resets, name);
  }
});

Deno.test("A20 reads as on in the output port, whatever was written", () => {
  const { command, drain } = makeKeyboard();
  command(KbcCommand.WRITE_OUTPUT_PORT, 0x01);
  command(KbcCommand.READ_OUTPUT_PORT);
  assertEquals(drain()[0] & 0x03, 0x03);
});

Deno.test("controller RAM keeps what is written", () => {
  const { command, drain } = makeKeyboard();
  command(KbcCommand.WRITE_RAM + 0x1f, 0x77);
  command(KbcCommand.READ_RAM + 0x1f);
  assertEquals(drain(), [0x77]);
});

Deno.test("a guest that never reads makes nothing grow", () => {
  const { controller, command, data, mouse } = makeKeyboard();
  for (let i = 0; i < 1000; i++) {
    command(KbcCommand.SELF_TEST);
    data(Ps2.IDENTIFY);
    mouse(Ps2.IDENTIFY);
  }
  const size = JSON.stringify(controller.save()).length;
  for (let i = 0; i < 1000; i++) {
    command(KbcCommand.SELF_TEST);
    data(Ps2.IDENTIFY);
    mouse(Ps2.IDENTIFY);
  }
  assertEquals(JSON.stringify(controller.save()).length, size);
});

Deno.test("a restored controller goes on as the saved one", () => {
  const a = makeKeyboard(), b = makeKeyboard();
  a.command(KbcCommand.ENABLE_AUX);
  a.data(Ps2.RESET, KeyboardCommand.SET_LEDS);
  a.mouse(Ps2.RESET, Ps2.SET_RATE);
  a.command(KbcCommand.WRITE_AUX);
  b.controller.restore(a.controller.save());
  const go = ({ data, drain }: typeof a) => {
    data(60);
    return drain();
  };
  assertEquals(go(b), go(a));
  assertEquals(hashOf(b.controller), hashOf(a.controller));
});
