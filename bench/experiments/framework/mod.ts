// The framework of experiments as the command line uses it.

export { comparisonFigure, comparisonText, type NamedResult } from "./compare.ts";
export type { Experiment, Policy } from "./definition.ts";
export { type ExperimentOptions, runExperiment } from "./engine.ts";
export { drawFigure } from "./figure.ts";
export { indexPage } from "./index_page.ts";
export { durationText, Interrupted, Progress } from "./progress.ts";
export { reportText } from "./report.ts";
export { allChecks, figureOf, readResult, type Result, resultText } from "./result.ts";
