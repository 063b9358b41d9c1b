// Whiskers: the confidence interval of a point or a bar, a line from its lower to its upper end. echarts has no such series; it is
// one of its custom ones.

export interface Whiskers {
  /** `text` stands above the whisker; the x of a category is its name. */
  readonly intervals: readonly {
    readonly x: number | string;
    readonly low: number;
    readonly high: number;
    readonly text: string;
  }[];
  /** Least and greatest value that the axis shows. */
  readonly floor: number;
  readonly ceiling: number;
  /** Whether texts go upwards. */
  readonly areTurned: boolean;
  /** Of bars: which of how many that stand side by side. */
  readonly bar?: { readonly index: number; readonly count: number; readonly maxWidth: number };
}

/** What a custom series is given to draw one of its items with, as far as it is used here. */
interface Drawing {
  value(dimension: number): number;
  coord(point: readonly [x: number, y: number]): readonly [x: number, y: number];
  barLayout(bars: { count: number; barMaxWidth: number }): readonly { readonly offsetCenter: number }[];
}

const HALF_CAP = 4, TEXT_GAP = 4, COLOUR = "#111";

/** Whiskers as a series of echarts. */
export function whiskersOption({ intervals, floor, ceiling, areTurned, bar }: Whiskers, panelIndex: number) {
  return {
    type: "custom",
    xAxisIndex: panelIndex,
    yAxisIndex: panelIndex,
    silent: true,
    clip: false,
    z: 5,
    // Both ends count for how far the axis goes.
    encode: { x: 0, y: [1, 2] },
    data: intervals.map(({ x, low, high }) => [x, Math.max(floor, low), Math.min(ceiling, high)]),
    renderItem({ dataIndex }: { dataIndex: number }, drawing: Drawing) {
      const offset = bar === undefined
        ? 0
        : drawing.barLayout({ count: bar.count, barMaxWidth: bar.maxWidth })[bar.index].offsetCenter;
      const [middle, bottom] = drawing.coord([drawing.value(0), drawing.value(1)]);
      const [, top] = drawing.coord([drawing.value(0), drawing.value(2)]);
      const x = middle + offset;
      // A bar that hangs from the axis has its text above it.
      const textBase = drawing.value(2) < 0 ? drawing.coord([drawing.value(0), 0])[1] : top;
      const line = (x1: number, y1: number, x2: number, y2: number) => ({
        type: "line",
        shape: { x1, y1, x2, y2 },
        style: { stroke: COLOUR, lineWidth: 1.2 },
      });
      const turned = areTurned ? { rotation: Math.PI / 2 } : {};
      return {
        type: "group",
        children: [
          line(x, bottom, x, top),
          line(x - HALF_CAP, bottom, x + HALF_CAP, bottom),
          line(x - HALF_CAP, top, x + HALF_CAP, top),
          {
            type: "text",
            x,
            y: textBase - TEXT_GAP,
            ...turned,
            style: {
              text: intervals[dataIndex].text,
              fontSize: 10,
              fill: "#222",
              align: areTurned ? "left" : "center",
              verticalAlign: areTurned ? "middle" : "bottom",
            },
          },
        ],
      };
    },
  };
}
