/** Every public function and all of its options, with wrong values. Everything public must be in the tables. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as api from "../../lib/index";
import { adapters, models } from "./public_calls/models";
import { serving } from "./public_calls/serving";
import { oddValues, type PublicCall, type Subjects, settled } from "./public_calls/support";
import { operations, tensors } from "./public_calls/tensors";
import { tokenizers } from "./public_calls/text";
import { data, training } from "./public_calls/training";
import { writeVectors } from "./torch_archives";

const calls: Readonly<Record<string, PublicCall>> = {
  ...models,
  ...adapters,
  ...serving,
  ...data,
  ...training,
  ...tokenizers,
  ...tensors,
  ...operations,
};

const home = mkdtempSync(join(tmpdir(), "rubricate-calls-"));
let subjects: Subjects;

beforeAll(async () => {
  const dir = api.embeddedModelDir();
  const model = await api.LanguageModel.fromPretrained(dir, { device: "cpu" });
  const tokenizer = model.requireTokenizer();
  const adapter = api.RedAdapter.create(model);
  const lora = await api.LoraAdapter.create(model);
  const ia3 = api.Ia3Adapter.create(model);
  const [adapterDir, loraDir, ia3Dir] = [join(home, "saved"), join(home, "lora"), join(home, "ia3")];
  await adapter.savePretrained(adapterDir);
  await lora.savePretrained(loraDir);
  await ia3.savePretrained(ia3Dir);
  const referenceFile = join(home, "delta_vector.pth");
  const { hidden, stacks } = model.architecture;
  const vectorNames = Array.from({ length: stacks[0].layers }, (_, layer) =>
    ["bias", "scaling"].map((part) => `model.layers.${layer}.mlp.down_proj.delta_vector.activation_${part}`),
  );
  writeVectors(referenceFile, vectorNames.flat(), { width: hidden });
  const rows = [{ text: "once upon a time" }, { text: "there was a girl" }, { text: "who had a dog" }];
  const all = await api.Dataset.fromRows(rows, { tokenizer, maxLength: 16 });
  const out = join(home, "out");
  mkdirSync(out);
  const tensor = (...shape: number[]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return api.Tensor.from(new Float32Array(count).fill(1), shape, "float32", { requiresGrad: true });
  };
  const examples = await all.examples([0, 1]);
  subjects = {
    dir,
    adapterDir,
    loraDir,
    ia3Dir,
    referenceFile,
    out,
    model,
    tokenizer,
    adapter,
    lora,
    ia3,
    data: all,
    examples,
    tensor,
    tape: new api.Tape(),
  };
});

afterAll(async () => {
  await subjects.data.dispose();
  subjects.model.dispose();
  rmSync(home, { recursive: true, force: true });
});

/** The code of a call's error, "taken" if it throws nothing, or a description of any other thrown value. */
async function outcome({ call }: PublicCall, args: unknown[]): Promise<string> {
  try {
    await settled(call(subjects, args as never[]));
    return "taken";
  } catch (error) {
    if (error instanceof api.RubricateError) return error.code;
    return `not a RubricateError: ${String((error as Error)?.message)}`;
  }
}

/** Tries odd values for an argument. @returns those whose result differs from the table */
async function surprises(entry: PublicCall, place: string, argsWith: (value: unknown) => unknown[]): Promise<string[]> {
  const named = (list: string | undefined) => new Set(list?.split(" ") ?? []);
  const taken = named(entry.takes?.[place]);
  const skipped = named(entry.skips?.[place]);
  const codes: readonly string[] = ["ERR_ARGUMENT", ...(entry.codes ?? [])];
  const found: string[] = [];
  for (const [name, make] of Object.entries(oddValues)) {
    if (skipped.has(name)) continue;
    const result = await outcome(entry, argsWith(make()));
    const fits = taken.has(name) ? result === "taken" : codes.includes(result);
    if (!fits) found.push(`${place} = ${name}: ${result}`);
  }
  return found;
}

const entries = Object.entries(calls);

test.each(entries.filter(([, { runs }]) => runs !== false))("%s takes good arguments", async (_, entry) => {
  expect(await outcome(entry, entry.args(subjects))).toBe("taken");
  if (!entry.options) return;
  const args = entry.args(subjects);
  expect(await outcome(entry, [...args.slice(0, -1), entry.options(subjects)])).toBe("taken");
});

test.each(entries.filter(([, { args }]) => args.length > 0))("%s refuses wrong arguments", async (_, entry) => {
  const found: string[] = [];
  const count = entry.args(subjects).length;
  for (let at = 0; at < count; at++)
    found.push(...(await surprises(entry, `${at}`, (value) => entry.args(subjects).with(at, value))));
  expect(found).toEqual([]);
});

const withOptions = entries.filter(([, { options }]) => options);

