// The event bus. Listeners are compiled, whenever they change, into one straight-line function per token, so that an
// event costs a call per listener and nothing when nobody listens. The data path (an instruction, a memory access)
// never comes here.

import { VmFailure } from "./error.ts";
import type { DecideToken, EventToken, ObserveToken, ReduceToken } from "./token.ts";

/** Emitting end of an observe token. Test `active` first where building the event costs something. */
export interface ObservePort<E> {
  readonly active: boolean;
  readonly emit: (event: E) => void;
}

/** Asking end of a decide token. */
export interface DecidePort<Q, A> {
  readonly active: boolean;
  readonly ask: (question: Q) => A | undefined;
}

/** Folding end of a reduce token. */
export interface ReducePort<V, C> {
  readonly active: boolean;
  readonly fold: (value: V, context: C) => V;
}

/** A listener of any token; the typed `on` guards what reaches it. */
export type Listener = (value: never, context: never) => unknown;

/**
 * What a plugin's listener threw: names the plugin and the event, keeps the cause. Of an event in a VM's own turn it ends that
 * VM, which alone was in the middle of something; of any other it ends the run.
 */
export class ListenerError extends VmFailure {
  override name = "ListenerError";
  override readonly status = 70;
  constructor(readonly plugin: string, readonly event: string, override readonly cause: unknown) {
    super(`plugin "${plugin}" failed in its listener of ${event}: ${cause instanceof Error ? cause.message : cause}`);
  }
}

interface Subscription {
  readonly plugin: string;
  readonly listener: Listener;
  readonly order: number;
}

type Dispatch = (value: unknown, context?: unknown) => unknown;

/** All three kinds of port in one object: a token's kind says which of its functions is used. */
class Port {
  active = false;
  subscriptions: Subscription[] = [];
  emit: Dispatch = nothing;
  ask: Dispatch = nothing;
  fold: Dispatch = unchanged;
  constructor(readonly token: EventToken) {}

  compile(): void {
    this.active = this.subscriptions.length > 0;
    const dispatch = this.active ? compile(this.token, this.subscriptions) : undefined;
    this.emit = this.ask = dispatch ?? nothing;
    this.fold = dispatch ?? unchanged;
  }
}

const nothing: Dispatch = () => undefined;
const unchanged: Dispatch = (value) => value;

/** Source of one call in a compiled dispatcher, per kind of token. */
const callSource: Record<EventToken["kind"], (listener: string) => string> = {
  observe: (listener) => `${listener}(value);`,
  decide: (listener) => `answer = ${listener}(value); if (answer !== undefined) return answer;`,
  reduce: (listener) => `value = ${listener}(value, context);`,
};

function compile(token: EventToken, subscriptions: readonly Subscription[]): Dispatch {
  const names = subscriptions.map((_, i) => `listener${i}`);
  const calls = names.map((name, i) => `at = ${i}; ${callSource[token.kind](name)}`).join("\n");
  const build = new Function(
    ...names,
    "failed",
    `return function dispatch(value, context) { let at = 0, answer;
      try { ${calls} } catch (cause) { throw failed(at, cause); }
      return ${token.kind === "reduce" ? "value" : "undefined"}; };`,
  );
  const failed = (at: number, cause: unknown) =>
    cause instanceof VmFailure ? cause : new ListenerError(subscriptions[at].plugin, token.name, cause);
  return build(...subscriptions.map((s) => s.listener), failed) as Dispatch;
}

/** One per host. */
export class Bus {
  readonly #ports = new Map<string, Port>();

  /** The sending end of a token: stable, so that mechanisms look it up once. */
  port<E>(token: ObserveToken<E>): ObservePort<E>;
  port<Q, A>(token: DecideToken<Q, A>): DecidePort<Q, A>;
  port<V, C>(token: ReduceToken<V, C>): ReducePort<V, C>;
  port(token: EventToken): unknown {
    return this.#port(token);
  }

  /** Adds a listener; lower `order` is called first, equal orders in the order of subscription. Returns its removal. */
  on(token: EventToken, plugin: string, listener: Listener, order = 0): () => void {
    const port = this.#port(token);
    const subscription = { plugin, listener, order };
    const at = port.subscriptions.findIndex((other) => other.order > order);
    port.subscriptions = port.subscriptions.toSpliced(at < 0 ? port.subscriptions.length : at, 0, subscription);
    port.compile();
    return () => {
      port.subscriptions = port.subscriptions.filter((other) => other !== subscription);
      port.compile();
    };
  }

  /** Every token that anybody has named so far, with its listeners' plugins in calling order. */
  tokens(): { token: EventToken; listeners: string[] }[] {
    return [...this.#ports.values()].map(({ token, subscriptions }) => ({
      token,
      listeners: subscriptions.map((s) => s.plugin),
    }));
  }

  #port(token: EventToken): Port {
    let port = this.#ports.get(token.name);
    if (port === undefined) this.#ports.set(token.name, port = new Port(token));
    if (port.token.kind !== token.kind) {
      throw new Error(`event ${token.name} is declared as ${port.token.kind} and as ${token.kind}; rename one`);
    }
    return port;
  }
}
