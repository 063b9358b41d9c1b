// Emitted WebAssembly as text for people: the text format with folded expressions, by wabt, which is loaded when it is first
// needed, laid out in fewer lines; addresses of guest code get their names as comments. All of it stays valid text.

/** Name of the module, kept from static analysis, so that only who wants text fetches and loads it. */
const WABT = "wabt";

/** What emitted code uses beyond WebAssembly 1.0. wabt knows multiple memories; its type declarations do not. */
const FEATURES = { multi_memory: true, tail_call: true, sign_extension: true, readDebugNames: true };

/**
 * The functions of a binary module in the text format, without types, imports and exports. Names in the module's name
 * section are used. Lines are at most `width` characters where that can be.
 */
export async function functionText(module: Uint8Array<ArrayBuffer>, width: number): Promise<string> {
  const { default: load }: { readonly default: typeof import("wabt") } = await import(WABT);
  const parsed = (await load()).readWasm(module, FEATURES);
  try {
    parsed.applyNames();
    const [tree] = parse(parsed.toText({ foldExprs: true, inlineExport: false }));
    const functions = tree.filter((part): part is Form => typeof part === "object" && part[0] === "func");
    return functions.map((form) => layOut(form, "", width)).join("\n");
  } finally {
    parsed.destroy();
  }
}

/**
 * Constants that are addresses in [first, last] of the guest's code become hexadecimal, with their names as comments.
 */
export function nameAddresses(
  text: string,
  [first, last]: readonly [number, number],
  nameOf: (address: number) => string | undefined,
): string {
  return text.replace(/\(i32\.const (-?\d+)\)/g, (constant, digits) => {
    const address = Number(digits) >>> 0;
    if (address < first || address > last) return constant;
    const name = nameOf(address);
    return `(i32.const 0x${address.toString(16)}${name === undefined ? "" : ` (;${name};)`})`;
  });
}

/** A parenthesized form: words and forms. */
type Form = readonly (string | Form)[];

/** The forms of a text. Line comments, which label blocks, become block comments, which stand anywhere. */
function parse(text: string): Form[] {
  const words = text.replace(/;; label = (@\d+)/g, "(;$1;)").match(/\(;.*?;\)|"(?:\\.|[^"\\])*"|[()]|[^\s()"]+/g) ?? [];
  const open: (string | Form)[][] = [[]];
  for (const word of words) {
    if (word === "(") open.push([]);
    else if (word === ")") {
      const done = open.pop() ?? [];
      open.at(-1)?.push(done);
    } else open.at(-1)?.push(word);
  }
  return open[0].filter((form) => typeof form === "object");
}

/** Forms that hold statements: always over several lines. */
const STRUCTURED = new Set(["func", "block", "loop", "if", "then", "else"]);
/** Forms of a function's head: many on a line. */
const HEADS = new Set(["type", "param", "result", "local"]);

/**
 * A form on one line where it fits and has no structure; otherwise its words, then its parts below, indented. `closing` is
 * how many parentheses of the forms around it follow on its last line.
 */
function layOut(form: Form, indent: string, width: number, closing = 0): string {
  const flat = indent + flatten(form);
  if (flat.length + closing <= width && !hasStructure(form)) return flat;
  const firstPart = form.findIndex((part) => typeof part === "object");
  const lines = [`${indent}(${form.slice(0, firstPart < 0 ? undefined : firstPart).join(" ")}`];
  const inner = `${indent}  `;
  for (const [at, part] of form.entries()) {
    if (firstPart < 0 || at < firstPart) continue;
    // Strings are comments here, which name a block: they belong to its head.
    const isHead = typeof part === "string" || HEADS.has(String(part[0]));
    const joined = isHead ? `${lines.at(-1)} ${typeof part === "string" ? part : flatten(part)}` : "";
    if (isHead && joined.length <= width) lines[lines.length - 1] = joined;
    else {lines.push(
        typeof part === "string" ? inner + part : layOut(part, inner, width, at === form.length - 1 ? closing + 1 : 0),
      );}
  }
  return `${lines.join("\n")})`;
}

function flatten(form: Form): string {
  return `(${form.map((part) => typeof part === "string" ? part : flatten(part)).join(" ")})`;
}

function hasStructure(form: Form): boolean {
  return STRUCTURED.has(String(form[0])) || form.some((part) => typeof part === "object" && hasStructure(part));
}
