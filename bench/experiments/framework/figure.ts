// Figures as data, and their drawing as SVG. The paper's, the model's and our own series are told apart by dash and marker, what
// they show by colour, from a palette that colour-blind readers can tell apart (Okabe and Ito, 2008).

import { type Whiskers, whiskersOption } from "./whiskers.ts";

export interface Axis {
  readonly name: string;
  readonly min?: number;
  readonly max?: number;
  readonly isLogarithmic?: boolean;
  /** Names of its whole numbers from 0 on, where they are no quantities. */
  readonly names?: readonly string[];
}

/** Whose series it is. */
export type Origin = "measured" | "paper" | "model";

export interface FigureSeries {
  readonly name: string;
  readonly origin: Origin;
  /** Place in the palette: the same for the same quantity, whoever says it. */
  readonly colour: number;
  /** `points` are not joined; a `marked` line has a marker at each point. */
  readonly shape: "line" | "marked" | "steps" | "points" | "bars";
  /** x (or the number of the category) and y. */
  readonly points: readonly (readonly [x: number, y: number | null])[];
  readonly isFilled?: boolean;
  /** Of several seeds: the 95 % confidence intervals of points, drawn as whiskers. The engine adds them. */
  readonly intervals?: readonly (readonly [x: number, low: number, high: number])[];
}

/** Whether a series is a point for itself each, which several seeds give an interval, rather than a course over time. */
export function isPointwise({ shape }: FigureSeries): boolean {
  return shape === "bars" || shape === "points" || shape === "marked";
}

export interface Panel {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  /** Names along x, where it counts no quantity. */
  readonly categories?: readonly string[];
  readonly series: readonly FigureSeries[];
  /** Vertical lines with a word. */
  readonly marks?: readonly { readonly x: number; readonly text: string }[];
}

export interface Figure {
  readonly title: string;
  readonly panels: readonly Panel[];
  /** Panels side by side; default 1. */
  readonly columns?: number;
  readonly panelHeight?: number;
}

/** Black comes last: it is for what stands apart. */
const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F"];
const WIDTH = 900, PANEL_HEIGHT = 360, TITLE_HEIGHT = 44, SUBTITLE_HEIGHT = 16;
const WHISKERS_MEAN = "whiskers: 95 % confidence interval of the mean over seeds";
const LEFT = 70, RIGHT = 24, PANEL_TITLE = 30, LEGEND_ROW = 20, MARK_ROW = 16, BOTTOM = 52;
const LEGEND_FONT = 11.5, LEGEND_GAP = 18, LEGEND_ICON = 28 + 8 + LEGEND_GAP;
/** Widest that a character is on the mean, of a font's size: whoever shows the figure has a font of his own. */
const CHARACTER_WIDTH = 0.6, FIRST_IDEOGRAPH = "\u2e80";
const FONT = "sans-serif";

/** Draws a figure. */
export async function drawFigure(figure: Figure): Promise<string> {
  // Loaded here alone: it is large, and looks at the environment.
  const echarts = await import("echarts");
  const columns = figure.columns ?? 1, rows = Math.ceil(figure.panels.length / columns);
  const panelHeight = figure.panelHeight ?? PANEL_HEIGHT;
  const hasWhiskers = figure.panels.some(({ series }) => series.some(({ intervals = [] }) => intervals.length > 0));
  const head = TITLE_HEIGHT + (hasWhiskers ? SUBTITLE_HEIGHT : 0), height = head + rows * panelHeight;
  echarts.setPlatformAPI({ measureText: (text, font) => ({ width: textWidth(text, fontSizeOf(font)) }) });
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  const places = figure.panels.map((_, i) => {
    const width = WIDTH / columns;
    return { left: (i % columns) * width, top: head + Math.floor(i / columns) * panelHeight, width };
  });
  const legends = figure.panels.map((panel, i) => legendOf(panel, places[i]));
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: FONT },
    title: [
      {
        text: figure.title,
        left: "center",
        top: 10,
        textStyle: { fontSize: 17, fontWeight: "bold", color: "#000" },
        itemGap: 5,
        ...(hasWhiskers ? { subtext: WHISKERS_MEAN, subtextStyle: { fontSize: 11, color: "#444" } } : {}),
      },
      ...figure.panels.map((panel, i) => ({
        text: panel.title,
        left: places[i].left + LEFT,
        top: places[i].top + 2,
        textStyle: { fontSize: 13, fontWeight: "bold", color: "#222" },
      })),
    ],
    legend: legends.flatMap(({ options }) => options),
    grid: places.map(({ left, top, width }, i) => ({
      left: left + LEFT,
      top: top + PANEL_TITLE + legends[i].height,
      width: width - LEFT - RIGHT,
      height: panelHeight - PANEL_TITLE - legends[i].height - BOTTOM,
    })),
    xAxis: figure.panels.map((panel, i) => ({
      gridIndex: i,
      type: panel.categories === undefined ? scaleOf(panel.x) : "category",
      data: panel.categories,
      ...axisOption(panel.x, 28),
      splitLine: { show: false },
      ...(panel.categories === undefined ? {} : { axisLabel: categoryLabel(panel.categories.length) }),
    })),
    yAxis: figure.panels.map((panel, i) => ({ gridIndex: i, type: scaleOf(panel.y), ...axisOption(panel.y, 44) })),
    series: [
      ...figure.panels.flatMap((panel, i) => panel.series.map((series, at) => seriesOption(panel, series, i, at))),
      ...figure.panels.flatMap((panel, i) => whiskersOf(panel).map((whiskers) => whiskersOption(whiskers, i))),
    ],
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

