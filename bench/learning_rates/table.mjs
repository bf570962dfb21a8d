/** The table of the results: a line for each model, data set and method, a column for each learning rate. */
import { methods, ratesOf } from "./cases.mjs";

const mean = (numbers) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;

/** Rows with the mean loss of the seeds at each rate; null where a run was not finite or is missing. */
export function rowsOf(results) {
  const groups = Map.groupBy?.(results, rowName) ?? grouped(results, rowName);
  return [...groups].map(([name, runs]) => {
    const { method } = runs[0];
    const losses = ratesOf(method).map((rate) => {
      const some = runs.filter((run) => run.rate === rate);
      return some.length === 0 || some.some(({ evalLoss }) => evalLoss === null)
        ? null
        : mean(some.map((run) => run.evalLoss));
    });
    const seeds = new Set(runs.map(({ seed }) => seed)).size;
    const complete = ratesOf(method).every((rate) => runs.some((run) => run.rate === rate));
    return {
      name,
      method,
      runs,
      complete,
      rates: ratesOf(method),
      losses,
      before: mean(runs.map(({ before }) => before)),
      seeds,
    };
  });
}

function grouped(list, keyOf) {
  const groups = new Map();
  for (const one of list) groups.set(keyOf(one), [...(groups.get(keyOf(one)) ?? []), one]);
  return groups;
}

const rowName = ({ name, dtype, data, steps, method }) => `${name} ${dtype} ${data} ${steps} ${method}`;

const cell = (loss, best) =>
  loss === null || loss === undefined ? "-" : `${loss.toFixed(3)}${loss === best ? "*" : ""}`;

/** Markdown; * marks the best rate of a row. */
export function tableText(results) {
  const rows = rowsOf(results);
  return Object.keys(methods)
    .map((method) => {
      const rates = ratesOf(method);
      const lines = rows
        .filter((row) => row.method === method)
        .map(({ name, losses, before, seeds }) => {
          const best = Math.min(...losses.filter((loss) => loss !== null));
          const shown = name.slice(0, -method.length - 1);
          return `| ${[shown, seeds, before.toFixed(3), ...losses.map((loss) => cell(loss, best))].join(" | ")} |`;
        });
      const head = ["model, dtype, data, steps", "seeds", "before", ...rates.map((rate) => rate.toExponential())];
      return [`${method}:`, "", `| ${head.join(" | ")} |`, `|${head.map(() => "---|").join("")}`, ...lines, ""].join(
        "\n",
      );
    })
    .join("\n");
}
