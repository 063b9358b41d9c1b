// Reads the JUnit report of a test run: prints the ten slowest tests, those skipped, and, last, how many there were. Fails
// where a test failed or the report is missing.

const SLOWEST = 10;

interface TestCase {
  readonly name: string;
  readonly seconds: number;
  readonly outcome: "passed" | "failed" | "skipped";
}

const tests = readReport(Deno.args[0]);
const count = (outcome: TestCase["outcome"]) => tests.filter((test) => test.outcome === outcome).length;

console.log(`slowest tests:`);
for (const { name, seconds } of tests.toSorted((a, b) => b.seconds - a.seconds).slice(0, SLOWEST)) {
  console.log(`  ${seconds.toFixed(2).padStart(7)} s  ${name}`);
}
for (const { name, outcome } of tests) if (outcome !== "passed") console.log(`${outcome}: ${name}`);
// A run that left no report at all has failed, whatever else it did.
const failures = tests.length === 0 ? 1 : count("failed");
console.log(`${count("passed")} passed, ${failures} failed, ${count("skipped")} skipped`);
if (failures > 0) Deno.exit(1);

function readReport(path: string): TestCase[] {
  let xml = "";
  try {
    xml = Deno.readTextFileSync(path);
  } catch (cause) {
    console.log(`no report of the tests: ${cause instanceof Error ? cause.message : cause}`);
  }
  const cases = xml.matchAll(/<testcase ((?:[^"\/>]|"[^"]*")*)(?:\/>|>([\s\S]*?)<\/testcase>)/g);
  return [...cases].map(([, attributes, body = ""]) => ({
    name: decodeXml(attribute(attributes, "name")),
    seconds: Number(attribute(attributes, "time")),
    outcome: /<(failure|error)\b/.test(body) ? "failed" : /<skipped\b/.test(body) ? "skipped" : "passed",
  }));
}

function attribute(attributes: string, name: string): string {
  return new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? "";
}

function decodeXml(text: string): string {
  const named: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (_, name) => named[name])
    .replace(/&#(x?)([0-9a-f]+);/gi, (_, hex, digits) => String.fromCodePoint(parseInt(digits, hex ? 16 : 10)));
}
