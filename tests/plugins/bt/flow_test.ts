// Structured control flow, on random graphs: what flow.ts promises of every graph is checked against a walk over all ways, or
// edge by edge.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Component, findFlow, type Flow, type Graph, type Loop, unitsOf } from "../../../plugins/bt/flow.ts";

const RUNS = 400;
/** More units than a WebAssembly function of ours ever nests loops, few enough to walk over all ways. */
const MOST_UNITS = 12, MOST_UNIT_STEPS = 12;

interface Case {
  readonly graph: Graph;
  readonly mostSteps: number;
}

/** A graph whose units can all be reached from the first, which is an entry, or from another entry. */
const cases: fc.Arbitrary<Case> = fc.integer({ min: 1, max: MOST_UNITS }).chain((count) => {
  const unit = fc.integer({ min: 0, max: count - 1 });
  const perUnit = <T>(value: fc.Arbitrary<T>) => fc.array(value, { minLength: count, maxLength: count });
  return fc.record({
    edges: perUnit(fc.uniqueArray(unit, { maxLength: 2 })),
    steps: perUnit(fc.integer({ min: 1, max: MOST_UNIT_STEPS })),
    elastic: perUnit(fc.boolean()),
    hasElastic: fc.boolean(),
    others: fc.array(unit, { maxLength: 3 }),
    mostSteps: fc.integer({ min: MOST_UNIT_STEPS, max: 60 }),
  }).map(({ edges, steps, elastic, hasElastic, others, mostSteps }): Case => {
    const entries = [...new Set([0, ...others])];
    const reached = new Set(entries);
    for (const from of reached) for (const to of edges[from]) reached.add(to);
    // What cannot be reached is entered from outside.
    for (let lost = 0; lost < count; lost++) {
      if (reached.has(lost)) continue;
      entries.push(lost);
      reached.add(lost);
      for (const from of reached) for (const to of edges[from]) reached.add(to);
    }
    return {
      mostSteps,
      graph: {
        count,
        entries,
        successors: (unit) => edges[unit],
        steps: (unit) => steps[unit],
        likeliestHead: (units) => Math.min(...units),
        isElastic: (unit) => hasElastic && elastic[unit],
      },
    };
  });
});

function holds(what: string, check: (graph: Graph, flow: Flow, mostSteps: number) => void): void {
  Deno.test(`control flow: ${what}`, () => {
    const property = fc.property(cases, ({ graph, mostSteps }) => check(graph, findFlow(graph, mostSteps), mostSteps));
    fc.assert(property, { numRuns: RUNS });
  });
}

holds("every unit has one place", ({ count }, { components }) => {
  assertEquals(unitsOf(components).toSorted((a, b) => a - b), Array.from({ length: count }, (_, unit) => unit));
});

holds("every edge leads forward, or back to a head of a loop around it", (graph, { components }) => {
  const order = placesOf(components), around = loopsAround(components);
  for (const [from, to] of edgesOf(graph)) {
    const isBack = (around.get(from) ?? []).some(({ heads }) => heads.includes(to));
    assert(isBack || placeOf(order, to) > placeOf(order, from), `${from} to ${to}`);
  }
});

holds(
  "a loop is entered at its heads, and from outside the region at what it says as well",
  (graph, { components }) => {
    const around = loopsAround(components);
    for (const loop of allLoops(components)) {
      const members = new Set(unitsOf(loop.body));
      for (const [from, to] of edgesOf(graph)) {
        if (members.has(to) && !members.has(from)) assert(loop.heads.includes(to), `${from} to ${to}`);
      }
      const others = graph.entries.filter((unit) => members.has(unit) && !loop.heads.includes(unit));
      assertEquals(new Set(loop.entered), new Set([...loop.heads.slice(1), ...others]));
      for (const head of loop.heads) assert(around.get(head)?.includes(loop));
    }
  },
);

holds("a loop begins with its first head, and holds an edge back to one of its heads", (graph, { components }) => {
  for (const { heads, body } of allLoops(components)) {
    const members = unitsOf(body);
    assertEquals(members[0], heads[0]);
    assert(edgesOf(graph).some(([from, to]) => members.includes(from) && heads.includes(to)));
  }
});

