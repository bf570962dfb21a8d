import { FairSteps, type Share } from "../../lib/train/fair_steps";

interface Run extends Share {
  readonly name: string;
  rows: number;
  total: number;
}

const run = (name: string, rows: number, weight = 1, layout = "a"): Run => ({
  name,
  layout,
  weight,
  rows,
  served: 0,
  total: 0,
});

/** Makes so many steps of runs that always wait. */
function serve(fair: FairSteps, runs: readonly Run[], steps: number, before: (one: Run) => void = () => {}): string[] {
  return Array.from({ length: steps }, () => {
    for (const one of runs) before(one);
    const chosen = fair.choose(runs);
    for (const one of chosen) one.total += one.rows;
    return chosen.map(({ name }) => name).join("");
  });
}

const wide = { maxRows: 4096, maxTenants: 256 };

test("runs of equal rows and weights share every step", () => {
  const runs = ["A", "B", "C"].map((name) => run(name, 100));
  expect(serve(new FairSteps(wide), runs, 3)).toEqual(["ABC", "ABC", "ABC"]);
});

test.each([
  ["equal rows", [10, 10, 10]],
  ["other rows", [30, 10, 20]],
])("rows are shared by weights, within a tenth: %s", (_, rows) => {
  const runs = [run("A", rows[0]!), run("B", rows[1]!), run("C", rows[2]!, 2)];
  serve(new FairSteps(wide), runs, 400);
  const all = runs.reduce((sum, { total }) => sum + total, 0);
  for (const [at, share] of [0.25, 0.25, 0.5].entries()) {
    expect(runs[at]!.total / all).toBeGreaterThan(share * 0.9);
    expect(runs[at]!.total / all).toBeLessThan(share * 1.1);
  }
});

test("with rows that change from step to step, most steps are shared by all, and nobody gets ahead", () => {
  const runs = Array.from({ length: 16 }, (_, at) => run(`${at} `, 0));
  let state = 1;
  const steps = serve(new FairSteps(wide), runs, 500, (one) => {
    state = (state * 48271) % 2147483647;
    one.rows = 20 + (state % 40);
  });
  const complete = steps.filter((step) => step.split(" ").length === 17).length;
  expect(complete).toBeGreaterThan(350);
  const totals = runs.map(({ total }) => total);
  expect(Math.max(...totals) - Math.min(...totals)).toBeLessThanOrEqual(5 * 60);
});

test("a step has at most maxRows rows and maxTenants runs, and a larger run goes alone", () => {
  const few = serve(new FairSteps({ maxRows: 25, maxTenants: 9 }), [run("A", 10), run("B", 10), run("C", 10)], 6);
  expect(few).toEqual(["AB", "CA", "BC", "AB", "CA", "BC"]);
  const three = ["A", "B", "C"].map((name) => run(name, 1));
  expect(serve(new FairSteps({ maxRows: 25, maxTenants: 2 }), three, 3)).toEqual(["AB", "CA", "BC"]);
  const large = [run("L", 100), run("A", 10)];
  const steps = serve(new FairSteps({ maxRows: 25, maxTenants: 9 }), large, 200);
  expect(steps.every((step) => step === "L" || step === "A")).toBe(true);
  expect(large[0]!.total / large[1]!.total).toBeCloseTo(1, 0);
});

test("layouts take turns by their rows", () => {
  const runs = [run("A", 10), run("B", 10), run("C", 10, 1, "other")];
  expect(serve(new FairSteps(wide), runs, 4)).toEqual(["AB", "C", "AB", "C"]);
});

test("a run that was away, or is new, gets its share from then on, and no more", () => {
  const fair = new FairSteps(wide);
  const [a, b] = [run("A", 10), run("B", 10)];
  serve(fair, [a], 100);
  fair.enter(b);
  const before = a.total;
  serve(fair, [a, b], 50);
  expect(a.total - before).toBeGreaterThan(400);
  expect(b.total).toBeGreaterThan(400);
});
