import { invalid } from "../errors";
import { type Architecture, hasGate } from "../model/architecture";
import { listOf } from "../options";
import { isSiteList, nativeSites, type RedSite, redSites } from "./config";
import { inOrder, linearAt, type PlanSite } from "./plan";

/** A linear layer of a base. */
export interface LinearSite {
  /** Its canonical name, such as "layers.3.mlp.down_proj": what the names of its parameters begin with. */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** Its place in a plan. */
  readonly at: { readonly layer: number; readonly site: PlanSite };
}

/** What a method is told about the model that it changes: sizes and names, no weights. */
export class MethodBase {
  /**
   * @param architecture of the model
   * @param tensors canonical names of its tensors: with them a method knows where there are biases
   */
  constructor(
    readonly architecture: Architecture,
    readonly tensors: readonly string[],
  ) {}

  /** Number of layers. */
  get layerCount(): number {
    return this.architecture.stacks[0].layers;
  }

  /** The sites that the model has, in the order of a block; without a gate, "gate" is missing. */
  get siteNames(): readonly RedSite[] {
    return inOrder(redSites).filter((site) => site !== "gate" || hasGate(this.architecture));
  }

  /**
   * The layers of an option: ascending, each once.
   * @throws RubricateError ERR_ARGUMENT
   */
  layers(layers: readonly number[] | "all"): number[] {
    return checkedLayers(layers, this.layerCount);
  }

  /**
   * The sites of an option, in the order of a block.
   * @throws RubricateError ERR_ARGUMENT
   */
  sites(sites: readonly RedSite[]): RedSite[] {
    const what = `some of ${redSites.join(", ")}, each once`;
    const given = listOf("sites", what, sites);
    if (!isSiteList(given)) throw invalid("sites", what, sites);
    if (given.includes("gate") && !hasGate(this.architecture))
      throw invalid("sites", "sites other than gate, which a feed-forward without a gate lacks,", sites);
    return inOrder(given);
  }

  /**
   * The linear layer at a site.
   * @throws RubricateError ERR_ARGUMENT
   */
  linear(layer: number, site: RedSite): LinearSite {
    if (!this.siteNames.includes(site)) throw invalid("site", `one of ${this.siteNames.join(", ")}`, site);
    checkedLayers([layer], this.layerCount);
    return { ...linearAt(this.architecture, layer, site), at: { layer, site: nativeSites[site] } };
  }
}

/** The layers of an option: ascending, each once. @throws RubricateError ERR_ARGUMENT */
export function checkedLayers(layers: readonly number[] | "all", count: number): number[] {
  if (layers === "all") return Array.from({ length: count }, (_, layer) => layer);
  const list = listOf("layers", '"all" or at least one layer', layers, count);
  if (list.length === 0) throw invalid("layers", '"all" or at least one layer', layers);
  for (const layer of list)
    if (!Number.isInteger(layer) || layer < 0 || layer >= count)
      throw invalid("layers", `layer numbers from 0 to ${count - 1}`, layer);
  const sorted = list.sort((a, b) => a - b);
  for (const [at, layer] of sorted.entries())
    if (at > 0 && layer === sorted[at - 1]) throw invalid("layers", "each layer once", layer);
  return sorted;
}
