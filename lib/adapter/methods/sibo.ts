import { invalid } from "../../errors";
import { choice, number } from "../../option_kinds";
import type { RedSite } from "../config";
import { defineMethod } from "../method";
import type { LinearSite, MethodBase } from "../method_base";
import { activationKind, checkedAlpha, checkedOption, rankKind } from "../method_options";
import { type PlanActivation, PlanBuilder, type PlanStep } from "../plan";
import { uniform } from "../start";
import { type BottleneckPlace, bottleneckSteps, placeKind, sitesAt } from "./bottleneck";

export interface SiboOptions {
  /** What the mixed input goes to: LoRA's update, or a bottleneck adapter. Default: "lora". */
  readonly on?: "lora" | "bottleneck";
  /** The share of the embedding's output in the input, above 0 and below 1. Default: 0.1. */
  readonly lambda?: number;
  /** Of "lora": rank of the update, 1 to 8,192. Default: 8. */
  readonly rank?: number;
  /** Of "lora": the update is multiplied by alpha / rank. Default: 16. */
  readonly alpha?: number;
  /** Of "lora": the linear layers to update, whose input is as wide as the embedding. Default: ["q", "v"]. */
  readonly sites?: readonly RedSite[];
  /** Of "bottleneck": its width, 1 to 8,192. Default: 16. */
  readonly size?: number;
  /** Of "bottleneck". Default: "gelu". */
  readonly activation?: PlanActivation;
  /** Of "bottleneck": after the feed-forward, or after the attention too. Default: "ffn". */
  readonly place?: BottleneckPlace;
  /** Layer numbers from 0. Default: "all". */
  readonly layers?: readonly number[] | "all";
}

const onKind = choice(["lora", "bottleneck"]);
const shareKind = number(0, 1);
/** Distinguishes these numbers from others of the same seed. */
const stream = 0x5349424f;

function checkedLambda(lambda: number): number {
  if (shareKind.fault(lambda) !== undefined || lambda === 0 || Math.fround(lambda) >= 1)
    throw invalid("lambda", "a number above 0 and below 1", lambda);
  return lambda;
}

interface LoraConfig {
  readonly on: "lora";
  readonly lambda: number;
  readonly layers: readonly number[];
  readonly sites: readonly RedSite[];
  readonly rank: number;
  readonly alpha: number;
}

interface BottleneckConfig {
  readonly on: "bottleneck";
  readonly lambda: number;
  readonly layers: readonly number[];
  readonly size: number;
  readonly activation: PlanActivation;
  readonly place: BottleneckPlace;
}

/** Sites whose input has the embedding's width. */
function mixedSites(sites: readonly RedSite[], base: MethodBase): RedSite[] {
  const checked = base.sites(sites);
  const { hidden } = base.architecture;
  const other = checked.find((site) => base.linear(0, site).inputs !== hidden);
  if (other === undefined) return checked;
  throw invalid("sites", `sites whose input is ${hidden} wide, as the embedding is, which ${other} lacks,`, sites);
}

function lowRankSteps(
  builder: PlanBuilder,
  { name, inputs, outputs }: LinearSite,
  { rank, alpha }: LoraConfig,
): PlanStep[] {
  return [
    { op: "linear", weight: builder.parameter(`${name}.sibo_A`, [rank, inputs], 0) },
    { op: "linear", weight: builder.parameter(`${name}.sibo_B`, [outputs, rank], 0) },
    { op: "scale", by: Math.fround(alpha / rank) },
  ];
}

/**
 * SIBO (Wen et al., arXiv 2402.11896): the input of LoRA's update, or of a bottleneck adapter, is mixed with the embedding's output h
 * of the same token: x' = (1 - lambda) * x + lambda * h.
 */
export const sibo = defineMethod<SiboOptions, LoraConfig | BottleneckConfig>({
  kind: "sibo",
  options: ["on", "lambda", "rank", "alpha", "sites", "size", "activation", "place", "layers"],
  learningRate: 0.005,
  check(options, base) {
    const on = checkedOption("on", onKind, options.on ?? "lora");
    const others = on === "lora" ? (["size", "activation", "place"] as const) : (["rank", "alpha", "sites"] as const);
    for (const name of others)
      if (options[name] !== undefined) throw invalid(name, `no such option with on "${on}"`, options[name]);
    const shared = { lambda: checkedLambda(options.lambda ?? 0.1), layers: base.layers(options.layers ?? "all") };
    if (on === "lora")
      return {
        ...{ on, ...shared },
        sites: mixedSites(options.sites ?? ["q", "v"], base),
        rank: checkedOption("rank", rankKind, options.rank ?? 8),
        alpha: checkedAlpha(options.alpha ?? 16),
      };
    return {
      ...{ on, ...shared },
      size: checkedOption("size", rankKind, options.size ?? 16),
      activation: checkedOption("activation", activationKind, options.activation ?? "gelu"),
      place: checkedOption("place", placeKind, options.place ?? "ffn"),
    };
  },
  plan(config, base) {
    const builder = new PlanBuilder();
    const mix: PlanStep = { op: "mix_initial", by: Math.fround(config.lambda) };
    for (const layer of config.layers)
      for (const site of config.on === "lora" ? config.sites : sitesAt[config.place]) {
        const linear = base.linear(layer, site);
        const steps =
          config.on === "lora" ? lowRankSteps(builder, linear, config) : bottleneckSteps(builder, linear, config);
        builder.site({ ...linear.at, [config.on === "lora" ? "branch" : "output"]: [mix, ...steps] });
      }
    return builder.plan;
  },
  *start({ parameters }, _, seed) {
    for (const [index, { name, shape }] of parameters.entries())
      if (name.endsWith(".sibo_A") || name.endsWith(".down.weight"))
        yield [name, uniform(shape[0]! * shape[1]!, 1 / Math.sqrt(shape[1]!), seed, [stream, index])];
  },
});
