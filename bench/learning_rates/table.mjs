/** The table of the results: a line for each model, data set and method, a column for each learning rate. */
import { methods, ratesOf } from "./cases.mjs";

const mean = (numbers) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;

/**
 * Rows with the mean loss at each rate, of the seeds that have every rate; `complete`: there is one. A loss is null where a run
 * was not finite or is missing.
 */
export function rowsOf(results) {
  return [...grouped(results, rowName)].map(([name, all]) => {
    const [{ method }] = all;
    const rates = ratesOf(method);
    const whole = [...grouped(all, ({ seed }) => seed).values()].filter((some) =>
      rates.every((rate) => some.some((run) => run.rate === rate)),
    );
    const runs = whole.length > 0 ? whole.flat() : all;
    const losses = rates.map((rate) => {
      const some = runs.filter((run) => run.rate === rate);
      const hasAll = some.length > 0 && some.every(({ evalLoss }) => evalLoss !== null);
      return hasAll ? mean(some.map(({ evalLoss }) => evalLoss)) : null;
    });
    const before = mean(runs.map((run) => run.before));
    return { name, method, runs, complete: whole.length > 0, rates, losses, before, seeds: whole.length };
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
