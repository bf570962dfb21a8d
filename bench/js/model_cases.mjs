/** Cases of models with random weights, timed as in lib/cli/bench_model.ts; `models` gives a folder for a shape and dtype. */
import { built, rubricate } from "./package.mjs";

const { decoding, trainingStep } = built("cli/bench_model.js");
const dtypes = ["float32", "bfloat16"];

/** A case with its own model, loaded when it starts. */
function withModel(models, shape, dtype, slow, one) {
  return {
    ...one,
    name: `${shape}, ${dtype}, ${one.name}`,
    slow,
    async start() {
      const model = await rubricate.LanguageModel.fromPretrained(models(shape, dtype));
      const { run, end } = one.start(model);
      return {
        run,
        end() {
          end();
          model.dispose();
        },
      };
    },
  };
}

export function modelCases(models) {
  const small = (dtype, one) => withModel(models, "embedded", dtype, false, one);
  const large = (dtype, one) => withModel(models, "15m", dtype, true, one);
  return [
    ...dtypes.flatMap((dtype) => [small(dtype, trainingStep(8, 64)), large(dtype, trainingStep(4, 256))]),
    ...[0, 1, 2].flatMap((adapters) => {
      const one = decoding(16, 32, adapters);
      return dtypes.flatMap((dtype) => [small(dtype, one), large(dtype, one)]);
    }),
  ];
}
