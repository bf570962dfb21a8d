import type { RedSite } from "../config";
import { defineMethod } from "../method";
import { activationKind, checkedAlpha, checkedOption, rankKind } from "../method_options";
import { addNorms } from "../norm_plan";
import { type PlanActivation, PlanBuilder } from "../plan";
import { startOfTrains, tensorTrain, trainSizes } from "../tensor_train";

export interface LorettaRepOptions {
  /** Rank of the update, 1 to 8,192. Default: 8. */
  readonly rank?: number;
  /** The update is multiplied by alpha / rank. Default: 16. */
  readonly alpha?: number;
  /** Rank of the tensor trains, 1 to 8,192. Default: 8. */
  readonly tensorRank?: number;
  /** The linear layers to update. Default: ["q", "v"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

export interface LorettaAdpOptions {
  /** Width of the bottlenecks, 1 to 8,192. Default: 64. */
  readonly size?: number;
  /** Rank of the tensor trains, 1 to 8,192. Default: 8. */
  readonly tensorRank?: number;
  /** Default: "tanh". */
  readonly activation?: PlanActivation;
  /** Layer numbers from 0, of the bottlenecks. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

/** Distinguishes these numbers from others of the same seed. */
const stream = 0x4c525454;

/**
 * LoRETTA_rep (Yang et al., arXiv 2402.11417): y += alpha / rank * B (A x), where A and B are tensor trains; all norms are trained too.
 * A new adapter is not the base.
 */
export const lorettaRep = defineMethod({
  kind: "loretta_rep",
  options: ["rank", "alpha", "tensorRank", "sites", "layers"],
  learningRate: 0.002,
  check({ rank = 8, alpha = 16, tensorRank = 8, sites = ["q", "v"], layers = "all" }: LorettaRepOptions, base) {
    return {
      rank: checkedOption("rank", rankKind, rank),
      alpha: checkedAlpha(alpha),
      tensorRank: checkedOption("tensorRank", rankKind, tensorRank),
      sites: base.sites(sites),
      layers: base.layers(layers),
    };
  },
  plan({ rank, alpha, tensorRank, sites, layers }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers)
      for (const site of sites) {
        const { name, inputs, outputs, at } = base.linear(layer, site);
        const a = tensorTrain(builder, `${name}.loretta_A`, trainSizes(inputs, rank), [rank, inputs], tensorRank);
        const b = tensorTrain(builder, `${name}.loretta_B`, trainSizes(outputs, rank), [outputs, rank], tensorRank);
        builder.site({
          ...at,
          branch: [
            { op: "linear", weight: a },
            { op: "linear", weight: b },
            { op: "scale", by: Math.fround(alpha / rank) },
          ],
        });
      }
    addNorms(builder, base.architecture);
    return builder.plan;
  },
  start: (plan, _, seed) => startOfTrains(plan, seed, stream),
});

/**
 * LoRETTA_adp (the same paper): y = y + up(f(down(y))) after attention and feed-forward, where the matrices are tensor trains, with
 * biases; all norms are trained too. A new adapter is not the base.
 */
export const lorettaAdp = defineMethod({
  kind: "loretta_adp",
  options: ["size", "tensorRank", "activation", "layers"],
  learningRate: 0.002,
  check({ size = 64, tensorRank = 8, activation = "tanh", layers = "all" }: LorettaAdpOptions, base) {
    return {
      size: checkedOption("size", rankKind, size),
      tensorRank: checkedOption("tensorRank", rankKind, tensorRank),
      activation: checkedOption("activation", activationKind, activation),
      layers: base.layers(layers),
    };
  },
  plan({ size, tensorRank, activation, layers }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers)
      for (const site of ["attention", "ffn"] as const) {
        const { name, outputs, at } = base.linear(layer, site);
        const sizes = trainSizes(outputs, size);
        const down = tensorTrain(builder, `${name}.loretta_down`, sizes, [size, outputs], tensorRank);
        const up = tensorTrain(builder, `${name}.loretta_up`, sizes, [outputs, size], tensorRank);
        builder.site({
          ...at,
          output: [
            { op: "linear", weight: down },
            { op: "affine", bias: builder.parameter(`${name}.loretta_down.bias`, [size], 0) },
            { op: "activation", kind: activation },
            { op: "linear", weight: up },
            { op: "affine", bias: builder.parameter(`${name}.loretta_up.bias`, [outputs], 0) },
            { op: "residual" },
          ],
        });
      }
    addNorms(builder, base.architecture);
    return builder.plan;
  },
  start: (plan, _, seed) => startOfTrains(plan, seed, stream),
});
