import { invalid } from "../../errors";
import { choice } from "../../option_kinds";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import type { LinearSite } from "../method_base";
import { activationKind, checkedOption, rankKind } from "../method_options";
import { type PlanActivation, PlanBuilder, type PlanStep } from "../plan";
import { uniform } from "../start";

export interface GiftOptions {
  /** Rank of the change, 1 to 8,192. Default: 16. */
  readonly rank?: number;
  /** The linear layers whose input or weight is changed. Default: ["q", "v"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
  /** Which linear layers have the same matrices: those of one site in all layers, or all. Default: "site". */
  readonly sharing?: "site" | "all";
  /** W' = W + f(W P^T) Q^T with this activation f. Default: none, W' = W + W P^T Q^T. */
  readonly activation?: PlanActivation;
}

const sharingKind = choice(["site", "all"]);
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x47494654;

/** What a layer needs for its steps. */
interface GiftLayer {
  readonly builder: PlanBuilder;
  readonly linear: LinearSite;
  readonly rank: number;
  /** Parameters. */
  readonly q: number;
  readonly p: number;
}

/** A copy for each site: so the gradients do not depend on how sequences are split into micro-batches. */
function transposed({ builder, linear }: GiftLayer, of: number, own: string, shape: readonly [number, number]) {
  return builder.derive({
    name: `${linear.name}.${own}`,
    kind: "einsum",
    operands: [{ of, axes: "ab" }],
    axes: "ba",
    shape,
  });
}

/** x + (x Q) P, in place of x. */
function inputSteps(layer: GiftLayer): PlanStep[] {
  const { linear, rank, q, p } = layer;
  return [
    { op: "linear", weight: transposed(layer, q, "gift_down", [rank, linear.inputs]) },
    { op: "linear", weight: transposed(layer, p, "gift_up", [linear.inputs, rank]) },
    { op: "residual" },
  ];
}

/** f(W P^T) (x Q), added to the output. */
function branchSteps(layer: GiftLayer, activation: PlanActivation): PlanStep[] {
  const { builder, linear, rank, q, p } = layer;
  const { name, inputs, outputs, at } = linear;
  const down = transposed(layer, q, "gift_down", [rank, inputs]);
  const shape = [outputs, rank];
  const inner = builder.derive({
    ...{ name: `${name}.gift_inner`, kind: "weight_product", of: p, ...at, along: "inputs", transposed: true },
    shape,
  });
  const up = builder.derive({
    ...{ name: `${name}.gift_activated`, kind: "activation", of: inner, activation },
    shape,
  });
  return [
    { op: "linear", weight: down },
    { op: "linear", weight: up },
  ];
}

/**
 * GIFT (Savadikar et al., arXiv 2312.00700): W' = W + W P^T Q^T, as y = W (x + (x Q) P), or with an activation W' = W + f(W P^T) Q^T: a change
 * of the weights that is made from the weights. Layers share Q [inputs, rank], which begins as 0, and P [rank, inputs].
 */
export const gift = defineMethod({
  kind: "gift",
  options: ["rank", "sites", "layers", "sharing", "activation"],
  check({ rank = 16, sites = ["q", "v"], layers = "all", sharing = "site", activation }: GiftOptions, base) {
    const config = {
      rank: checkedOption("rank", rankKind, rank),
      sites: base.sites(sites),
      layers: base.layers(layers),
      sharing: checkedOption("sharing", sharingKind, sharing),
    };
    const widths = config.sites.map((site) => base.linear(0, site).inputs);
    if (sharing === "all" && widths.some((width) => width !== widths[0]))
      throw invalid("sites", 'sites whose inputs have the same width, with sharing "all",', sites);
    // Folders without an activation do not name one: those of earlier versions are read too.
    return activation === undefined
      ? config
      : { ...config, activation: checkedOption("activation", activationKind, activation) };
  },
  plan({ rank, sites, layers, sharing, ...rest }, base) {
    const builder = new PlanBuilder();
    const matrices = new Map<string, readonly [q: number, p: number]>();
    const matricesOf = ({ at: { site }, inputs }: LinearSite) => {
      const owner = sharing === "all" ? "all" : site;
      const known = matrices.get(owner) ?? [
        builder.parameter(`${owner}.gift_Q`, [inputs, rank], 0),
        builder.parameter(`${owner}.gift_P`, [rank, inputs], 0),
      ];
      matrices.set(owner, known);
      return known;
    };
    for (const layer of layers)
      for (const site of sites) {
        const linear = base.linear(layer, site);
        const [q, p] = matricesOf(linear);
        const own = { builder, linear, rank, q, p };
        if ("activation" in rest) builder.site({ ...linear.at, branch: branchSteps(own, rest.activation) });
        else builder.site({ ...linear.at, input: inputSteps(own) });
      }
    return builder.plan;
  },
  *start({ parameters }, _, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".gift_P"))
        yield [name, uniform(shape[0]! * shape[1]!, 1 / Math.sqrt(shape[1]!), seed, [stream, index])];
  },
});