test.each(withOptions)("%s refuses wrong options", async (name, entry) => {
  const found: string[] = [];
  const withOption = (option: string, value: unknown) => {
    const args = entry.args(subjects);
    return args.with(-1, { ...(args.at(-1) as object), [option]: value });
  };
  for (const option of Object.keys(entry.options!(subjects)))
    found.push(...(await surprises(entry, option, (value) => withOption(option, value))));
  expect(found).toEqual([]);
  const unknown = (async () => settled(entry.call(subjects, withOption("noSuchOption", 1) as never[])))();
  await expect(unknown).rejects.toMatchObject({
    code: "ERR_ARGUMENT",
    message: expect.stringMatching(/^Unknown option "noSuchOption" for \w/),
  });
  expect(name).toBeTruthy();
});

describe("an adapter that cannot be used", () => {
  const takers = [
    "LanguageModel#logits",
    "LanguageModel#generate",
    "LanguageModel#complete",
    "LanguageModel#score",
    "evaluate",
    "new Trainer",
    "MultiTrainer#add",
  ];

  test.each(takers)("by %s", async (name) => {
    const entry = calls[name]!;
    const other = await api.LanguageModel.fromPretrained(subjects.dir, { device: "cpu" });
    const foreign = api.RedAdapter.create(other);
    const gone = api.RedAdapter.create(subjects.model);
    gone.dispose();
    const given = (adapter: unknown) => {
      const args = entry.args(subjects);
      return outcome(entry, args.with(-1, { ...(args.at(-1) as object), adapter }));
    };
    expect(await given(foreign)).toBe("ERR_FOREIGN");
    expect(await given(await api.RedAdapter.fromPretrained(subjects.adapterDir, other))).toBe("ERR_FOREIGN");
    expect(await given(gone)).toBe("ERR_DISPOSED");
    expect(await given(subjects.adapterDir)).toBe("ERR_ARGUMENT");
    expect(await given(api.RedAdapter.fromPretrained(subjects.adapterDir, subjects.model))).toBe("ERR_ARGUMENT");
    expect(await given([subjects.adapter])).toBe("ERR_ARGUMENT");
    expect(await given(subjects.adapter)).toBe("taken");
    other.dispose();
  });

  test("by all calls that accept one", () => {
    const named = entries.filter(([, { options }]) => options && Object.hasOwn(options(subjects), "adapter"));
    expect(named.map(([name]) => name)).toEqual(takers);
  });
});

