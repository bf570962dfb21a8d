/** The frequencies of rotary position embeddings, as config.json describes them. */
import { limits } from "../limits";
import type { ConfigReader } from "./config_reader";

const f32 = Math.fround;

/** Kinds of layers, for which the settings of some models differ; transformers fails or ignores them in these families. */
const layerKinds = ["full_attention", "sliding_attention"];

/**
 * 1 / theta^(2 i / rotated) in fp32 as transformers computes it, then the configured scaling. Both spellings of the
 * settings are read: `rope_theta` and `rope_scaling`, or `rope_parameters`.
 * @param rotated components of a head that are rotated; if it is odd, one more is, as in transformers
 * @param positions the model's max_position_embeddings
 * @returns [rotated / 2]
 * @throws RubricateError ERR_CONFIG
 */
export function inverseFrequencies(config: ConfigReader, rotated: number, positions: number): readonly number[] {
  // If both are given, transformers uses `rope_scaling`, the old name; an empty object counts as missing.
  const parameters = config.filledObject("rope_scaling") ?? config.filledObject("rope_parameters");
  const source = parameters?.has("rope_theta") ? parameters : config;
  const theta = source.positive("rope_theta", 10000, limits.maxRopeTheta);
  for (const kind of layerKinds)
    if (parameters?.given(kind)) throw parameters.fail(kind, "settings for all layers, not for those of one kind,");
  const plain = Array.from({ length: Math.ceil(rotated / 2) }, (_, i) => f32(1 / f32(theta ** f32((2 * i) / rotated))));
  const { minPositive, maxFrequency } = limits;
  const fits = (frequency: number) => frequency >= minPositive && frequency <= maxFrequency;
  const expected = `a number that gives frequencies from ${minPositive} to ${maxFrequency}`;
  if (!plain.every(fits)) throw source.fail("rope_theta", expected);
  const frequencies = parameters ? scaledFrequencies(plain, parameters, config, positions) : plain;
  if (!frequencies.every(fits)) throw parameters!.fail("factor", expected);
  return frequencies;
}

function scaledFrequencies(
  plain: readonly number[],
  parameters: ConfigReader,
  config: ConfigReader,
  positions: number,
): readonly number[] {
  const kind = parameters.string("rope_type", parameters.string("type", "default"));
  if (kind === "default") return plain;
  // transformers reads it with these two kinds, not with "default".
  const partial = parameters.has("partial_rotary_factor") ? parameters : config;
  if (partial.positive("partial_rotary_factor", 1) !== 1) throw partial.fail("partial_rotary_factor", "1");
  switch (kind) {
    case "linear": {
      const factor = parameters.positive("factor");
      return plain.map((frequency) => f32(frequency / factor));
    }
    case "llama3":
      return llama3Frequencies(plain, parameters, config, positions);
    default:
      throw parameters.fail(parameters.has("rope_type") ? "rope_type" : "type", '"default", "linear" or "llama3"');
  }
}

/**
 * LLaMA 3.1's scaling: frequencies with long wavelengths are divided by `factor`, short ones stay unchanged, those in
 * between are interpolated.
 */
function llama3Frequencies(
  plain: readonly number[],
  parameters: ConfigReader,
  config: ConfigReader,
  positions: number,
): readonly number[] {
  const factor = parameters.positive("factor");
  const low = parameters.positive("low_freq_factor");
  const high = parameters.positive("high_freq_factor");
  if (high <= low) throw parameters.fail("high_freq_factor", `a number above low_freq_factor (${low})`);
  const original = originalContext(parameters, config, positions);
  return plain.map((frequency) => {
    const wavelength = f32(f32(2 * Math.PI) / frequency);
    if (wavelength < original / high) return frequency;
    if (wavelength > original / low) return f32(frequency / factor);
    const smooth = f32(f32(f32(original / wavelength) - low) / (high - low));
    return f32(f32(f32(f32(1 - smooth) * frequency) / factor) + f32(smooth * frequency));
  });
}

/**
 * Positions before the scaling: a value next to `rope_scaling` takes precedence over one inside it; the default is
 * max_position_embeddings.
 */
function originalContext(parameters: ConfigReader, config: ConfigReader, positions: number): number {
  const name = "original_max_position_embeddings";
  if (config.has(name)) return config.positive(name);
  return parameters.positive(name, positions);
}
