// What a guest has flushed to its virtio disk is in the image, whatever becomes of the host: Linux writes records with
// checksums and says when each is flushed, the host's process is killed at random moments, and the next boot goes on.

import { createHash } from "node:crypto";
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { Random } from "../../core/mod.ts";
import { defaultAppend, picOnlyAppend, type PreparedLinux, prepareLinux } from "../../guests/linux/mod.ts";
import { inTemporaryFolder } from "../cli/command.ts";
import { cacheDir, linuxTest } from "./prepared.ts";

const RECORD_BYTES = 8192, BODY_BYTES = 8000, RECORDS = 2000;
const KILLS = 2, SEED = "disk-kill";
/** A kill comes this many flushed records and then milliseconds after the boot's first, drawn anew each time. */
const MOST_RECORDS_BEFORE_KILL = 10, MOST_DELAY_MS = 500;
/** A guest that has not been killed by then never began to write. */
const PATIENCE_STEPS = 15e9;

/**
 * Counts the good records that it finds, then goes on writing where they end. A record is its number and the checksum of
 * its body in a line, the body, and zeros.
 */
const WRITER = `
n=0
while dd if=/dev/vda of=/record bs=${RECORD_BYTES} skip=$n count=1 2>/dev/null; do
  { read -r number sum; actual=$(head -c ${BODY_BYTES} | md5sum); } < /record
  [ "$number $sum  -" = "$n $actual" ] || break
  n=$((n + 1))
done
echo "found $n"
while [ $n -lt ${RECORDS} ]; do
  seq $((n * 1000)) $((n * 1000 + 2000)) | head -c ${BODY_BYTES} > /body
  set -- $(md5sum < /body)
  { echo "$n $1"; cat /body; } > /record
  dd if=/record of=/dev/vda bs=${RECORD_BYTES} seek=$n conv=sync,notrunc,fsync 2>/dev/null && echo "flushed $n"
  n=$((n + 1))
done
`;

linuxTest("what Linux flushed to a virtio disk survives the host's death at any moment", async () => {
  const linux = await prepareLinux({
    cacheDir,
    modules: ["virtio_pci", "virtio_blk"],
    extraFiles: new Map([["/writer.sh", new TextEncoder().encode(WRITER)]]),
    log: () => {},
  });
  const random = new Random(SEED);
  await inTemporaryFolder(async (folder) => {
    const image = `${folder}/disk.img`;
    await Deno.writeFile(image, new Uint8Array(RECORDS * RECORD_BYTES));
    let flushed = -1;
    for (let kill = 0; kill < KILLS; kill++) {
      const records = 1 + random.below(MOST_RECORDS_BEFORE_KILL), delayMs = random.below(MOST_DELAY_MS);
      const when = `kill ${kill}, ${records} records and ${delayMs} ms after the writing began`;
      const shown = await runAndKill(linux, image, { records, delayMs });
      const found = numbersAfter("found", shown), written = numbersAfter("flushed", shown);
      assert(found[0] > flushed, `${when}: after ${flushed} were flushed, the guest finds ${found[0]} records`);
      assert(written.length >= records, `${when}: the guest ended before it was killed:\n${shown.slice(-1000)}`);
      assertEquals(written, written.map((_, i) => found[0] + i), when);
      flushed = written[written.length - 1];
      await checkRecords(image, flushed, when);
    }
  });
});

/** Boots a guest that writes to the image, kills its host, and returns what the console had shown. */
async function runAndKill(
  { kernel, initrd }: PreparedLinux,
  image: string,
  { records, delayMs }: { readonly records: number; readonly delayMs: number },
): Promise<string> {
  const append = `${defaultAppend} ${picOnlyAppend} quiet ballast.run=/writer.sh`;
  const program = fromFileUrl(new URL("../../mod.ts", import.meta.url));
  const options = [
    "--kernel",
    kernel,
    "--initrd",
    initrd,
    "--append",
    append,
    "--disk",
    image,
    "--max-instructions",
    String(PATIENCE_STEPS),
  ];
  const host = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-read", `--allow-write=${image}`, program, "run", ...options],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let shown = "", delay: ReturnType<typeof setTimeout> | undefined;
  for await (const text of host.stdout.pipeThrough(new TextDecoderStream())) {
    shown += text;
    if (delay === undefined && numbersAfter("flushed", shown).length >= records) {
      delay = setTimeout(() => host.kill("SIGKILL"), delayMs);
    }
  }
  clearTimeout(delay);
  const { signal } = await host.status;
  assertEquals(signal, "SIGKILL", shown.slice(-1000));
  return shown;
}

/** The numbers of whole lines `WORD NUMBER`. */
function numbersAfter(word: string, shown: string): number[] {
  return [...shown.matchAll(new RegExp(`^${word} (\\d+)\\r?\\n`, "gm"))].map(([, number]) => Number(number));
}

/** Throws unless the image holds every record up to `last`, each with its number, checksum and body. */
async function checkRecords(image: string, last: number, when: string): Promise<void> {
  const bytes = await Deno.readFile(image);
  for (let n = 0; n <= last; n++) {
    const record = bytes.subarray(n * RECORD_BYTES, (n + 1) * RECORD_BYTES);
    const bodyAt = record.indexOf("\n".charCodeAt(0)) + 1;
    const body = record.subarray(bodyAt, bodyAt + BODY_BYTES);
    const sum = createHash("md5").update(body).digest("hex");
    const what = `${when}: record ${n} of ${last} that were flushed`;
    assertEquals(new TextDecoder().decode(record.subarray(0, bodyAt)), `${n} ${sum}\n`, what);
    assertEquals(new TextDecoder().decode(body.subarray(0, `${n * 1000}\n`.length)), `${n * 1000}\n`, what);
  }
}