holds("the budget is looked at in every cycle", (graph, { checkpoints }) => {
  const states = new Map<number, "open" | "done">();
  const visit = (unit: number): void => {
    states.set(unit, "open");
    for (const next of graph.successors(unit)) {
      if (checkpoints.has(next)) continue;
      assert(states.get(next) !== "open", `a cycle through ${next}`);
      if (!states.has(next)) visit(next);
    }
    states.set(unit, "done");
  };
  for (let unit = 0; unit < graph.count; unit++) if (!states.has(unit)) visit(unit);
});

holds("the budget is looked at after a unit that may take more steps than it has", (graph, { checkpoints }) => {
  for (const [from, to] of edgesOf(graph)) if (graph.isElastic(from)) assert(checkpoints.has(to), `${from} to ${to}`);
});

holds("the longest ways are those that a walk over all ways finds, and none is too long", (graph, flow, mostSteps) => {
  const walk = (unit: number): number => {
    const next = graph.successors(unit).filter((to) => !flow.checkpoints.has(to));
    return graph.steps(unit) + Math.max(0, ...next.map(walk));
  };
  for (let unit = 0; unit < graph.count; unit++) {
    assertEquals(flow.longest[unit], walk(unit), `from ${unit}`);
    assert(flow.longest[unit] <= mostSteps, `from ${unit}: ${flow.longest[unit]} steps`);
  }
});

holds("predecessors are counted edge by edge", (graph, { predecessors }) => {
  for (let unit = 0; unit < graph.count; unit++) {
    assertEquals(predecessors[unit], edgesOf(graph).filter(([, to]) => to === unit).length);
  }
});

Deno.test("control flow: of a line of units there is no loop, and nothing to look at on the way", () => {
  const { components, checkpoints, longest } = findFlow(line([[1], [2], []]), 100);
  assertEquals(components, [0, 1, 2]);
  assertEquals(checkpoints.size, 0);
  assertEquals(longest, [3, 2, 1]);
});

Deno.test("control flow: a loop in a loop is one in the other's body", () => {
  const { components, checkpoints } = findFlow(line([[1], [2], [2, 3], [1, 4], []]), 100);
  const inner: Loop = { heads: [2], entered: [], body: [2] };
  assertEquals(components, [0, { heads: [1], entered: [], body: [1, inner, 3] }, 4]);
  assertEquals(checkpoints, new Set([1, 2]));
});

Deno.test("control flow: a loop that is jumped into has two heads", () => {
  const { components } = findFlow(line([[1, 2], [2], [1]]), 100);
  assertEquals(components, [0, { heads: [1, 2], entered: [2], body: [1, 2] }]);
});

/** A graph of units of one step each, entered at the first. */
function line(edges: readonly (readonly number[])[]): Graph {
  return {
    count: edges.length,
    entries: [0],
    successors: (unit) => edges[unit],
    steps: () => 1,
    likeliestHead: (units) => units[0],
    isElastic: () => false,
  };
}

function edgesOf({ count, successors }: Graph): [from: number, to: number][] {
  return Array.from({ length: count }, (_, from) => successors(from).map((to): [number, number] => [from, to])).flat();
}

function placesOf(components: readonly Component[]): ReadonlyMap<number, number> {
  return new Map(unitsOf(components).map((unit, place) => [unit, place]));
}

function placeOf(places: ReadonlyMap<number, number>, unit: number): number {
  const place = places.get(unit);
  assert(place !== undefined, `unit ${unit} has no place`);
  return place;
}

function allLoops(components: readonly Component[]): Loop[] {
  return components.flatMap((component) =>
    typeof component === "number" ? [] : [component, ...allLoops(component.body)]
  );
}

/** The loops around each unit. */
function loopsAround(components: readonly Component[]): ReadonlyMap<number, readonly Loop[]> {
  const around = new Map<number, Loop[]>();
  for (const loop of allLoops(components)) {
    for (const unit of unitsOf(loop.body)) {
      const loops = around.get(unit);
      if (loops === undefined) around.set(unit, [loop]);
      else loops.push(loop);
    }
  }
  return around;
}
