// A guest's console on standard output, a line at a time and at once: whoever reads it takes the time there. What all
// engines that run in a process of ours share; QEMU writes its console itself.

const NEWLINE = "\n".charCodeAt(0);

/** Takes the console's bytes; writes them whenever a line ends. */
export function consoleOut(): (byte: number) => void {
  let line: number[] = [];
  return (byte) => {
    line.push(byte);
    if (byte !== NEWLINE) return;
    const bytes = Uint8Array.from(line);
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    line = [];
  };
}
