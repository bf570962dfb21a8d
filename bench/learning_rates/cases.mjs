/** The runs of the table. */

/** What is trained: the edited sites, or all weights. */
export const methods = {
  "red ffn": { method: "red", sites: ["ffn"] },
  "red all sites": { method: "red", sites: ["ffn", "attention", "q", "k", "v"] },
  full: { method: "full" },
};

const redRates = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1];
const fullRates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3];
export const ratesOf = (method) => (method === "full" ? fullRates : redRates);

const seeds = [1, 2, 3];
const short = 100;
const long = 1000;
const small = { name: "stories260K", dtype: "float32" };
const middle = { name: "tinystories-656k", dtype: "float32" };
const embedded = { name: "embedded", dtype: "float32" };

/** The rows of the table: a model with its data, and the steps. The seeds of each. */
const rows = [
  ...[small, middle, embedded].flatMap((model) =>
    ["e2e", "stories"].map((data) => ({ ...model, data, steps: short, batchSize: 4, seeds })),
  ),
  { ...embedded, data: "letters", steps: short, batchSize: 4, seeds },
  { ...middle, dtype: "bfloat16", data: "e2e", steps: short, batchSize: 4, seeds: [1] },
  { ...middle, data: "e2e", steps: long, batchSize: 4, seeds: [1] },
  { ...embedded, data: "stories", steps: 300, batchSize: 4, seeds: [1], methods: ["red ffn", "red all sites"] },
];

/** A text that is the same for the same run. */
export const keyOf = ({ name, dtype, data, steps, batchSize, method, rate, seed }) =>
  [name, dtype, data, `${steps} x ${batchSize}`, method, rate, `seed ${seed}`].join(", ");

/** Every run, first those that every row needs. */
export const cases = rows
  .flatMap(({ seeds, methods: some = Object.keys(methods), ...row }) =>
    some.flatMap((method) => ratesOf(method).flatMap((rate) => seeds.map((seed) => ({ ...row, method, rate, seed })))),
  )
  .sort((a, b) => a.seed - b.seed || a.steps - b.steps);
