// The microkernel: events and services, plugins, whose turn it is, what time it is. It knows no processor, no device and
// no memory policy.

export * from "./bus.ts";
export * from "./clock.ts";
export * from "./error.ts";
export * from "./host.ts";
export * from "./lifecycle.ts";
export * from "./plugin.ts";
export * from "./random.ts";
export * from "./scheduler.ts";
export * from "./state.ts";
export * from "./stats.ts";
export * from "./token.ts";
export * from "./vm.ts";
export { z } from "zod";
