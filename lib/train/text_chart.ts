/** Draws a run's losses as lines of text, for a terminal. */
import type { CurvePoints } from "./curve_points";

const height = 10;
/** Columns of the labels on the left. */
const labels = 8;
const [fewest, most] = [20, 100];
const marks = { train: ".", evaluation: "o" };

interface Point {
  readonly step: number;
  readonly value: number;
  readonly mark: string;
}

/**
 * The losses by step: "." is a training loss, or the mean of neighbours, "o" an evaluation's, which covers it.
 * @param width columns of the terminal
 * @returns lines of ASCII characters
 */
export function textChart({ loss, evalLoss }: CurvePoints, width: number): string[] {
  const columns = Math.min(Math.max(width - labels - 3, fewest), most);
  const points: Point[] = [
    ...loss.points(columns).map((point) => ({ ...point, mark: marks.train })),
    ...evalLoss.points(columns).map((point) => ({ ...point, mark: marks.evaluation })),
  ];
  const lastStep = Math.max(1, ...points.map(({ step }) => step));
  const [high, low] = [Math.max(...points.map(({ value }) => value)), Math.min(...points.map(({ value }) => value))];
  const grid = Array.from({ length: height }, () => new Array<string>(columns).fill(" "));
  for (const { step, value, mark } of points) {
    const row = high > low ? Math.round(((high - value) / (high - low)) * (height - 1)) : Math.floor(height / 2);
    grid[row]![Math.round((step / lastStep) * (columns - 1))] = mark;
  }
  const label = (row: number) => {
    if (high > low) return row === 0 ? short(high) : row === height - 1 ? short(low) : "";
    return row === Math.floor(height / 2) ? short(high) : "";
  };
  const lines = grid.map((cells, row) => `${label(row).padStart(labels)} |${cells.join("")}`.trimEnd());
  const end = `step ${Math.round(lastStep)}`;
  const names = [
    ...(loss.length > 0 ? [`${marks.train} training loss`] : []),
    ...(evalLoss.length > 0 ? [`${marks.evaluation} evaluation loss`] : []),
  ].join("   ");
  return [
    ...lines,
    `${" ".repeat(labels)} +${"-".repeat(columns)}`,
    `${" ".repeat(labels + 2)}0${end.padStart(columns - 1)}`,
    `${" ".repeat(labels + 2)}${names}`,
  ];
}

/** A number in at most eight characters. */
const short = (value: number): string => {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(1) : value.toFixed(size < 10 ? 4 : 2);
};
