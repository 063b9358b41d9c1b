// Control flow of a region as WebAssembly can have it: loops with one head, and branches forward. What is strongly connected
// becomes a loop; where control can enter one elsewhere than at its head, the head passes it on by a branch table. In the
// manner of Ramsey, "Beyond Relooper" (ICFP 2022), with strongly connected components in place of a dominator tree, because
// a region is entered at many units. It also says where the budget must be looked at: on every edge that leads into a loop's
// head, and often enough that no way between two looks is longer than what an entry can be asked for.

/** A loop, entered at its first head; its body's edges to heads are the back edges. */
export interface Loop {
  readonly heads: readonly number[];
  /** Units inside, other than the first head, at which control can enter the loop. Empty: it needs no branch table. */
  readonly entered: readonly number[];
  readonly body: readonly Component[];
}

/** A unit, by its index, or a loop. */
export type Component = number | Loop;

export interface Flow {
  /** In an order in which every edge but the loops' back edges leads forward. */
  readonly components: readonly Component[];
  /** Units on whose incoming edges the budget is looked at. */
  readonly checkpoints: ReadonlySet<number>;
  /** Per unit, steps of the longest way from it, itself included, to where the budget is looked at again. */
  readonly longest: readonly number[];
  /** Per unit, how many edges lead to it within the region. */
  readonly predecessors: readonly number[];
}

/** A control-flow graph over units 0 to `count - 1`. */
export interface Graph {
  readonly count: number;
  /** Successors within the region; the one that would best follow directly is last. */
  readonly successors: (unit: number) => readonly number[];
  /** Units that can be entered from outside. Every unit is reachable from one of them. */
  readonly entries: readonly number[];
  /** Steps that a unit takes. */
  readonly steps: (unit: number) => number;
  /** Of the units of a loop, the one that is likeliest to be its head. */
  readonly likeliestHead: (units: readonly number[]) => number;
  /** Whether a unit may take more steps than that, or move the deadline: the budget is looked at after it. */
  readonly isElastic: (unit: number) => boolean;
}

/** Finds the flow of a graph in which no way between two looks at the budget takes more than `mostSteps`. */
export function findFlow(graph: Graph, mostSteps: number): Flow {
  const all = Array.from({ length: graph.count }, (_, unit) => unit);
  const predecessors = all.map(() => 0);
  for (const unit of all) for (const next of graph.successors(unit)) predecessors[next]++;
  const checkpoints = new Set(all.filter(graph.isElastic).flatMap(graph.successors));
  const components = structure(graph, new Set(all), new Set(), checkpoints, 0);
  return { components, checkpoints, longest: longestWays(graph, components, checkpoints, mostSteps), predecessors };
}

/**
 * Orders the units of a part of the graph, `first` before all others; edges to `closed` units, the heads of the loops around
 * it, do not count.
 */
function structure(
  graph: Graph,
  part: ReadonlySet<number>,
  closed: ReadonlySet<number>,
  checkpoints: Set<number>,
  first: number,
): Component[] {
  return connectedComponents(graph, part, closed, first).map((members): Component => {
    const [only] = members;
    const isLoop = members.size > 1 || (!closed.has(only) && graph.successors(only).includes(only));
    if (!isLoop) return only;
    const heads = headsOf(graph, members);
    for (const head of heads) checkpoints.add(head);
    const entered = graph.entries.filter((unit) => members.has(unit) && !heads.includes(unit));
    return {
      heads,
      entered: [...heads.slice(1), ...entered],
      body: structure(graph, members, new Set([...closed, ...heads]), checkpoints, heads[0]),
    };
  });
}

/** Units of a loop to which edges lead from outside it; failing that, the likeliest. */
function headsOf(graph: Graph, members: ReadonlySet<number>): number[] {
  const heads = new Set<number>();
  for (let unit = 0; unit < graph.count; unit++) {
    if (members.has(unit)) continue;
    for (const next of graph.successors(unit)) if (members.has(next)) heads.add(next);
  }
  if (heads.size > 0) return [...heads].toSorted((a, b) => a - b);
  return [graph.likeliestHead([...members])];
}

/** Strongly connected components in topological order (Tarjan, 1972). */
function connectedComponents(
  graph: Graph,
  part: ReadonlySet<number>,
  closed: ReadonlySet<number>,
  first: number,
): Set<number>[] {
  const order = new Map<number, number>(), low = new Map<number, number>();
  const stack: number[] = [], onStack = new Set<number>();
  const found: Set<number>[] = [];
  const visit = (unit: number): number => {
    let lowest = order.size;
    order.set(unit, lowest);
    stack.push(unit);
    onStack.add(unit);
    for (const next of graph.successors(unit)) {
      if (!part.has(next) || closed.has(next)) continue;
      const known = order.get(next);
      if (known === undefined) lowest = Math.min(lowest, visit(next));
      else if (onStack.has(next)) lowest = Math.min(lowest, known);
    }
    low.set(unit, lowest);
    if (lowest === order.get(unit)) {
      const members = new Set<number>();
      for (let member = -1; member !== unit;) {
        member = stack.pop() ?? unit;
        onStack.delete(member);
        members.add(member);
      }
      found.push(members);
    }
    return lowest;
  };
  // What is visited last comes first.
  const roots = [...part].toSorted((a, b) => rank(graph, b) - rank(graph, a)).filter((unit) => unit !== first);
  for (const unit of [...roots, first]) if (!order.has(unit)) visit(unit);
  return found.reverse();
}

function rank(graph: Graph, unit: number): number {
  const entry = graph.entries.indexOf(unit);
  return entry < 0 ? graph.count + unit : entry;
}

/** Steps of the longest ways; adds checkpoints where one would take more than `most`. */
function longestWays(
  graph: Graph,
  components: readonly Component[],
  checkpoints: Set<number>,
  most: number,
): number[] {
  const backwards = unitsOf(components).reverse();
  const longest = new Array<number>(graph.count).fill(0);
  for (let known = -1; known !== checkpoints.size;) {
    // A checkpoint that is added shortens ways that were measured before it: then all are measured again.
    known = checkpoints.size;
    for (const unit of backwards) {
      const steps = graph.steps(unit);
      let ways = 0;
      for (const next of graph.successors(unit)) {
        if (checkpoints.has(next)) continue;
        if (steps + longest[next] > most) checkpoints.add(next);
        else ways = Math.max(ways, longest[next]);
      }
      longest[unit] = steps + ways;
    }
  }
  return longest;
}

/** The units of components in the order of their code. */
export function unitsOf(components: readonly Component[]): number[] {
  return components.flatMap((component) => typeof component === "number" ? [component] : unitsOf(component.body));
}
