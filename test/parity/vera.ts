/** VeRA (Kopiczko et al., arXiv 2310.11454) as a method of one's own: what CONTRIBUTING.md and docs/methods.md ask for, and no more. */
import type { RedSite } from "../../lib/adapter/config";
import { defineMethod } from "../../lib/adapter/method";
import { PlanBuilder } from "../../lib/adapter/plan";

interface VeraOptions {
  readonly rank?: number;
  readonly sites?: readonly RedSite[];
}

/** Frozen numbers in [-0.5, 0.5) that make_method_fixtures.py makes in the same way; real use would draw them at random. */
const frozen = (rows: number, cols: number, seed: number) =>
  Float32Array.from({ length: rows * cols }, (_, at) => {
    const [i, j] = [Math.floor(at / cols), at % cols];
    return ((i * 7919 + j * 104729 + seed) % 1024) / 1024 - 0.5;
  });

export const vera = defineMethod({
  kind: "vera",
  options: ["rank", "sites"],
  check: ({ rank = 2, sites = ["q", "v"] }: VeraOptions, base) => ({ rank, sites: base.sites(sites) }),
  plan({ rank, sites }, base) {
    const builder = new PlanBuilder();
    const known = new Map<string, number>();
    const constant = (name: string, rows: number, cols: number, seed: number) => {
      const key = `${name}_${rows}_${cols}`;
      if (!known.has(key)) known.set(key, builder.constant(key, [rows, cols], frozen(rows, cols, seed)));
      return known.get(key)!;
    };
    for (const layer of base.layers("all"))
      for (const site of sites) {
        const { name, inputs, outputs, at } = base.linear(layer, site);
        builder.site({
          ...at,
          branch: [
            { op: "linear", constant: constant("vera_A", rank, inputs, 1) },
            { op: "affine", scale: builder.parameter(`${name}.lambda_d`, [rank], 0.1) },
            { op: "linear", constant: constant("vera_B", outputs, rank, 2) },
            { op: "affine", scale: builder.parameter(`${name}.lambda_b`, [outputs], 0) },
          ],
        });
      }
    return builder.plan;
  },
});
