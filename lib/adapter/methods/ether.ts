import { invalid } from "../../errors";
import { limits } from "../../limits";
import { integer } from "../../option_kinds";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import type { MethodBase } from "../method_base";
import { checkedOption } from "../method_options";
import { type AdapterPlan, PlanBuilder, type PlanStep } from "../plan";
import { uniform } from "../start";

export interface EtherOptions {
  /** Number of blocks; it divides the widths of each site. Default: 1. */
  readonly blocks?: number;
  /** The linear layers to change. Default: ["q", "v"]. */
  readonly sites?: readonly RedSite[];
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

interface EtherConfig {
  readonly blocks: number;
  readonly sites: readonly RedSite[];
  readonly layers: readonly number[];
}

const options = ["blocks", "sites", "layers"] as const;
const blocksKind = integer(1, limits.mostLoraRank);
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x45544852;

function checked(
  { blocks = 1, sites = ["q", "v"], layers = "all" }: EtherOptions,
  base: MethodBase,
  outputsToo: boolean,
): EtherConfig {
  const config = {
    blocks: checkedOption("blocks", blocksKind, blocks),
    sites: base.sites(sites),
    layers: base.layers(layers),
  };
  for (const site of config.sites) {
    const { inputs, outputs } = base.linear(0, site);
    if (inputs % blocks === 0 && (!outputsToo || outputs % blocks === 0)) continue;
    const widths = outputsToo ? `the widths of ${site}, ${inputs} and ${outputs},` : `the width ${inputs} of ${site}`;
    throw invalid("blocks", `a divisor of ${widths}`, blocks);
  }
  return config;
}

/** x + sum of factor * v (v . x) / |v|^2 over a block's vectors v, by blocks: steps of a new parameter [blocks, vectors, width / blocks]. */
function reflection(
  builder: PlanBuilder,
  name: string,
  width: number,
  blocks: number,
  factors: readonly number[],
): PlanStep[] {
  const [vectors, size] = [factors.length, width / blocks];
  const of = builder.parameter(name, [blocks, vectors, size], 0);
  const unit = builder.derive({ name: `${name}.unit`, kind: "unit", of, shape: [blocks, vectors, size] });
  const factored = builder.derive({
    name: `${name}.factored`,
    kind: "unit",
    of,
    factors,
    transposed: true,
    shape: [blocks, size, vectors],
  });
  return [{ op: "block_linear", weight: unit }, { op: "block_linear", weight: factored }, { op: "residual" }];
}

/** Each block's vectors: of two the second is the first one's opposite. */
function* startOf({ parameters }: AdapterPlan, seed: number): Iterable<readonly [string, Float32Array]> {
  for (const [index, { name, shape }] of parameters.entries()) {
    const [blocks, vectors, size] = shape as [number, number, number];
    const first = uniform(blocks * size, 1 / Math.sqrt(size), seed, [stream, index]);
    const all = Float32Array.from({ length: blocks * vectors * size }, (_, at) => {
      const [row, column] = [Math.floor(at / size), at % size];
      const value = first[Math.floor(row / vectors) * size + column]!;
      return row % vectors === 0 ? value : -value;
    });
    yield [name, all];
  }
}

/**
 * ETHER (Bini et al., arXiv 2405.20271): x = x - 2 u (u . x) / |u|^2 before the linear layer, by blocks of x: reflections, so that the
 * change of the weight is bounded. A new adapter is not the base.
 */
export const ether = defineMethod<EtherOptions, EtherConfig>({
  kind: "ether",
  options,
  learningRate: 0.01,
  check: (given, base) => checked(given, base, false),
  plan({ blocks, sites, layers }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers)
      for (const site of sites) {
        const { name, inputs, at } = base.linear(layer, site);
        builder.site({ ...at, input: reflection(builder, `${name}.ether_u`, inputs, blocks, [-2]) });
      }
    return builder.plan;
  },
  start: (plan, _, seed) => startOf(plan, seed),
});

/**
 * ETHER+ (the same paper): x = x - u (u . x) / |u|^2 + v (v . x) / |v|^2 before the linear layer, and the same of the output with two
 * more vectors. v begins as -u, so that a new adapter changes nothing.
 */
export const etherPlus = defineMethod<EtherOptions, EtherConfig>({
  kind: "ether+",
  options,
  learningRate: 0.01,
  check: (given, base) => checked(given, base, true),
  plan({ blocks, sites, layers }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers)
      for (const site of sites) {
        const { name, inputs, outputs, at } = base.linear(layer, site);
        builder.site({
          ...at,
          input: reflection(builder, `${name}.ether_input`, inputs, blocks, [-1, 1]),
          output: reflection(builder, `${name}.ether_output`, outputs, blocks, [-1, 1]),
        });
      }
    return builder.plan;
  },
  start: (plan, _, seed) => startOf(plan, seed),
});
