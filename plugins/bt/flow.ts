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
  const successors = all.map(graph.successors);
  const predecessors = all.map((): number[] => []);
  for (const unit of all) for (const next of successors[unit]) predecessors[next].push(unit);
  const ranks = all.map((unit) => graph.count + unit);
  for (const [rank, entry] of graph.entries.entries()) ranks[entry] = Math.min(ranks[entry], rank);
  const edges: Edges = { ...graph, successors, predecessors, ranks };
  const checkpoints = new Set(all.filter(graph.isElastic).flatMap((unit) => successors[unit]));
  const components = structure(edges, all, new Set(), checkpoints, 0);
  const longest = longestWays(edges, components, checkpoints, mostSteps);
  return { components, checkpoints, longest, predecessors: predecessors.map(({ length }) => length) };
}

/** A graph with its edges at hand. */
interface Edges extends Pick<Graph, "count" | "entries" | "steps" | "likeliestHead"> {
  readonly successors: readonly (readonly number[])[];
  readonly predecessors: readonly (readonly number[])[];
  /** Entries come first, in their order, then the other units. */
  readonly ranks: readonly number[];
}

/**
 * Orders the units of a part of the graph, `first` before all others; edges to `closed` units, the heads of the loops around
 * it, do not count.
 */
function structure(
  edges: Edges,
  part: readonly number[],
  closed: ReadonlySet<number>,
  checkpoints: Set<number>,
  first: number,
): Component[] {
  return connectedComponents(edges, part, closed, first).map((members): Component => {
    const [only] = members;
    const isLoop = members.length > 1 || (!closed.has(only) && edges.successors[only].includes(only));
    if (!isLoop) return only;
    const inside = new Set(members);
    const heads = headsOf(edges, inside);
    for (const head of heads) checkpoints.add(head);
    const entered = edges.entries.filter((unit) => inside.has(unit) && !heads.includes(unit));
    return {
      heads,
      entered: [...heads.slice(1), ...entered],
      body: structure(edges, members, new Set([...closed, ...heads]), checkpoints, heads[0]),
    };
  });
}

/** Units of a loop to which edges lead from outside it; failing that, the likeliest. */
function headsOf({ predecessors, likeliestHead }: Edges, members: ReadonlySet<number>): number[] {
  const heads = [...members].filter((unit) => predecessors[unit].some((from) => !members.has(from)));
  return heads.length > 0 ? heads.toSorted((a, b) => a - b) : [likeliestHead([...members])];
}

/** Strongly connected components in topological order (Tarjan, 1972). */
function connectedComponents(
  { count, successors, ranks }: Edges,
  part: readonly number[],
  closed: ReadonlySet<number>,
  first: number,
): number[][] {
  // By unit, its number in the order of visits. What edges do not count to, or has its component, has one that is never lower.
  const order = new Int32Array(count).fill(DONE);
  for (const unit of part) if (!closed.has(unit)) order[unit] = UNSEEN;
  const stack: number[] = [], found: number[][] = [];
  let visits = 0;
  const visit = (unit: number): number => {
    const own = visits++;
    let lowest = own;
    if (order[unit] === UNSEEN) order[unit] = own;
    stack.push(unit);
    for (const next of successors[unit]) {
      const known = order[next];
      lowest = Math.min(lowest, known === UNSEEN ? visit(next) : known);
    }
    if (lowest !== own) return lowest;
    const members = stack.splice(stack.lastIndexOf(unit)).reverse();
    for (const member of members) order[member] = DONE;
    found.push(members);
    return DONE;
  };
  // What is visited last comes first.
  const roots = part.filter((unit) => unit !== first).toSorted((a, b) => ranks[b] - ranks[a]);
  for (const unit of [...roots, first]) if (order[unit] === UNSEEN || closed.has(unit)) visit(unit);
  return found.reverse();
}

const UNSEEN = -1, DONE = 0x7fffffff;

/** Steps of the longest ways; adds checkpoints where one would take more than `most`. */
function longestWays(
  { count, successors, steps }: Edges,
  components: readonly Component[],
  checkpoints: Set<number>,
  most: number,
): number[] {
  const backwards = unitsOf(components).reverse();
  const longest = new Array<number>(count).fill(0);
  for (let known = -1; known !== checkpoints.size;) {
    // A checkpoint that is added shortens ways that were measured before it: then all are measured again.
    known = checkpoints.size;
    for (const unit of backwards) {
      const own = steps(unit);
      let ways = 0;
      for (const next of successors[unit]) {
        if (checkpoints.has(next)) continue;
        if (own + longest[next] > most) checkpoints.add(next);
        else ways = Math.max(ways, longest[next]);
      }
      longest[unit] = own + ways;
    }
  }
  return longest;
}

/** The units of components in the order of their code. */
export function unitsOf(components: readonly Component[]): number[] {
  return components.flatMap((component) => typeof component === "number" ? [component] : unitsOf(component.body));
}
