// The swap file on disk: pages by slot number, in a real file that is made when the first page is written. Failures of the
// disk can be injected, for tests and experiments.

import { InputError } from "../../core/mod.ts";
import { PAGE_SIZE } from "../memory/mod.ts";

/** Slots of one page each. Both functions throw what the host's file system throws. */
export interface Store {
  write(slot: number, contents: Uint8Array): void;
  read(slot: number, target: Uint8Array): void;
  /** Lets go of the file and what it takes on the disk; the next write makes it anew. */
  close(): void;
}

/** A file of pages: `path`, or a temporary file that nobody else can see. */
export class FileStore implements Store {
  #file: Deno.FsFile | undefined;

  constructor(readonly path?: string) {}

  write(slot: number, contents: Uint8Array): void {
    const file = this.#file ??= this.#create();
    file.seekSync(slot * PAGE_SIZE, Deno.SeekMode.Start);
    for (let done = 0; done < contents.length;) done += file.writeSync(contents.subarray(done));
  }

  read(slot: number, target: Uint8Array): void {
    const file = this.#file;
    if (file === undefined) throw new Error("nothing was written to it yet");
    file.seekSync(slot * PAGE_SIZE, Deno.SeekMode.Start);
    for (let done = 0; done < target.length;) {
      const count = file.readSync(target.subarray(done));
      if (count === null) throw new Error(`it ends within slot ${slot}`);
      done += count;
    }
  }

  close(): void {
    this.#file?.truncateSync(0);
    this.#file?.close();
    this.#file = undefined;
  }

  #create(): Deno.FsFile {
    const path = this.path ?? Deno.makeTempFileSync({ prefix: "ballast-", suffix: ".swap" });
    let file: Deno.FsFile;
    try {
      // Guests' memory is nobody else's to read.
      file = Deno.openSync(path, { read: true, write: true, create: true, truncate: true, mode: OWNER_ONLY });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new InputError(`${path} cannot be opened: ${reason}`, { cause });
    }
    // A file without a name goes away with the process, however that ends; Windows does not let go of a name in use.
    if (this.path === undefined && Deno.build.os !== "windows") Deno.removeSync(path);
    return file;
  }
}

/** Permissions of a swap file that is made: to read and to write, for the owner. */
const OWNER_ONLY = 0o600;

/** A failure of the disk: every `write`, every `read`, writes as on a `full` disk, or writes that silently keep half a page. */
export const faultKinds = ["write", "read", "full", "torn"] as const;
export type FaultKind = (typeof faultKinds)[number];

/** When the disk fails: after so many pages written, for so many attempts. */
export interface Fault {
  readonly kind: FaultKind;
  readonly afterPages: number;
  readonly attempts: number;
}

/** A disk that works until it fails as it is told to. */
export class FaultyStore implements Store {
  #written = 0;
  #failed = 0;

  constructor(readonly store: Store, readonly fault: Fault) {}

  write(slot: number, contents: Uint8Array): void {
    const { kind } = this.fault;
    if (kind !== "read" && this.#isDue()) {
      this.#failed++;
      this.store.write(slot, contents.subarray(0, PAGE_SIZE / 2));
      if (kind === "torn") return;
      throw new Error(kind === "full" ? "no space left on device (injected)" : "input/output error (injected)");
    }
    this.store.write(slot, contents);
    this.#written++;
  }

  read(slot: number, target: Uint8Array): void {
    if (this.fault.kind === "read" && this.#isDue()) {
      this.#failed++;
      throw new Error("input/output error (injected)");
    }
    this.store.read(slot, target);
  }

  close(): void {
    this.store.close();
  }

  #isDue(): boolean {
    return this.#written >= this.fault.afterPages && this.#failed < this.fault.attempts;
  }
}
