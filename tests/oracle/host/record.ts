// Records what this machine's processor does with the cases of the host oracle, or shows a case. It needs Linux, gcc and the
// 32-bit C library (Debian: gcc-multilib); run.c says how a case is executed and what a digest covers.
//
//   deno run --allow-read --allow-write --allow-run tests/oracle/host/record.ts            writes tests/fixtures/host
//   deno run --allow-read --allow-write --allow-run tests/oracle/host/record.ts KEY INDEX  shows a case and the host's answer
//
// A form's cases follow from its key alone, so that new rows of the opcode table leave the others' digests as they are.

import { forEachCase } from "./cases.ts";
import { writeDigests } from "./digests.ts";
import { type Form, forms, statusMaskOf } from "./forms.ts";
import { type Case, describeCase, MOST_PATCH_BYTES } from "./state.ts";

/** The layout of a case in run.c. */
const HEADER_BYTES = 8, CODE_BYTES = 16;
const RECORD_BYTES = HEADER_BYTES + CODE_BYTES + 4 * (8 + 1 + 27 + 1 + 32) + MOST_PATCH_BYTES;
const KINDS = { integer: 0, x87: 1, simd: 2 } as const;

function writeRecord(view: DataView, form: Form, start: Case): void {
  view.setUint8(0, KINDS[form.kind]);
  view.setUint8(1, start.length);
  view.setUint16(2, statusMaskOf(form), true);
  view.setUint16(4, start.patchOffset, true);
  view.setUint16(6, start.patchBytes, true);
  let at = HEADER_BYTES;
  for (let i = 0; i < CODE_BYTES; i++) view.setUint8(at++, start.code[i]);
  for (const words of [start.registers, [start.flags], start.fpu, [start.mxcsr], start.xmm]) {
    for (const word of words) {
      view.setInt32(at, word, true);
      at += 4;
    }
  }
  for (let i = 0; i < MOST_PATCH_BYTES; i++) view.setUint8(at++, start.patch.getUint8(i));
}

function recordsOf(form: Form, only?: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(RECORD_BYTES * (only === undefined ? form.cases : 1));
  forEachCase(form, (start, index) => {
    if (only !== undefined && index !== only) return;
    writeRecord(new DataView(bytes.buffer, only === undefined ? index * RECORD_BYTES : 0), form, start);
    if (only !== undefined) console.log(describeCase(start, form.kind));
  });
  return bytes;
}

async function output(program: string, args: string[], input?: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const child = new Deno.Command(program, { args, stdin: input ? "piped" : "null", stdout: "piped" }).spawn();
  if (input) {
    const writer = child.stdin.getWriter();
    await writer.write(input);
    await writer.close();
  }
  const { success, code, stdout } = await child.output();
  if (!success) throw new Error(`${program} ${args.join(" ")} failed with status ${code}`);
  return stdout;
}

const folder = await Deno.makeTempDir();
try {
  const program = `${folder}/run`, source = new URL("run.c", import.meta.url).pathname;
  const flags = "-m32 -O1 -fno-pie -no-pie -fno-stack-protector -z noexecstack".split(" ");
  await output("gcc", [...flags, source, "-o", program]);
  const [key, index] = Deno.args;
  if (key !== undefined) {
    const form = forms.find((one) => one.key === key);
    if (form === undefined || index === undefined) {
      throw new Error(`expected a form's key and a case's number, not ${key}`);
    }
    console.log(new TextDecoder().decode(await output(program, ["-v"], recordsOf(form, Number(index)))));
  } else {
    const digests = new Map<string, Uint32Array>();
    for (const form of forms) {
      const bytes = await output(program, [], recordsOf(form));
      digests.set(form.key, new Uint32Array(bytes.slice().buffer));
    }
    await writeDigests(digests);
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
