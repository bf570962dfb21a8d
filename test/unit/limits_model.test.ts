import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { redPlan } from "../../lib/adapter/red_plan";
import { limits } from "../../lib/limits";
import { findCheckpoint } from "../../lib/model/checkpoint_files";
import { describeModel } from "../../lib/model/families";
import { LanguageModel } from "../../lib/model/model";
import { native } from "../../lib/native";

const root = join(__dirname, "../..");

const config = {
  model_type: "llama",
  hidden_size: 16,
  num_attention_heads: 2,
  intermediate_size: 24,
  num_hidden_layers: 2,
  vocab_size: 100,
};

/** The result of a config.json with these values: "" or the error's code and message. */
function outcome(changes: object): string {
  try {
    describeModel(JSON.parse(JSON.stringify({ ...config, ...changes })), "config.json");
    return "";
  } catch (error) {
    return `${(error as { code: string }).code}: ${(error as Error).message}`;
  }
}

test.each([
  { key: "num_hidden_layers", most: limits.maxLayers },
  { key: "num_attention_heads", most: limits.maxHeads, head_dim: 8, num_key_value_heads: 1 },
  { key: "num_key_value_heads", most: limits.maxHeads, num_attention_heads: limits.maxHeads, head_dim: 8 },
  { key: "head_dim", most: limits.maxHeadDim },
  { key: "hidden_size", most: limits.maxHidden, num_attention_heads: limits.maxHeads },
  { key: "intermediate_size", most: limits.maxIntermediate },
  { key: "vocab_size", most: limits.maxVocabulary },
  { key: "max_position_embeddings", most: limits.maxContext },
  { key: "rms_norm_eps", most: limits.maxPositive },
  { key: "rope_theta", most: limits.maxRopeTheta },
])("$key may be $most and no more", ({ key, most, ...others }) => {
  expect(outcome({ ...others, [key]: most })).toBe("");
  for (const beyond of [most * 2, 2 ** 33, 2 ** 53, 1e30, Number.MAX_VALUE].filter((value) => value > most)) {
    const found = outcome({ ...others, [key]: beyond });
    expect(found).toMatch(/^ERR_CONFIG: Expected an? /);
    expect(found).toContain(` to ${most} for ${key} in config.json but received ${beyond}`);
  }
});

test("minPositive and maxFrequency", () => {
  const { minPositive, maxFrequency } = limits;
  expect(outcome({ rms_norm_eps: minPositive })).toBe("");
  expect(outcome({ rms_norm_eps: minPositive * (1 - 1e-9) })).toMatch(/^ERR_CONFIG: Expected a number from 1e-37 /);
  const scaled = (factor: number) => outcome({ rope_scaling: { type: "linear", factor } });
  expect(scaled(1 / maxFrequency)).toBe(""); // the first frequency is 1
  expect(scaled(1 / (maxFrequency * (1 + 1e-6)))).toMatch(/^ERR_CONFIG: .* frequencies from 1e-37 to 1000000/);
});

test("an architecture document has limits", () => {
  const { Adapter } = native();
  const { maxJsonBytes, maxJsonValues, maxJsonDepth } = limits;
  const { architecture } = describeModel(config, "config.json");
  const text = JSON.stringify(architecture);
  const plan = JSON.stringify(redPlan(architecture, { variant: "all", sites: ["ffn"], layers: [0] }));
  const read = (document: string) => new Adapter(document, plan);
  const code = "ERR_JSON";
  expect(() => read(text.padEnd(maxJsonBytes))).not.toThrow();
  expect(() => read(text.padEnd(maxJsonBytes + 1))).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(`at most ${maxJsonBytes} bytes`) }),
  );
  // Within the limits it is parsed, and the error is that it is not an architecture.
  const values = (count: number) => `[${Array(count - 1).fill(0)}]`;
  expect(() => read(values(maxJsonValues))).not.toThrow(/fewer values/);
  expect(() => read(values(maxJsonValues + 1))).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining("fewer values") }),
  );
  const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  expect(() => read(nested(maxJsonDepth + 1))).not.toThrow(/levels of nesting/); // the outermost level does not count
  expect(() => read(nested(maxJsonDepth + 2))).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(`at most ${maxJsonDepth} levels`) }),
  );
});

test("a family is a label, and nothing is selected by it", () => {
  const document = describeModel(config, "config.json").architecture;
  const plan = redPlan(document, { variant: "all", sites: ["ffn"], layers: [0] });
  const made = (family: string) =>
    new (native().Adapter)(JSON.stringify({ ...document, family }), JSON.stringify(plan));
  for (const family of ["llama", "another_family_2", "a".repeat(32)])
    expect(made(family).shapes).toEqual(made("llama").shapes);
  for (const family of ["", "LLaMA", "a b", "a".repeat(33)])
    expect(() => made(family)).toThrow(
      expect.objectContaining({ code: "ERR_CONFIG", message: expect.stringMatching(/1 to 32 characters .* family/) }),
    );
});

