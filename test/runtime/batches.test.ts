/**
 * The border to the core: every rule of a batch at its limit and past it, names of enums, and the message for a bad
 * argument.
 */
import { join } from "node:path";
import { type RedSite, type RedVariant, redSites } from "../../lib/adapter/config";
import { linearAt } from "../../lib/adapter/plan";
import { redPlan } from "../../lib/adapter/red_plan";
import { invalid } from "../../lib/errors";
import { LanguageModel } from "../../lib/model/model";
import { type NativeModel, native } from "../../lib/native";

const folder = join(__dirname, "../parity/fixtures/gqa");
const vocabulary = 128;
const context = 128;
const ids = (...values: number[]) => Int32Array.from(values);

let owner: LanguageModel;
let model: NativeModel;
beforeAll(async () => {
  owner = await LanguageModel.fromPretrained(folder);
  model = owner.native;
});
afterAll(() => owner.dispose());

interface Case {
  tokenIds?: Int32Array;
  sequenceStarts?: Int32Array;
  slots?: Int32Array;
  targets?: Int32Array;
}
const starts = (rows: number, ...from: number[]) => ({ tokenIds: new Int32Array(rows), sequenceStarts: ids(...from) });
const bounds = "Expected sequenceStarts from 0 to the number of rows";
const ascending = "Expected ascending sequenceStarts for sequences of at least 1 rows but received";

const extentsRules: [string, Case, string, string][] = [
  ["one token", starts(1, 0, 1), "", ""],
  ["no token", starts(0, 0), "ERR_ARGUMENT", "Expected at least one token but received none"],
  ["the last id", { tokenIds: ids(vocabulary - 1), sequenceStarts: ids(0, 1) }, "", ""],
  [
    "an id past the last",
    { tokenIds: ids(0, vocabulary), sequenceStarts: ids(0, 2) },
    "ERR_ARGUMENT",
    "Expected token ids from 0 to 127 but received 128 at position 1",
  ],
  [
    "an id before the first",
    { tokenIds: ids(-1), sequenceStarts: ids(0, 1) },
    "ERR_ARGUMENT",
    "Expected token ids from 0 to 127 but received -1 at position 0",
  ],
  ["no starts", starts(1), "ERR_ARGUMENT", "Expected sequenceStarts of at least 1 sequences but received -1"],
  ["no sequence", starts(1, 0), "ERR_ARGUMENT", "Expected sequenceStarts of at least 1 sequences but received 0"],
  ["a first start that is not 0", starts(2, 1, 2), "ERR_ARGUMENT", `${bounds} (2) but received 1 to 2`],
  ["a last start before the end", starts(2, 0, 1), "ERR_ARGUMENT", `${bounds} (2) but received 0 to 1`],
  ["a last start past the end", starts(2, 0, 3), "ERR_ARGUMENT", `${bounds} (2) but received 0 to 3`],
  ["sequences of one token", starts(2, 0, 1, 2), "", ""],
  ["an empty sequence", starts(2, 0, 1, 1, 2), "ERR_ARGUMENT", `${ascending} 1 after 1`],
  ["a start that falls", starts(3, 0, 2, 1, 3), "ERR_ARGUMENT", `${ascending} 1 after 2`],
  ["the first and the last slot", { ...starts(2, 0, 1, 2), slots: ids(0, 1) }, "", ""],
  [
    "a slot past the adapters",
    { ...starts(2, 0, 1, 2), slots: ids(0, 2) },
    "ERR_ARGUMENT",
    "Expected slots from 0 to 1 but received 2 for sequence 1",
  ],
  [
    "a negative slot",
    { ...starts(1, 0, 1), slots: ids(-1) },
    "ERR_ARGUMENT",
    "Expected slots from 0 to 1 but received -1 for sequence 0",
  ],
  [
    "a slot too few",
    { ...starts(2, 0, 1, 2), slots: ids(1) },
    "ERR_ARGUMENT",
    "Expected one slot for each of 2 sequences but received 1",
  ],
  [
    "a slot too many",
    { ...starts(1, 0, 1), slots: ids(1, 1) },
    "ERR_ARGUMENT",
    "Expected one slot for each of 1 sequences but received 2",
  ],
  ["a whole context", starts(context, 0, context), "", ""],
  [
    "a token past the context",
    starts(context + 1, 0, context + 1),
    "ERR_CONTEXT_LENGTH",
    "Expected at most 128 positions (the model's context) but received a sequence that reaches 129",
  ],
];

const targetRules: [string, Int32Array, string, string][] = [
  ["no loss, and the last id", ids(-1, vocabulary - 1), "", ""],
  ["below -1", ids(-2, 1), "ERR_ARGUMENT", "Expected targets from -1 to 127 but received -2 at position 0"],
  ["past the last id", ids(1, 128), "ERR_ARGUMENT", "Expected targets from -1 to 127 but received 128 at position 1"],
  ["too few", ids(1), "ERR_ARGUMENT", "Expected one target for each of 2 tokens but received 1"],
  ["too many", ids(1, 1, 1), "ERR_ARGUMENT", "Expected one target for each of 2 tokens but received 3"],
];

/** The result of a job: "" and "", or the error's code and message. */
async function outcome(job: { promise: Promise<unknown> }): Promise<[string, string]> {
  try {
    await job.promise;
    return ["", ""];
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return [code, message];
  }
}

