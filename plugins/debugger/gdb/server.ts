// gdb over TCP, on the loopback interface alone: whoever can connect can do anything to the guests. One connection at a time.
// The VMs stop when gdb connects, and run on when it detaches or the connection is lost.

import { encodePacket, PacketReader } from "./packets.ts";
import type { Debugger } from "../services.ts";
import { GdbSession, type GdbTarget } from "./session.ts";

export type { GdbTarget } from "./session.ts";

const LOOPBACK = "127.0.0.1";
const READ_BYTES = 4096;
const ACK = new TextEncoder().encode("+"), NAK = new TextEncoder().encode("-");

export class GdbServer {
  readonly #listener: Deno.TcpListener;
  #connection: Deno.TcpConn | undefined;
  #session: GdbSession | undefined;
  #lastSent: Uint8Array = ACK;
  #writing: Promise<void> = Promise.resolve();

  /** Listens on `port`, 0 for any that is free. Throws what Deno.listen throws. `targets`: a host's VMs, at least one. */
  constructor(readonly targets: readonly GdbTarget[], readonly debug: Debugger, port: number) {
    this.#listener = Deno.listen({ hostname: LOOPBACK, port });
    this.#accept();
  }

  /** The port it listens on. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Tells gdb that a VM stopped. */
  stopped(stop: Parameters<GdbSession["stopped"]>[0]): void {
    this.#session?.stopped(stop);
  }

  /** Tells gdb that a VM ended. */
  exited(): void {
    this.#session?.exited();
  }

  /** Sends what is to be sent, and closes. */
  async close(): Promise<void> {
    this.#listener.close();
    await this.#writing;
    closeQuietly(this.#connection);
  }

  async #accept(): Promise<void> {
    for (;;) {
      let connection: Deno.TcpConn;
      try {
        connection = await this.#listener.accept();
      } catch (cause) {
        // `close` closed the listener.
        if (cause instanceof Deno.errors.BadResource || cause instanceof Deno.errors.Interrupted) return;
        throw cause;
      }
      if (this.#connection === undefined) this.#serve(connection);
      else closeQuietly(connection);
    }
  }

  async #serve(connection: Deno.TcpConn): Promise<void> {
    const { targets, debug } = this;
    this.#connection = connection;
    const first = targets.find(({ vm }) => vm.exit === undefined);
    if (first !== undefined) debug.pause(first.vm);
    const session = new GdbSession(targets, debug, (data) => this.#send(connection, encodePacket(data)));
    this.#session = session;
    const reader = new PacketReader();
    const buffer = new Uint8Array(READ_BYTES);
    try {
      while (!session.isOver) {
        const count = await connection.read(buffer);
        if (count === null) break;
        for (const arrival of reader.feed(buffer.subarray(0, count))) {
          if (arrival.kind === "interrupt") session.interrupt();
          else if (arrival.kind === "nak") this.#write(connection, this.#lastSent);
          else if (arrival.kind === "damaged") this.#write(connection, NAK);
          else if (arrival.kind === "packet") {
            if (session.acknowledges) this.#write(connection, ACK);
            session.handle(arrival.data);
          }
        }
      }
      await this.#writing;
    } catch (cause) {
      // A connection that is lost is a detach.
      if (!isConnectionError(cause)) throw cause;
    } finally {
      session.close();
      this.#session = undefined;
      this.#connection = undefined;
      closeQuietly(connection);
    }
  }

  #send(connection: Deno.TcpConn, packet: Uint8Array): void {
    this.#lastSent = packet;
    this.#write(connection, packet);
  }

  /** Writes follow one another; what cannot be written any more is dropped, as the reader will find out. */
  #write(connection: Deno.TcpConn, bytes: Uint8Array): void {
    this.#writing = this.#writing.then(async () => {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    }).catch((cause) => {
      if (!isConnectionError(cause)) throw cause;
    });
  }
}

function isConnectionError(cause: unknown): boolean {
  return cause instanceof Deno.errors.BadResource || cause instanceof Deno.errors.BrokenPipe ||
    cause instanceof Deno.errors.ConnectionReset || cause instanceof Deno.errors.ConnectionAborted ||
    cause instanceof Deno.errors.Interrupted || cause instanceof Deno.errors.NotConnected;
}

function closeQuietly(connection: Deno.TcpConn | undefined): void {
  try {
    connection?.close();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.BadResource)) throw cause;
  }
}