test.each([
  ["a head that is too large by default", { hidden_size: 1024 }, /up to 256 .* for num_attention_heads/],
  ["a head of an odd size by default", { hidden_size: 6 }, /an even size/],
  ["a head of an odd size", { head_dim: 3 }, /an even integer for head_dim/],
  ["a number that float32 cannot hold", { rms_norm_eps: 1e-46 }, /from 1e-37 .* for rms_norm_eps/],
  ["frequencies that are too large", { rope_theta: 1e-9 }, /frequencies .* for rope_theta/],
  ["a factor that makes them so", { rope_scaling: { type: "linear", factor: 1e-7 } }, /frequencies .* for factor/],
  ["a negative zero", { num_hidden_layers: -0 }, /num_hidden_layers/],
  ["a fraction", { vocab_size: 1.5 }, /vocab_size .* received 1.5/],
  ["a string", { vocab_size: "x".repeat(1000) }, /vocab_size .* received "x{77}\.\.\."$/],
  ["a list", { vocab_size: [[[]]] }, /vocab_size .* received an array of length 1/],
  ["an id that is none", { eos_token_id: [1, -1] }, /a token id from 0 to 16777215 .* for eos_token_id/],
  ["an id that is a string", { bos_token_id: "1" }, /bos_token_id/],
  ["an id that is too large", { bos_token_id: limits.maxVocabulary }, /bos_token_id/],
  ["ids without end", { eos_token_id: Array(limits.maxTokenIds + 1).fill(1) }, /at most 1024 token ids/],
])("refuses %s", (_, changes, message) => {
  const found = outcome(changes);
  expect(found).toMatch(/^ERR_CONFIG: /);
  expect(found).toMatch(message);
});

test("reports a number beyond the range of doubles, and does not descend into nested values", () => {
  const parsed = JSON.parse('{"model_type":"llama","hidden_size":1e999}');
  expect(() => describeModel(parsed, "config.json")).toThrow("for hidden_size in config.json but received Infinity");
  const deep = JSON.parse(`${"[".repeat(20000)}${"]".repeat(20000)}`);
  expect(() => describeModel({ ...config, hidden_size: deep }, "config.json")).toThrow("an array of length 1");
});

test("accepts the maximum number of ids, and a negative zero as 0", () => {
  const ids = Array(limits.maxTokenIds).fill(limits.maxVocabulary - 1);
  expect(describeModel({ ...config, eos_token_id: ids }, "config.json").eosTokenIds).toHaveLength(limits.maxTokenIds);
  expect(Object.is(describeModel({ ...config, bos_token_id: -0 }, "config.json").bosTokenId, 0)).toBe(true);
});

describe("a model in a folder of its own", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "rubricate-limits-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const fixture = join(root, "test/parity/fixtures/gqa");
  const fixtureConfig = JSON.parse(readFileSync(join(fixture, "config.json"), "utf8"));

  /** A model with other values in its config.json. */
  function load(changes: object): Promise<LanguageModel> {
    const dir = mkdtempSync(join(folder, "model-"));
    symlinkSync(join(fixture, "model.safetensors"), join(dir, "model.safetensors"));
    writeFileSync(join(dir, "config.json"), JSON.stringify({ ...fixtureConfig, ...changes }));
    return LanguageModel.fromPretrained(dir, { device: "cpu" });
  }

  test("allocates memory for positions when sequences reach them", async () => {
    using vast = await load({ max_position_embeddings: limits.maxContext });
    using small = await load({ max_position_embeddings: 2048 });
    const { owned } = vast.memory();
    expect(owned).toBe(small.memory().owned);
    expect(await vast.logits([1, 2, 3])).toEqual(await small.logits([1, 2, 3]));
    expect(vast.memory().owned).toBe(owned);
    await vast.logits(Array(2049).fill(1));
    expect(vast.memory().owned).toBeGreaterThan(owned);
  });

  test("passes no list of names to the core, which would block the event loop", async () => {
    const many = describeModel({ ...fixtureConfig, num_hidden_layers: limits.maxLayers }, "config.json");
    const { stored, prefix, ignored } = await findCheckpoint(fixture, many);
    expect(Object.keys(stored).length + ignored.length).toBeLessThan(4);
    expect(prefix).toBe("model.");
    await expect(load({ num_hidden_layers: limits.maxLayers })).rejects.toMatchObject({
      code: "ERR_TENSOR_MISSING",
      message: expect.stringContaining('"model.layers.'),
    });
  });
});