/** Long numbers leave no room for an axis's name. */
function shortNumber(value: number): string {
  if (Math.abs(value) >= 1e6) return `${value / 1e6} M`;
  return Math.abs(value) >= 1e4 ? `${value / 1e3} k` : String(Number(value.toPrecision(12)));
}

/** Ideographs are as wide as they are high; echarts has one measured to know a line's height. */
function textWidth(text: string, size: number): number {
  let width = 0;
  for (const character of text) width += size * (character >= FIRST_IDEOGRAPH ? 1 : CHARACTER_WIDTH);
  return width;
}

/** Of a font as CSS has it. */
function fontSizeOf(font = ""): number {
  return Number(/([\d.]+)px/.exec(font)?.[1] ?? LEGEND_FONT);
}

/** Every category has its name; many stand aslant. */
function categoryLabel(count: number) {
  return { fontSize: 11, color: "#222", interval: 0, rotate: count > 10 ? 35 : 0 };
}

function scaleOf({ isLogarithmic }: Axis): "log" | "value" {
  return isLogarithmic ? "log" : "value";
}

function axisOption({ name, min, max, isLogarithmic, names }: Axis, nameGap: number) {
  return {
    name,
    min,
    max,
    interval: names === undefined ? undefined : 1,
    // Where bars begin: by itself at 1, as on a linear axis at 0.
    startValue: isLogarithmic ? min : undefined,
    nameLocation: "middle",
    nameGap,
    nameTextStyle: { fontSize: 12, color: "#222" },
    axisLabel: {
      fontSize: 11,
      color: "#222",
      hideOverlap: true,
      formatter: names === undefined ? shortNumber : (value: number) => names[value] ?? "",
    },
    axisLine: { show: true, onZero: false, lineStyle: { color: "#444" } },
    axisTick: { show: true },
    splitLine: { lineStyle: { color: "#e6e6e6" } },
  };
}

/** A panel's legend above it, in as many rows as its names need, each a legend of its own. */
function legendOf(panel: Panel, { left, top, width }: { left: number; top: number; width: number }) {
  const room = width - LEFT - RIGHT, rows: FigureSeries[][] = [[]];
  let used = 0;
  for (const series of panel.series) {
    const needed = LEGEND_ICON + textWidth(series.name, LEGEND_FONT);
    if (used > 0 && used + needed > room) {
      rows.push([]);
      used = 0;
    }
    rows[rows.length - 1].push(series);
    used += needed;
  }
  const options = rows.map((row, i) => ({
    data: row.map((series) => ({
      name: series.name,
      icon: legendIcon(series),
      // A border would fill the gaps of dashes.
      ...(LINE_ICONS[series.origin] === legendIcon(series) ? { itemStyle: { borderWidth: 0 } } : {}),
    })),
    left: left + LEFT,
    top: top + PANEL_TITLE - 8 + i * LEGEND_ROW,
    itemWidth: 28,
    itemHeight: 10,
    itemGap: LEGEND_GAP,
    textStyle: { fontSize: LEGEND_FONT, color: "#111" },
  }));
  // What is written over marks, and over bars, needs room.
  const marks = panel.marks === undefined ? 0 : MARK_ROW;
  const bars = !panel.series.some(({ shape }) => shape === "bars") ? 0 : areTurned(panel) ? 2 * MARK_ROW : MARK_ROW;
  return { options, height: rows.length * LEGEND_ROW + Math.max(marks, bars) + 4 };
}

/** A line is a line, an area a box; what has markers shows them. */
function legendIcon(series: FigureSeries): string | undefined {
  if (series.isFilled || series.shape === "bars") return "rect";
  return hasSymbols(series) ? undefined : LINE_ICONS[series.origin];
}

