import { choice } from "../../option_kinds";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import type { LinearSite } from "../method_base";
import { activationKind, checkedOption, rankKind } from "../method_options";
import { type PlanActivation, PlanBuilder, type PlanStep } from "../plan";
import { uniform } from "../start";

export interface BottleneckOptions {
  /** Width of the bottleneck, 1 to 8,192. Default: 16. */
  readonly size?: number;
  /** Default: "gelu". */
  readonly activation?: PlanActivation;
  /** After the feed-forward, or after the attention too. Default: "ffn". */
  readonly place?: BottleneckPlace;
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

export type BottleneckPlace = "ffn" | "attention+ffn";
export const placeKind = choice<BottleneckPlace>(["ffn", "attention+ffn"]);
/** The sites at whose output bottlenecks are. */
export const sitesAt: Readonly<Record<BottleneckPlace, readonly RedSite[]>> = {
  ffn: ["ffn"],
  "attention+ffn": ["attention", "ffn"],
};
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x424e434b;

/** The steps of y + up(f(down(y))) at the output of a linear layer, with new parameters. */
export function bottleneckSteps(
  builder: PlanBuilder,
  { name, outputs }: LinearSite,
  { size, activation }: { readonly size: number; readonly activation: PlanActivation },
): PlanStep[] {
  const part = (own: string, ...shape: number[]) => builder.parameter(`${name}.${own}`, shape, 0);
  return [
    { op: "linear", weight: part("down.weight", size, outputs) },
    { op: "affine", bias: part("down.bias", size) },
    { op: "activation", kind: activation },
    { op: "linear", weight: part("up.weight", outputs, size) },
    { op: "affine", bias: part("up.bias", outputs) },
    { op: "residual" },
  ];
}

/**
 * Bottleneck adapters (Houlsby et al., arXiv 1902.00751; after the feed-forward alone: Pfeiffer et al., arXiv 2005.00247):
 * y = y + up(f(down(y))) at the output of a sub-layer, with biases.
 */
export const bottleneck = defineMethod({
  kind: "bottleneck",
  options: ["size", "activation", "place", "layers"],
  learningRate: 0.003,
  check({ size = 16, activation = "gelu", place = "ffn", layers = "all" }: BottleneckOptions, base) {
    return {
      size: checkedOption("size", rankKind, size),
      activation: checkedOption("activation", activationKind, activation),
      place: checkedOption("place", placeKind, place),
      layers: base.layers(layers),
    };
  },
  plan({ place, layers, ...config }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers)
      for (const site of sitesAt[place]) {
        const linear = base.linear(layer, site);
        builder.site({ ...linear.at, output: bottleneckSteps(builder, linear, config) });
      }
    return builder.plan;
  },
  *start({ parameters }, _, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".down.weight"))
        yield [name, uniform(shape[0]! * shape[1]!, 1 / Math.sqrt(shape[1]!), seed, [stream, index])];
  },
});
