/** Adapters with random numbers, and models in float32, for the tests of merging. */
import type { Adapter } from "../../lib/adapter/adapter";
import type { RedSite, RedVariant } from "../../lib/adapter/config";
import { LoraAdapter } from "../../lib/adapter/lora_adapter";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { Random } from "../../lib/data/random";
import { LanguageModel } from "../../lib/model/model";

export const ids = Int32Array.of(5, 9, 22, 7, 41, 3, 3, 30);
export const load = (dir: string, dtype: "auto" | "float32" = "float32") =>
  LanguageModel.fromPretrained(dir, { dtype, device: "cpu", onNotice: () => {} });

export const allSites: RedSite[] = ["q", "k", "v", "attention", "gate", "up", "ffn"];
export const sitesOf = (fixture: string) => allSites.filter((site) => site !== "gate" || !fixture.startsWith("gpt2"));

/** Gives every parameter random numbers: scales near 1, all others near 0. */
export function fill<T extends Adapter>(adapter: T): T {
  const random = new Random(3, [1, 1]);
  const number = () => random.uint32() / 2 ** 31 - 1;
  const vectors = [...adapter.vectors()].map(([name, values]): [string, Float32Array] => [
    name,
    values.map(() => (/scale$|ia3_l$/.test(name) ? 1 + 0.3 * number() : 0.2 * number())),
  ]);
  adapter.setVectors(new Map(vectors));
  return adapter;
}

export const redOf = async (model: LanguageModel, variant: RedVariant, sites: RedSite[]) =>
  fill(await RedAdapter.create(model, { variant, sites }));
export const loraOf = async (model: LanguageModel, rankStabilized = false) =>
  fill(await LoraAdapter.create(model, { rank: 3, alpha: 5, targetModules: "all-linear", rankStabilized }));
