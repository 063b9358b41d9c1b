// Tokens: the typed names of events and services. An event token carries its kind, so that the compiler rejects a
// listener that answers where none is asked, and a policy question is answered by exactly one rule.

/** Told, cannot answer. */
export interface ObserveToken<E> {
  readonly kind: "observe";
  readonly name: string;
  /** Carries the type only. */
  readonly types?: (event: E) => void;
}

/** First defined answer wins, in listening order. */
export interface DecideToken<Q, A> {
  readonly kind: "decide";
  readonly name: string;
  readonly types?: (question: Q) => A;
}

/** A value passes through every listener, with a context beside it. */
export interface ReduceToken<V, C> {
  readonly kind: "reduce";
  readonly name: string;
  readonly types?: (value: V, context: C) => V;
}

// deno-lint-ignore no-explicit-any -- the union of all tokens, whatever they carry
export type EventToken = ObserveToken<any> | DecideToken<any, any> | ReduceToken<any, any>;

/** A service that one plugin provides and others use. */
export interface ServiceToken<T> {
  readonly kind: "service";
  readonly name: string;
  readonly types?: (service: T) => T;
}

/** Declares an event that listeners are told of. `name` is `owner.event`. */
export function observe<E>(name: string): ObserveToken<E> {
  return { kind: "observe", name };
}

/** Declares a question: the first listener that returns a defined value answers it. */
export function decide<Q, A>(name: string): DecideToken<Q, A> {
  return { kind: "decide", name };
}

/** Declares a value that each listener may replace. */
export function reduce<V, C = void>(name: string): ReduceToken<V, C> {
  return { kind: "reduce", name };
}

/** Declares a service. `name` is `owner.service`. */
export function service<T>(name: string): ServiceToken<T> {
  return { kind: "service", name };
}
