/** A comparison as SVG: a score against the trained numbers on a log axis, with intervals. */
import { oneLine } from "../errors";
import { ticks } from "../train/curve";
import type { Row, Score } from "./results";

const [width, height] = [860, 480];
const area = { left: 80, right: 600, top: 50, bottom: 420 };
const colors = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f"];
const [grid, text, baseColor] = ["#e5e7eb", "#374151", "#6b7280"];
const dashes = ' stroke-dasharray="6 4"';
/** Half the width of an interval's ends. */
const cap = 5;

interface Point {
  readonly label: string;
  readonly parameters: number;
  readonly mean: number;
  readonly half: number;
}

/** A text in XML. */
const escaped = (value: string) => oneLine(value).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

/** @param base the score of the base alone */
export function chartSvg(score: Score, base: number, rows: readonly Row[]): string {
  const points = rows.flatMap(({ method, parameters, scores }): Point[] => {
    const scored = scores[score.name];
    if (!scored || parameters === null) return [];
    return [{ label: method, parameters, mean: scored.mean, half: scored.half ?? 0 }];
  });
  const [x, decades] = logScale(points.map(({ parameters }) => parameters));
  const reached = points.flatMap(({ mean, half }) => [mean - half, mean + half]);
  const showsBase = isNear(base, reached);
  const [y, marks] = linearScale(showsBase ? [base, ...reached] : reached);
  const [middle, title] = [(area.left + area.right) / 2, `${score.title} by trained numbers`];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
      `font-family="system-ui, sans-serif" font-size="12" fill="${text}">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${middle}" y="28" text-anchor="middle">${escaped(`${score.title} (${score.better} is better)`)}</text>`,
    ...decades.flatMap((value) => [
      line(x(value), area.top, x(value), area.bottom, grid),
      `<text x="${x(value)}" y="${area.bottom + 18}" text-anchor="middle">${value.toLocaleString("en-US")}</text>`,
    ]),
    ...marks.flatMap((value) => [
      line(area.left, y(value), area.right, y(value), grid),
      `<text x="${area.left - 8}" y="${round(y(value) + 4)}" text-anchor="end">${value}</text>`,
    ]),
    ...(showsBase ? [line(area.left, y(base), area.right, y(base), baseColor, dashes)] : []),
    ...points.flatMap((point, at) => drawn(point, x, y, colors[at % colors.length]!)),
    ...legend(points, showsBase ? "base alone" : `base alone: ${base.toFixed(score.digits)}, beyond the axis`),
    `<text x="${middle}" y="${height - 14}" text-anchor="middle">trained numbers</text>`,
    "</svg>\n",
  ].join("\n");
}

/** Whether a base is shown: one that is far from the methods would leave them no room. */
function isNear(base: number, reached: readonly number[]): boolean {
  if (reached.length === 0) return true;
  const [low, high] = [Math.min(...reached), Math.max(...reached)];
  return low === high || (base >= low - (high - low) && base <= high + (high - low));
}

type Scale = (value: number) => number;

const round = (value: number) => Number(value.toFixed(1));

/** Powers of ten around the values. */
function logScale(values: readonly number[]): [Scale, number[]] {
  const exponents = values.map((value) => Math.log10(Math.max(1, value)));
  const first = exponents.length === 0 ? 0 : Math.floor(Math.min(...exponents));
  const last = Math.max(first + 1, exponents.length === 0 ? 1 : Math.ceil(Math.max(...exponents)));
  const scale: Scale = (value) =>
    round(area.left + ((Math.log10(Math.max(1, value)) - first) / (last - first)) * (area.right - area.left));
  return [scale, Array.from({ length: last - first + 1 }, (_, at) => 10 ** (first + at))];
}

/** Some room above and below the values. */
function linearScale(values: readonly number[]): [Scale, number[]] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  const [first, last] = [low - room, high + room];
  const scale: Scale = (value) => round(area.bottom - ((value - first) / (last - first)) * (area.bottom - area.top));
  return [scale, ticks(first, last, 6)];
}

function line(x1: number, y1: number, x2: number, y2: number, color: string, more = ""): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${color}"${more}/>`;
}

/** A point with its interval. */
function drawn({ label, parameters, mean, half }: Point, x: Scale, y: Scale, color: string): string[] {
  const [at, top, bottom] = [x(parameters), y(mean + half), y(mean - half)];
  const ends = [top, bottom].map((end) => line(round(at - cap), end, round(at + cap), end, color));
  return [
    ...(half > 0 ? [line(at, top, at, bottom, color, ' stroke-width="2"'), ...ends] : []),
    `<circle cx="${at}" cy="${y(mean)}" r="4" fill="${color}"><title>${escaped(label)}</title></circle>`,
  ];
}

function legend(points: readonly Point[], baseText: string): string[] {
  const left = area.right + 20;
  const row = (at: number) => area.top + 10 + 20 * at;
  return [
    ...points.flatMap(({ label }, at) => [
      `<circle cx="${left + 6}" cy="${row(at)}" r="4" fill="${colors[at % colors.length]}"/>`,
      `<text x="${left + 18}" y="${row(at) + 4}">${escaped(shortened(label))}</text>`,
    ]),
    line(left, row(points.length), left + 12, row(points.length), baseColor, dashes),
    `<text x="${left + 18}" y="${row(points.length) + 4}">${baseText}</text>`,
  ];
}

const longestLabel = 34;

const shortened = (label: string) => (label.length > longestLabel ? `${label.slice(0, longestLabel - 3)}...` : label);
