/** The picture of a run's log. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { curveSvg, ticks, writeCurve } from "../../lib/train/curve";
import { readCurve, Series } from "../../lib/train/curve_points";
import { textChart } from "../../lib/train/text_chart";
import { runCli } from "./cli_support";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rubricate-curve-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const step = (at: number, loss: number) => ({ type: "step", step: at, loss, learningRate: 0.1 / at });
const evaluation = (at: number, loss: number) => ({ type: "eval", step: at, loss });
const written = (...lines: unknown[]) => {
  const text = lines.map((line) => (typeof line === "string" ? line : `${JSON.stringify(line)}\n`)).join("");
  writeFileSync(join(folder, "log.jsonl"), text);
  return join(folder, "log.jsonl");
};
/** Points of the paths of a color. */
const pathOf = (svg: string, color: string) =>
  [
    ...(new RegExp(`d="([^"]+)" fill="none" stroke="${color}"`).exec(svg)?.[1] ?? "").matchAll(
      /[ML]([\d.]+) ([\d.]+)/g,
    ),
  ].map(([, x, y]) => [Number(x), Number(y)]);
const [training, evaluations, rates] = ["#2563eb", "#d97706", "#059669"] as const;

test("each loss and learning rate is a point: later ones to the right, larger ones higher", async () => {
  written(evaluation(0, 4), step(1, 4), step(2, 2), step(3, 3), evaluation(3, 2.5), { type: "end", steps: 3 });
  const { path } = await writeCurve(folder);
  expect(path).toBe(join(folder, "curve.svg"));
  const svg = readFileSync(path, "utf8");
  const drawn = pathOf(svg, training);
  expect(drawn.map(([x]) => x)).toEqual([326.7, 583.3, 840]);
  const [first, second, third] = drawn.map(([, y]) => y) as [number, number, number];
  expect(first < third && third < second).toBe(true);
  expect(third - first).toBeCloseTo(second - third, 0);
  const evaluated = pathOf(svg, evaluations);
  expect(evaluated.map(([x]) => x)).toEqual([70, 840]);
  expect(evaluated[0]![1]).toBe(first);
  expect(svg.match(/<circle/g)).toHaveLength(2);
  const rate = pathOf(svg, rates).map(([, y]) => y!);
  expect(rate).toEqual([...rate].sort((a, b) => a - b));
  expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 860 580"[\s\S]*<\/svg>\n$/);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});

test("what is no event is left out", async () => {
  const strange = ["not json\n", "{}\n", '{"type":"step"}\n', '["step"]\n', '{"type":"step","step":"9","loss":1}\n'];
  const long = `{"type":"step","step":5,"loss":1,"x":"${"x".repeat(1 << 17)}"}\n`;
  const cut = '{"type":"step","step":6,"lo';
  const { loss, evalLoss } = await readCurve(
    written(...strange, step(1, 3), { ...step(2, 0), loss: null }, long, step(3, 2), step(3, 9), step(2, 9), cut),
  );
  expect(loss.points(10)).toEqual([
    { step: 1, value: 3 },
    { step: 3, value: 2 },
  ]);
  expect(evalLoss.length).toBe(0);
});

test("a log that ends without a newline, and events over the border of two reads", async () => {
  const many = Array.from({ length: 5000 }, (_, at) => `${JSON.stringify(step(at + 1, at))}\n`).join("");
  const { loss } = await readCurve(written(many.trimEnd()));
  expect(loss.length).toBe(5000);
});

test("many steps become means of neighbours, and a small picture", () => {
  const loss = new Series();
  for (let at = 1; at <= 100_000; at++) loss.add(at, at % 2 === 0 ? 1 : 3);
  const points = loss.points(800);
  expect(points).toHaveLength(800);
  expect(points[0]).toEqual({ step: expect.closeTo(63, 6), value: expect.closeTo(2.008, 3) });
  const svg = curveSvg({ loss, evalLoss: new Series(), learningRate: loss });
  expect(svg.length).toBeLessThan(60_000);
});

test("runs of one step, or of equal losses, have a picture", () => {
  for (const values of [[2], [2, 2], [0, 0]]) {
    const loss = new Series();
    for (const [at, value] of values.entries()) loss.add(at + 1, value);
    const svg = curveSvg({ loss, evalLoss: new Series(), learningRate: new Series() });
    expect(pathOf(svg, training)).toHaveLength(values.length);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  }
});

test.each<[number, number, number, number[]]>([
  [0, 10, 5, [0, 2, 4, 6, 8, 10]],
  [0.13, 0.52, 4, [0.2, 0.3, 0.4, 0.5]],
  [0, 3e-4, 3, [0, 1e-4, 2e-4, 3e-4]],
  [7, 7, 5, [7]],
])("ticks from %d to %d", (least, most, about, expected) => {
  expect(ticks(least, most, about)).toEqual(expected);
});

test("rubricate curve draws beside the log, and says what is wrong", async () => {
  const log = written(step(1, 2), evaluation(1, 3));
  const said = "1 step and 1 evaluation are drawn in ";
  for (const path of [folder, log]) {
    const { status, stdout, stderr } = await runCli(["curve", path]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const lines = stdout.split("\n");
    expect(lines.slice(-2)).toEqual([`${said}${join(folder, "curve.svg")}`, ""]);
    expect(lines.slice(0, -2)).toEqual(textChart(await readCurve(log), 100));
  }
  expect(await runCli(["curve"])).toMatchObject({ status: 2, stderr: expect.stringContaining("Expected a PATH") });
  expect(await runCli(["curve", join(folder, "x.txt")])).toMatchObject({ status: 2 });
  written("nothing\n");
  expect(await runCli(["curve", folder])).toMatchObject({ status: 1, stderr: expect.stringContaining("[ERR_FILE]") });
  rmSync(log);
  expect(await runCli(["curve", folder])).toMatchObject({ status: 1, stderr: expect.stringContaining("[ERR_FILE]") });
});

/** A series of losses by step. */
const series = (...points: [number, number][]) => {
  const one = new Series();
  for (const [at, value] of points) one.add(at, value);
  return one;
};
const none = series();

test("the chart of a terminal has each loss at its step and height", () => {
  const loss = series([1, 4], [2, 3], [3, 2.5], [4, 2.25]);
  const chart = textChart({ loss, evalLoss: series([0, 4.5], [4, 2]), learningRate: none }, 31);
  expect(`\n${chart.join("\n")}\n`).toBe(`
  4.5000 |o
         |
         |     .
         |
         |
         |          .
         |
         |              .
         |                   .
  2.0000 |                   o
         +--------------------
          0             step 4
          . training loss   o evaluation loss
`);
});

test("the chart fits the terminal, whatever its width and the number of steps", () => {
  const values = Array.from({ length: 3000 }, (_, at): [number, number] => [at + 1, 1e7 * Math.exp(-at / 300)]);
  for (const width of [1, 33, 80, 400]) {
    const chart = textChart({ loss: series(...values), evalLoss: none, learningRate: none }, width);
    expect(Math.max(...chart.map((line) => line.length))).toBeLessThan(Math.max(width, 32));
    expect(chart.join()).not.toMatch(/NaN|Infinity|undefined|evaluation/);
    expect(chart.join("").split(".").length).toBeGreaterThan(18);
  }
  for (const one of [series([1, 2]), series([1, 2], [2, 2]), series([1, -1e-9])]) {
    const chart = textChart({ loss: one, evalLoss: none, learningRate: none }, 80);
    expect(chart).toHaveLength(13);
    expect(chart[5]).toMatch(/^ *(2\.0000|-1\.0e-9) \|.*\.$/);
  }
});
