/** PEFT's folders of LN tuning (LNTuningConfig): the norms that it names, whole, under the checkpoint's names. */
import { RubricateError } from "../errors";
import { limits } from "../limits";
import type { ModelDescription } from "../model/architecture";
import { storedTensors } from "../model/save";
import { type NormSite, normSites, normsOf } from "./norm_sites";
import { PeftFields } from "./peft_config";
import type { PeftMethod } from "./peft_method";

const known = new Set(["peft_type", "task_type", "target_modules", "rubricate"]);

const ignored = new Set(["auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"]);

/** The module of each norm in a checkpoint, such as "transformer.h.0.ln_1", by its canonical name. */
function modulesOf({ architecture, storage }: ModelDescription): ReadonlyMap<string, string> {
  const weights = normsOf(architecture).map(({ name }) => `${name}.weight`);
  const modules = new Map<string, string>();
  for (const [stored, { parts }] of storedTensors(weights, storage))
    modules.set(parts[0]!.replace(/\.weight$/, ""), stored.replace(/\.weight$/, ""));
  return modules;
}

/** As PEFT compares: a name is a module's own, or the end of it. */
const names = (target: string, module: string) => module === target || module.endsWith(`.${target}`);

const lastOf = (module: string) => module.slice(module.lastIndexOf(".") + 1);

export const peftNorms: PeftMethod = {
  type: "LN_TUNING",

  fields(config, base) {
    const { targetNorms } = config as { targetNorms: readonly NormSite[] };
    const modules = modulesOf(base);
    const own = normsOf(base.architecture).filter(({ site }) => targetNorms.includes(site));
    return { target_modules: [...new Set(own.map(({ name }) => lastOf(modules.get(name)!)))], exclude_modules: null };
  },

  options(document, path, base) {
    const fields = new PeftFields(document, path);
    fields.takeOneOf("peft_type", '"LN_TUNING"', ["LN_TUNING"]);
    fields.takeOneOf("task_type", '"CAUSAL_LM" or null', [undefined, null, "CAUSAL_LM"]);
    fields.requireNoOther(known, ignored);
    const modules = modulesOf(base);
    const norms = normsOf(base.architecture).map(({ site, name }) => ({ site, module: modules.get(name)! }));
    const what = `names of norms of the model (${[...new Set([...modules.values()].map(lastOf))].join(", ")}), of all layers,`;
    const targets = fields.take("target_modules", what, isNameList);
    if (targets.some((target) => !norms.some(({ module }) => names(target, module))))
      throw fields.wrong("target_modules", what);
    const targeted = norms.filter(({ module }) => targets.some((target) => names(target, module)));
    const targetNorms = normSites.filter((own) => targeted.some(({ site }) => site === own));
    if (targeted.length !== norms.filter(({ site }) => targetNorms.includes(site)).length)
      throw fields.wrong("target_modules", what);
    return { targetNorms };
  },

  namesOf(base) {
    const modules = modulesOf(base);
    return (parameter) => {
      const [, norm, kind] = /^(.*)\.(weight|bias)$/.exec(parameter)!;
      const module = modules.get(norm!);
      if (module === undefined)
        throw new RubricateError("ERR_INTERNAL", `Expected a norm of the model for ${parameter}`);
      return `base_model.model.${module}.ln_tuning_layers.${kind}`;
    };
  },
};

function isNameList(value: unknown): value is readonly string[] {
  const most = 2 * limits.maxLayers + 1;
  return (
    Array.isArray(value) && value.length > 0 && value.length <= most && value.every((name) => typeof name === "string")
  );
}