const LINE_ICONS: Readonly<Record<Origin, string>> = {
  measured: "path://M0 0H28V3H0Z",
  paper: "path://M0 0H6V3H0ZM11 0H17V3H11ZM22 0H28V3H22Z",
  model: "path://M0 0H2V3H0ZM6 0H8V3H6ZM12 0H14V3H12ZM18 0H20V3H18ZM24 0H26V3H24Z",
};

function hasSymbols({ shape }: FigureSeries): boolean {
  return shape === "points" || shape === "marked";
}

function seriesOption(panel: Panel, series: FigureSeries, panelIndex: number, index: number) {
  const { name, origin, shape, points, isFilled } = series;
  const colour = PALETTE[series.colour % PALETTE.length];
  const isLine = shape !== "points" && shape !== "bars";
  const common = {
    name,
    xAxisIndex: panelIndex,
    yAxisIndex: panelIndex,
    data: points.map(([x, y]) => panel.categories === undefined ? [x, y] : [panel.categories[x], y]),
    itemStyle: { color: colour, borderColor: colour, borderWidth: 1.5 },
    markLine: index > 0 || panel.marks === undefined ? undefined : {
      silent: true,
      symbol: "none",
      lineStyle: { color: "#666", type: "dashed", width: 1 },
      label: { fontSize: 11, color: "#333", position: "end", formatter: "{b}" },
      data: panel.marks.map(({ x, text }) => ({ xAxis: x, name: text })),
    },
  };
  if (shape === "bars") {
    const paper = { color: "#fff", borderColor: colour, borderWidth: 2, borderType: "dashed" };
    const model = { color: "#ddd", borderColor: colour, borderWidth: 1.5, borderType: "dotted" };
    const style = origin === "measured" ? { color: colour } : origin === "paper" ? paper : model;
    return { ...common, type: "bar", barMaxWidth: BAR_WIDTH, itemStyle: style, label: barLabel(panel, series) };
  }
  return {
    ...common,
    type: "line",
    step: shape === "steps" ? "end" : undefined,
    symbol: hasSymbols(series) ? { measured: "circle", paper: "emptyCircle", model: "emptyDiamond" }[origin] : "none",
    symbolSize: 8,
    lineStyle: {
      color: colour,
      width: isLine ? (origin === "measured" ? 2 : 1.5) : 0,
      type: { measured: "solid", paper: "dashed", model: "dotted" }[origin],
    },
    areaStyle: isFilled ? { color: colour, opacity: 0.14 } : undefined,
    connectNulls: false,
  };
}

/** Most series, and most bars in all, whose numbers have room beside each other. */
const ROOMY_SERIES = 3, ROOMY_BARS = 16, BAR_WIDTH = 34;

/** Where bars stand close, their numbers are turned. */
function areTurned({ series, categories = [] }: Panel): boolean {
  return series.length > ROOMY_SERIES || series.length > 1 && series.length * categories.length > ROOMY_BARS;
}

function barLabel(panel: Panel, { points, intervals = [] }: FigureSeries) {
  const turned = areTurned(panel) ? { rotate: 90, align: "left", verticalAlign: "middle", distance: 8 } : {};
  return {
    show: true,
    position: "top",
    ...turned,
    fontSize: 10,
    color: "#222",
    formatter: ({ value, dataIndex }: { value: unknown; dataIndex: number }) => {
      const y = Array.isArray(value) ? value[1] : value;
      // Where it has whiskers, its number stands above them.
      const isAbove = intervals.some(([x]) => x === points[dataIndex][0]);
      return typeof y === "number" && !isAbove ? barText(y) : "";
    },
  };
}

function barText(y: number): string {
  return String(Number(y.toPrecision(3)));
}

function whiskersOf(panel: Panel): Whiskers[] {
  const bars = panel.series.filter(({ shape }) => shape === "bars");
  return panel.series.flatMap((series) => {
    const { intervals = [], points, shape } = series;
    if (intervals.length === 0) return [];
    const isBars = shape === "bars";
    return [{
      intervals: intervals.map(([x, low, high]) => {
        const y = points.find(([at]) => at === x)?.[1] ?? high;
        return { x: panel.categories?.[x] ?? x, low, high, text: isBars ? barText(y) : "" };
      }),
      floor: panel.y.min ?? (panel.y.isLogarithmic ? Number.MIN_VALUE : -Infinity),
      ceiling: panel.y.max ?? Infinity,
      areTurned: areTurned(panel),
      ...(isBars ? { bar: { index: bars.indexOf(series), count: bars.length, maxWidth: BAR_WIDTH } } : {}),
    }];
  });
}
