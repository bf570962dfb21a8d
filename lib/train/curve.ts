/** Draws a run's losses and learning rate as SVG. */
import { join } from "node:path";
import { writeInto } from "../files/atomic";
import { type CurvePoints, readCurve, type Series } from "./curve_points";
import { logFile } from "./loggers";

export const curveFile = "curve.svg";

const width = 860;
const [left, right] = [70, 20];
const panels = { loss: { top: 50, height: 320 }, rate: { top: 420, height: 110 } };
const height = 580;
/** Points of a line: about one for a pixel. */
const mostPoints = 800;
const colors = { train: "#2563eb", evaluation: "#d97706", rate: "#059669", grid: "#e5e7eb", text: "#374151" };

/**
 * Draws the log of a folder into it.
 * @returns what was drawn
 * @throws RubricateError ERR_FILE
 */
export async function writeCurve(folder: string): Promise<{ path: string; points: CurvePoints }> {
  const points = await readCurve(join(folder, logFile));
  await writeInto(folder, [{ name: curveFile, data: curveSvg(points) }]);
  return { path: join(folder, curveFile), points };
}

/** Numbers at round distances, from the first within a range to the last. */
export function ticks(least: number, most: number, about: number): number[] {
  const raw = (most - least) / about;
  if (!(raw > 0)) return [least];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((one) => one * power >= raw) ?? 10);
  const first = Math.ceil(least / step - 1e-9);
  const count = Math.floor(most / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

interface Line {
  readonly series: Series;
  readonly color: string;
  /** Marks each point. */
  readonly marked?: boolean;
}

/** The picture, a text of about 50 KB at most. */
export function curveSvg({ loss, evalLoss, learningRate }: CurvePoints): string {
  const lastStep = Math.max(1, ...[loss, evalLoss].flatMap((one) => one.points(mostPoints).map(({ step }) => step)));
  const lines = [
    { series: loss, color: colors.train },
    { series: evalLoss, color: colors.evaluation, marked: evalLoss.length <= 100 },
  ];
  const legend = [
    ...(loss.length > 0 ? [["training loss", colors.train]] : []),
    ...(evalLoss.length > 0 ? [["evaluation loss", colors.evaluation]] : []),
  ].map(
    ([name, color], at) =>
      `<rect x="${left + 150 * at}" y="20" width="14" height="4" fill="${color}"/>` +
      `<text x="${left + 20 + 150 * at}" y="27">${name}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
      `font-family="system-ui, sans-serif" font-size="12" fill="${colors.text}">`,
    "<title>Loss and learning rate by step</title>",
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...legend,
    ...panel(panels.loss, lines, lastStep, "nats per token"),
    ...panel(panels.rate, [{ series: learningRate, color: colors.rate }], lastStep, "learning rate"),
    `<text x="${(left + width - right) / 2}" y="${height - 8}" text-anchor="middle">step</text>`,
    "</svg>\n",
  ].join("\n");
}

/** Axes and lines in a part of the picture. */
function panel(
  { top, height: tall }: { top: number; height: number },
  lines: readonly Line[],
  lastStep: number,
  title: string,
): string[] {
  const drawn = lines.map((line) => ({ ...line, points: line.series.points(mostPoints) }));
  const values = drawn.flatMap(({ points }) => points.map(({ value }) => value));
  const [low, high] = values.length === 0 ? [0, 1] : [Math.min(...values), Math.max(...values)];
  const margin = high > low ? (high - low) * 0.05 : Math.abs(high) * 0.05 || 1;
  const least = Math.max(low - margin, low >= 0 ? 0 : Number.NEGATIVE_INFINITY);
  const most = high + margin;
  const x = (step: number) => (left + (step / lastStep) * (width - left - right)).toFixed(1);
  const y = (value: number) => (top + tall - ((value - least) / (most - least)) * tall).toFixed(1);
  const parts = [`<text x="${left}" y="${top - 8}">${title}</text>`];
  for (const value of ticks(least, most, 5))
    parts.push(
      `<path d="M${left} ${y(value)}H${width - right}" stroke="${colors.grid}"/>` +
        `<text x="${left - 6}" y="${y(value)}" dy="4" text-anchor="end">${label(value)}</text>`,
    );
  for (const step of ticks(0, lastStep, 8))
    parts.push(`<text x="${x(step)}" y="${top + tall + 16}" text-anchor="middle">${label(step)}</text>`);
  for (const { points, color, marked } of drawn) {
    if (points.length === 0) continue;
    const path = points.map(({ step, value }, at) => `${at === 0 ? "M" : "L"}${x(step)} ${y(value)}`).join("");
    parts.push(`<path d="${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`);
    if (marked || points.length === 1)
      for (const { step, value } of points)
        parts.push(`<circle cx="${x(step)}" cy="${y(value)}" r="3" fill="${color}"/>`);
  }
  return parts;
}

function label(value: number): string {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential() : String(value);
}