const newAdapter = (variant: RedVariant = "all", site: RedSite = "ffn", layer = 0) => {
  const plan = redPlan(owner.architecture, { variant, sites: [site], layers: [layer] });
  return new (native().Adapter)(JSON.stringify(owner.architecture), JSON.stringify(plan));
};

describe("a batch", () => {
  test.each(extentsRules)("%s, of logits", async (_, batch, code, message) => {
    const { tokenIds = ids(), sequenceStarts = ids(), slots } = batch;
    const job = model.logits({ tokenIds, sequenceStarts, ...(slots && { slots }) }, [newAdapter()], ids(0));
    // Without a token there is no row 0 either; the batch is refused first.
    expect(await outcome(job)).toEqual([code, message]);
  });

  test.each(extentsRules)("%s, of an evaluation", async (_, batch, code, message) => {
    const { tokenIds = ids(), sequenceStarts = ids(), slots } = batch;
    const targets = new Int32Array(tokenIds.length).fill(-1);
    const job = model.evaluate([{ tokenIds, sequenceStarts, targets, ...(slots && { slots }) }], [newAdapter()]);
    expect(await outcome(job)).toEqual([code, message]);
  });

  test.each(targetRules)("targets: %s", async (_, targets, code, message) => {
    const batch = { tokenIds: ids(1, 2), sequenceStarts: ids(0, 2), targets };
    expect(await outcome(model.evaluate([batch], []))).toEqual([code, message]);
  });
});

test("the ops check starts and slots like a batch, with the same messages", () => {
  const { Tape, Tensor, ops } = native();
  const tensor = (shape: number[]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return Tensor.from(new Float32Array(count), shape, "float32", false);
  };
  const edit = (from: Int32Array, slots: Int32Array) => () =>
    ops.redEdit(new Tape(), { h: tensor([2, 4]), scales: [tensor([4])], biases: [null], starts: from, slots });
  expect(edit(ids(0, 1, 2), ids(0, 1))).not.toThrow();
  expect(edit(ids(0, 1, 2), ids(0, 2))).toThrow("Expected slots from 0 to 1 but received 2 for sequence 1");
  expect(edit(ids(0, 1, 2), ids(0))).toThrow("Expected one slot for each of 2 sequences but received 1");
  expect(edit(ids(0, 3), ids(0))).toThrow("Expected starts from 0 to the number of rows (2) but received 0 to 3");
  expect(edit(ids(0, 1, 1, 2), ids(0, 0, 0))).toThrow(
    "Expected ascending starts for sequences of at least 1 rows but received 1 after 1",
  );
  expect(edit(ids(0), ids())).toThrow("Expected starts of at least 1 sequences but received 0");
});

describe("names of enums", () => {
  test.each<[RedVariant, string[]]>([
    ["all", ["scale", "bias"]],
    ["scale", ["scale"]],
    ["bias", ["bias"]],
    ["ln", ["scale", "bias", "ln.weight", "ln.bias"]],
  ])("the variant %s has its vectors", (variant, vectors) => {
    expect(newAdapter(variant).names).toEqual(vectors.map((vector) => `layers.0.mlp.down_proj.${vector}`));
  });

  test.each(redSites)("the site %s", (site) => {
    const { names, shapes } = newAdapter("bias", site, 1);
    const { name, outputs } = linearAt(owner.architecture, 1, site);
    expect(names).toEqual([`${name}.bias`]);
    expect(shapes).toEqual([[outputs]]);
  });

  test.each(["float32", "bfloat16", "float16", "int32"] as const)("the dtype %s is printed as it is read", (dtype) => {
    const values = dtype === "int32" ? Int32Array.of(1) : Float32Array.of(1);
    expect(native().Tensor.from(values, [1], dtype, false).dtype).toBe(dtype);
  });

  test("an unknown name", () => {
    const plan = { parameters: [{ name: "s", shape: [4], start: 1 }], sites: [{ layer: 0, site: "ffn", scale: 0 }] };
    expect(() => new (native().Adapter)(JSON.stringify(owner.architecture), JSON.stringify(plan))).toThrow(
      'Expected a site for plan: sites[0].site but received the string "ffn"',
    );
  });
});

test.each<[string, unknown]>([
  ["undefined", undefined],
  ["null", null],
  ["a string with a control character", "two\u001b"],
  ["a long string", "x".repeat(100)],
  ["a number", 1.5],
  ["no number", Number.NaN],
  ["a bigint", 12n],
  ["a symbol", Symbol("s")],
  ["a function", () => 1],
  ["an array", [1, 2]],
  ["an object without a prototype", Object.create(null)],
  ["an object of a class", new Map()],
  ["a revoked proxy", revoked()],
  [
    "an object whose constructor throws",
    Object.defineProperty({}, "constructor", {
      get() {
        throw new Error("no");
      },
    }),
  ],
])("the addon describes %s as the package does", (_, value) => {
  const expected = invalid("threads", "an integer from 1 to 256", value).message;
  expect(() => native().setThreads(value as number)).toThrow(
    expect.objectContaining({ name: "RubricateError", code: "ERR_ARGUMENT", message: expected }),
  );
});

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}