describe("after dispose()", () => {
  const gone = (subject: "model" | "adapter" | "data" | "tape") => async (name: string) => {
    const model = await api.LanguageModel.fromPretrained(subjects.dir, { device: "cpu" });
    const adapter = api.RedAdapter.create(model);
    const rows = [{ text: "hello there" }, { text: "and you" }];
    const all = await api.Dataset.fromRows(rows, { tokenizer: model.requireTokenizer(), maxLength: 8 });
    const own = { ...subjects, model, adapter, data: all, tape: new api.Tape() };
    const args = calls[name]!.args(own);
    await own[subject].dispose();
    const call = (async () => settled(calls[name]!.call(own, args as never[])))();
    await expect(call).rejects.toMatchObject({ code: "ERR_DISPOSED" });
    await all.dispose();
    model.dispose();
  };
  const callsOf = (pattern: RegExp, without: readonly string[] = []) =>
    Object.keys(calls).filter((name) => pattern.test(name) && !without.includes(name));

  test.each(callsOf(/^LanguageModel#|^RedAdapter\.|^evaluate/, ["LanguageModel#requireTokenizer"]))(
    "of the model, %s",
    gone("model"),
  );
  test.each(callsOf(/^RedAdapter#/))("of the adapter, %s", async (name) => {
    const { adapter } = subjects;
    const own = api.RedAdapter.create(subjects.model);
    const args = calls[name]!.args(subjects);
    own.dispose();
    const call = (async () => calls[name]!.call({ ...subjects, adapter: own }, args as never[]))();
    await expect(call).rejects.toMatchObject({ code: "ERR_DISPOSED" });
    expect(adapter.parameterCount).toBeGreaterThan(0);
  });
  test.each(["Dataset#examples", "Dataset#plan", "Dataset#inspect"])("of the dataset, %s", gone("data"));
  test.each(callsOf(/^Tape#|^ops\.(?!adamwStep|gradientNorm)/))("of the tape, %s", async (name) => {
    const tape = new api.Tape();
    const args = calls[name]!.args({ ...subjects, tape });
    tape.dispose();
    const call = (async () => calls[name]!.call({ ...subjects, tape }, args as never[]))();
    await expect(call).rejects.toMatchObject({ code: "ERR_DISPOSED" });
  });
});

/** Methods visible to JavaScript that are not public: private or @internal in the source. */
const notPublic = new Set([
  "new MethodAdapter",
  "MethodAdapter.create",
  "MethodAdapter.build",
  "MethodAdapter.load",
  "MethodAdapter#plan",
  "MethodAdapter#files",
  "MethodAdapter#base",
  "MethodAdapter#nativeFor",
  "MethodAdapter#storedNames",
  "MethodAdapter#storedEntries",
  "MethodAdapter#storedShapes",
  "MethodAdapter#byName",
  "MethodAdapter#savePretrained",
  "MethodAdapter#vectors",
  "MethodAdapter#gradients",
  "MethodAdapter#setVectors",
  // They keep what they are given: createAdapter checks it (methods.test.ts).
  "new MethodBase",
  "MethodBase#layers",
  "MethodBase#sites",
  "MethodBase#linear",
  "new PlanBuilder",
  "PlanBuilder#parameter",
  "PlanBuilder#constant",
  "PlanBuilder#site",
  "PlanBuilder#undecayed",
  "PlanBuilder#ofBase",
  "PlanBuilder#constantOfBase",
  "PlanBuilder#derive",
  "PlanBuilder#sparse",
  "bitfit",
  "bottleneck",
  "ether",
  "etherPlus",
  "gift",
  "hiwi",
  "ia3",
  "lora",
  "lorettaAdp",
  "lorettaRep",
  "lorta",
  "melora",
  "norms",
  "pafi",
  "red",
  "sara",
  "sibo",
  "spt",
  "new LoraAdapter",
  "LoraAdapter.build",
  "LoraAdapter.load",
  "LoraAdapter#base",
  "LoraAdapter#byName",
  "LoraAdapter#files",
  "LoraAdapter#nativeFor",
  "LoraAdapter#plan",
  "LoraAdapter#storedNames",
  "LoraAdapter#storedEntries",
  "LoraAdapter#storedShapes",
  "new Ia3Adapter",
  "Ia3Adapter.build",
  "Ia3Adapter.load",
  "Ia3Adapter#base",
  "Ia3Adapter#byName",
  "Ia3Adapter#files",
  "Ia3Adapter#nativeFor",
  "Ia3Adapter#plan",
  "Ia3Adapter#storedNames",
  "Ia3Adapter#storedEntries",
  "Ia3Adapter#storedShapes",
  "LanguageModel#forgetFingerprint",
  "RedAdapter.build",
  "RedAdapter.load",
  "RedAdapter#base",
  "RedAdapter#byName",
  "RedAdapter#fileConfig",
  "RedAdapter#files",
  "RedAdapter#nativeFor",
  "RedAdapter#plan",
  "RedAdapter#storedNames",
  "RedAdapter#storedEntries",
  "RedAdapter#storedShapes",
  "Engine#end",
  "Engine#generating",
  "Engine#serve",
  "Engine#requireTakes",
  "Engine#allEnded",
  "Engine#requireOpen",
  "Dataset.index",
  "Dataset#requireVocabulary",
  "Dataset#splitInSlices",
  "Dataset#splitSteps",
  "Tokenizer.ofParts",
  "Tokenizer.load",
  "Tokenizer#tellIgnored",
  "Tokenizer#textOf",
  "Tokenizer#tokenId",
  "Tokenizer#has",
  "Tokenizer#isSpecialId",
  "Tokenizer#affixes",
  "Tokenizer#encodeStart",
  "Tokenizer#decodeIds",
  "Tokenizer#templateFor",
  "Trainer#events",
  "Trainer#locked",
  "MultiTrainer#begin",
  "MultiTrainer#requireFree",
  // Constructors that are private in TypeScript, and that of the error class, which accepts anything.
  "new LanguageModel",
  "new RedAdapter",
  "new Dataset",
  "new Tensor",
  "new RubricateError",
]);

const isMethod = (owner: object, name: string) =>
  typeof Object.getOwnPropertyDescriptor(owner, name)?.value === "function";

function methodsOf(name: string, Class: { readonly prototype: object }): string[] {
  const statics = Object.getOwnPropertyNames(Class).filter((one) => one !== "prototype" && isMethod(Class, one));
  const methods = new Set<string>(); // its own and those of its base class in this package
  for (let own = Class.prototype; /^class\b/.test(String(own.constructor)); own = Object.getPrototypeOf(own))
    for (const one of Object.getOwnPropertyNames(own))
      if (one !== "constructor" && one !== "dispose" && isMethod(own, one)) methods.add(one);
  return [`new ${name}`, ...statics.map((one) => `${name}.${one}`), ...[...methods].map((one) => `${name}#${one}`)];
}

test("the tables hold everything that is public", () => {
  expect(api.LlamaModel).toBe(api.LanguageModel);
  const found = Object.entries(api).flatMap(([name, value]) => {
    if (name === "LlamaModel") return [];
    if (typeof value === "function") return /^class\b/.test(String(value)) ? methodsOf(name, value as never) : [name];
    return Object.keys(value)
      .filter((key) => typeof (value as Record<string, unknown>)[key] === "function")
      .map((key) => `${name}.${key}`);
  });
  const tabled = new Set(Object.keys(calls).map((name) => name.replace(/ (of|by) .*$/, "")));
  expect(found.filter((name) => !tabled.has(name) && !notPublic.has(name))).toEqual([]);
  expect([...tabled, ...notPublic].filter((name) => !found.includes(name))).toEqual([]);
});
