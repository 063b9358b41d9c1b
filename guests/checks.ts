// Self-checks that guests share: a value is compared with what the manual promises and folded into a running checksum; a
// mismatch is printed by name and ends the machine as failed.

import { addr, type Assembler, eax, ebx, esi, esp, mem, mem32 } from "./assembler/mod.ts";
import { fail, print } from "./runtime.ts";

/** The running checksum over all values checked or folded so far. */
export const checksum = mem32(addr("checksum"));

/** Emits the routines that `expectEqual` and `fold` call; once per guest. `guest` names it in messages. */
export function checks(asm: Assembler, guest: string): void {
  asm.section("data", () => asm.align(4).label("checksum").dd(0));
  asm.section("routines", () => {
    // fold: checksum = rotate(checksum, 5) xor eax.
    asm.align(16).label("fold").rol(checksum, 5).xor(checksum, eax).ret();

    // expect: eax is what was found, ebx what was expected, the name of the check is on the stack.
    asm.align(16).label("expect").cmp(eax, ebx).jne("expect.failed").call("fold").ret(4);
    asm.label("expect.failed").push(eax);
    print(asm, `${guest}: `);
    asm.mov(esi, mem(esp, { disp: 8 })).call("printString");
    print(asm, ": found ");
    asm.pop(eax).call("printHex");
    print(asm, ", expected ");
    asm.mov(eax, ebx).call("printHex");
    print(asm, "\n");
    fail(asm);
  });
}

/** Fails the guest unless eax = ebx; `what` names the check. Folds eax into the checksum; keeps all registers. */
export function expectEqual(asm: Assembler, what: string): void {
  const label = asm.uniqueLabel("check");
  asm.section("data", () => asm.label(label).string(what).db(0));
  asm.push(addr(label)).call("expect");
}

/** `expectEqual` with a constant; clobbers ebx. */
export function expectValue(asm: Assembler, value: number, what: string): void {
  asm.mov(ebx, value);
  expectEqual(asm, what);
}
