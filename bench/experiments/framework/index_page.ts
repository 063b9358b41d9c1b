// The index page of `experiment all`: every figure with its verdict, as one HTML page without scripts.

import { allChecks, notReproduced, type Result } from "./result.ts";

/** The page; figures and reports lie in a folder for each experiment beside it. */
export function indexPage(results: readonly Result[]): string {
  const sections = results.map((result) => {
    const checks = allChecks(result), failed = checks.filter(({ ok }) => !ok);
    const verdict = failed.length === 0
      ? `<span class="ok">all ${checks.length} acceptance lines hold</span>`
      : `<span class="no">does not hold: ${escape(failed.map(({ name }) => name).join("; "))}</span>`;
    const missed = notReproduced(result).length;
    const paper = missed === 0 ? "" : `; ${missed} of the paper's figures not reproduced, see the report`;
    const name = escape(result.experiment);
    return `<section id="${name}">
<h2>${name}: ${escape(result.title)}</h2>
<p>After ${escape(result.source)}. ${verdict}${paper}. <a href="${name}/report.md">Report</a>,
<a href="${name}/result.json">data</a>.</p>
<a href="${name}/figure.svg"><img src="${name}/figure.svg" alt="${escape(result.title)}" loading="lazy"></a>
</section>`;
  });
  const links = results.map(({ experiment }) => `<a href="#${escape(experiment)}">${escape(experiment)}</a>`);
  return `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Ballast: experiments</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #111; }
img { width: 100%; border: 1px solid #ddd; }
.ok { color: #005a3c; } .no { color: #b00020; font-weight: bold; }
</style>
<h1>Experiments</h1>
<p>${links.join(" · ")}</p>
${sections.join("\n")}
</html>
`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
