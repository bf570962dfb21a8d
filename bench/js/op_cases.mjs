/**
 * Cases of single ops, timed as in lib/cli/bench_ops.ts, at rows and widths of the embedded model, 15M, 110M and 7B. --quick
 * skips slow ones.
 */
import { built } from "./package.mjs";

const { attention, callOverheads, matmul, redEdit } = built("cli/bench_ops.js");

const edits = [
  [512, 192],
  [1024, 288],
  [1024, 768],
  [512, 4096],
];
const products = [
  [512, 192, 640],
  [1024, 288, 768],
  [512, 768, 2048],
  [128, 4096, 11008],
];
const attentions = [
  [256, 6, 2, 32],
  [256, 6, 6, 48],
  [1024, 12, 12, 64],
];
const dtypes = ["float32", "bfloat16"];
const both = [false, true];

const slowWhere = (slow, one) => ({ ...one, slow });
const product = (sizes) => sizes.reduce((all, size) => all * size, 1);

export function opCases() {
  return [
    ...edits.flatMap((size) =>
      dtypes.flatMap((dtype) =>
        both.map((backward) => slowWhere(product(size) > 2 ** 20, redEdit(...size, dtype, backward))),
      ),
    ),
    ...products.flatMap((size) => dtypes.map((dtype) => slowWhere(product(size) > 2 ** 28, matmul(...size, dtype)))),
    ...attentions
      .flatMap((size) => [
        attention(...size, "float32", false),
        attention(...size, "float32", true),
        attention(...size, "bfloat16", false), // parameters are fp32: no gradient of bf16 values here
      ])
      .map((one) => slowWhere(one.work > 1, one)),
    ...callOverheads().map((one) => slowWhere(false, one)),
  ];
}
