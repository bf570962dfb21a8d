/** Methods: defining one, creating, saving and loading its adapters, the list of methods, what the command line shows. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdapter } from "../../lib/adapter/create";
import { Ia3Adapter } from "../../lib/adapter/ia3_adapter";
import { loadAdapter } from "../../lib/adapter/load";
import { LoraAdapter } from "../../lib/adapter/lora_adapter";
import { defineMethod, type Method, type MethodFunction } from "../../lib/adapter/method";
import { MethodAdapter } from "../../lib/adapter/method_adapter";
import { methodFunctionOf, methodKinds, methods } from "../../lib/adapter/methods";
import { hiwi } from "../../lib/adapter/methods/hiwi";
import { ia3 } from "../../lib/adapter/methods/ia3";
import { lora } from "../../lib/adapter/methods/lora";
import { lorta } from "../../lib/adapter/methods/lorta";
import { red } from "../../lib/adapter/methods/red";
import { PlanBuilder } from "../../lib/adapter/plan";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { flags } from "../../lib/cli/flags";
import type { LanguageModel } from "../../lib/model/model";
import { Trainer } from "../../lib/train/trainer";
import { examplesOf, expectedOf, folderOf, loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";

const quiet = { onNotice: () => {} };
const ids = Int32Array.of(5, 9, 22, 7, 41, 3);
let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-methods-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
});

interface ShiftOptions {
  readonly size?: number;
  readonly sites?: readonly ("q" | "ffn")[];
  readonly layers?: readonly number[] | "all";
}

/** A bias at some sites, whose first values are numbers up to `size`. */
const shiftMethod: Method<ShiftOptions, Required<ShiftOptions>> = {
  kind: "shift",
  options: ["size", "sites", "layers"],
  learningRate: 0.02,
  check: ({ size = 1, sites = ["ffn"], layers = "all" }, base) => ({
    size,
    sites: base.sites(sites) as ("q" | "ffn")[],
    layers: base.layers(layers),
  }),
  plan({ sites, layers }, base) {
    const builder = new PlanBuilder();
    for (const layer of layers as readonly number[])
      for (const site of sites) {
        const { name, outputs, at } = base.linear(layer, site);
        builder.site({ ...at, bias: builder.parameter(`${name}.shift`, [outputs], 0) });
      }
    return builder.plan;
  },
  *start({ parameters }, { size }, seed) {
    for (const { name, shape } of parameters)
      yield [name, Float32Array.from({ length: shape[0]! }, (_, at) => (size * ((at + seed) % 7)) / 7)];
  },
};
const shift = defineMethod(shiftMethod);
const own = { ...quiet, methods: [shift] };

describe("a method of one's own", () => {
  test("makes an adapter with its configuration and first values", async () => {
    const adapter = (await createAdapter(model, shift({ size: 0.5 }), { seed: 3 })) as MethodAdapter;
    expect(adapter).toBeInstanceOf(MethodAdapter);
    expect(adapter.method).toBe("shift");
    expect(adapter.config).toEqual({ size: 0.5, sites: ["ffn"], layers: [0, 1] });
    expect(adapter.vectors().get("layers.1.mlp.down_proj.shift")![1]).toBeCloseTo((0.5 * 4) / 7, 6);
    expect(adapter.parameterCount).toBe(2 * model.architecture.hidden);
  });

  test("is taken with its defaults as it is", async () => {
    expect((await createAdapter(model, shift)).config).toEqual({ size: 1, sites: ["ffn"], layers: [0, 1] });
  });

  test("saves and loads its adapters, with its configuration and no plan in the folder", async () => {
    const dir = join(home, "saved");
    const adapter = await createAdapter(model, shift({ sites: ["q", "ffn"] }), { seed: 2 });
    await adapter.savePretrained(dir);
    const document = JSON.parse(readFileSync(join(dir, "adapter_config.json"), "utf8"));
    expect(document).toMatchObject({ format: 1, kind: "shift", config: adapter.config, layers: 2, hidden: 48 });
    expect(Object.keys(document).sort()).toEqual([
      "base",
      "config",
      "constants",
      "format",
      "hidden",
      "kind",
      "layers",
      "rubricate",
      "tokenizer",
    ]);
    const loaded = await loadAdapter(dir, model, own);
    expect(loaded.config).toEqual(adapter.config);
    expect(loaded.vectors()).toEqual(adapter.vectors());
    expect(await model.logits(ids, { adapter: loaded })).toEqual(await model.logits(ids, { adapter }));
  });

  test("refuses a folder that was trained with other constants", async () => {
    const scaled = (by: number) =>
      defineMethod({
        kind: "scaled",
        options: [],
        check: () => ({}),
        plan(_, base) {
          const builder = new PlanBuilder();
          const { inputs, outputs, at } = base.linear(0, "q");
          const matrix = builder.constant("matrix", [1, inputs], new Float32Array(inputs).fill(by));
          const up = builder.parameter("up", [outputs, 1], 0);
          builder.site({
            ...at,
            branch: [
              { op: "linear", constant: matrix },
              { op: "linear", weight: up },
            ],
          });
          return builder.plan;
        },
      });
    const dir = join(home, "constants");
    await (await createAdapter(model, scaled(1))).savePretrained(dir);
    await loadAdapter(dir, model, { ...quiet, methods: [scaled(1)] });
    await expect(loadAdapter(dir, model, { ...quiet, methods: [scaled(2)] })).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringMatching(
        /Expected constants with SHA-256 [0-9a-f]{64} from method scaled.* makes [0-9a-f]{64}/,
      ),
    });
  });

  test("has vectors of the base as constants, which its folder does not record", async () => {
    using base = await loadFixture("gpt2", { dtype: "float32" });
    const dir = join(home, "of-base");
    const adapter = await createAdapter(base, hiwi({ rank: 2 }), { seed: 1 });
    await adapter.savePretrained(dir);
    expect(JSON.parse(readFileSync(join(dir, "adapter_config.json"), "utf8")).constants).toBeNull();
    expect((await loadAdapter(dir, base, quiet)).vectors()).toEqual(adapter.vectors());
    const other = defineMethod({
      kind: "other",
      options: [],
      check: () => ({}),
      plan() {
        const builder = new PlanBuilder();
        builder.constantOfBase("layers.0.mlp.none.bias", 24);
        builder.site({ layer: 0, site: "down_proj", bias: builder.parameter("own", [24], 0) });
        return builder.plan;
      },
    });
    await expect(createAdapter(base, other)).rejects.toThrow(/layers\.0\.mlp\.none\.bias/);
  });

  test("trains by its own default learning rate, and resumes", async () => {
    const train = expectedOf("gqa").training.batches.flatMap((step) => step.flatMap(examplesOf));
    const trained = async (outputDir: string, stop?: number, resume = false) => {
      const adapter = await createAdapter(model, shift());
      const options = { batchSize: 4, maxSteps: 4, checkpointEverySteps: 1, loggers: [] };
      const trainer = new Trainer({ model, adapter, train, outputDir, resume, ...options });
      let rate = 0;
      for await (const event of trainer.run()) {
        if (event.type === "start") rate = event.learningRate;
        if (event.type === "checkpoint" && event.step === stop) break;
      }
      return { adapter, rate };
    };
    const whole = await trained(join(home, "whole"));
    expect(whole.rate).toBe(0.02);
    await trained(join(home, "parts"), 2);
    const resumed = await trained(join(home, "parts"), undefined, true);
    expect(resumed.adapter.vectors()).toEqual(whole.adapter.vectors());
  });
});

/** A plan whose parameters have these names. */
function named(...names: string[]) {
  const builder = new PlanBuilder();
  for (const [layer, name] of names.entries())
    builder.site({ layer, site: "down_proj", bias: builder.parameter(name, [model.architecture.hidden], 0) });
  return builder.plan;
}

const broken = (changes: Partial<Method<ShiftOptions, Required<ShiftOptions>>>) =>
  defineMethod({ ...shiftMethod, ...changes });

test.each<[string, MethodFunction<ShiftOptions>, ShiftOptions, string, RegExp]>([
  ["another option", shift, { side: 3 } as ShiftOptions, "ERR_ARGUMENT", /Unknown option "side" for shift/],
  ["a wrong site", shift, { sites: ["o"] as never }, "ERR_ARGUMENT", /some of ffn, attention/],
  ["a wrong layer", shift, { layers: [2] }, "ERR_ARGUMENT", /layer numbers from 0 to 1/],
  [
    "no configuration",
    broken({ check: () => undefined as never }),
    {},
    "ERR_ARGUMENT",
    /an object for the configuration/,
  ],
  ...(
    [
      ["NaN", { size: Number.NaN }],
      ["a map", { size: 1, more: new Map() }],
      ["an array of another kind", { size: new Float32Array(1) }],
      ["a function", { size: () => 1 }],
      ["a promise", Promise.resolve({ size: 1 })],
    ] as const
  ).map(([name, config]): [string, MethodFunction<ShiftOptions>, ShiftOptions, string, RegExp] => [
    `a configuration with ${name}`,
    broken({ check: () => config as never }),
    {},
    "ERR_ARGUMENT",
    name === "a promise"
      ? /null, true, false, a finite number.* for the configuration that shift checked but/
      : /a finite number.*checked, (size|more)/,
  ]),
  [
    "a configuration that another check changes",
    broken({ check: ({ size = 0 }) => ({ size: size + 1, sites: ["ffn"], layers: [0] }) }),
    {},
    "ERR_ARGUMENT",
    /if it is checked again for the configuration that shift checked/,
  ],
  [
    "a long configuration whose end another check changes",
    broken({
      options: ["size", "sites", "layers", "text" as never],
      check: ({ text = "x".repeat(200) }: ShiftOptions & { text?: string }) =>
        ({
          size: 1,
          sites: ["ffn"],
          layers: [0],
          text: `${text.slice(0, -1)}${text.endsWith("x") ? "y" : "z"}`,
        }) as never,
    }),
    {},
    "ERR_ARGUMENT",
    /if it is checked again/,
  ],
  [
    "the kind of another method",
    broken({ kind: "lora" }),
    {},
    "ERR_ARGUMENT",
    /no name|a name that none of this package has/,
  ],
  ...(
    [
      ["no plan", () => undefined, /lists of parameters and sites for the plan of method shift/],
      ["a promise of a plan", async () => new PlanBuilder().plan, /lists of parameters and sites/],
      [
        "two parameters of one name",
        () => named("a", "a"),
        /a name of its own for each for the parameters of method shift but received "a"/,
      ],
      ["a parameter without a name", () => named(""), /1 to 256 characters/],
      ["a name that files cannot have", () => named("__metadata__"), /not "__metadata__"/],
      [
        "a big integer",
        () => ({ ...named("a"), sites: [{ layer: 0n }] }),
        /for the plan of method shift, sites, 0, layer/,
      ],
      [
        "constants of another kind",
        () => ({ ...named("a"), constants: [{ name: "c", shape: [1, 2], values: [1, 2] }] }),
        /a Float32Array of 2 for the constant c/,
      ],
      [
        "constants of the base with values",
        () => ({ ...named("a"), constants: [{ name: "c", shape: [2], ofBase: true, values: new Float32Array(2) }] }),
        /a vector without values, since it is the base's, for the constant c/,
      ],
      [
        "a matrix of the base",
        () => ({ ...named("a"), constants: [{ name: "c", shape: [1, 2], ofBase: true }] }),
        /a vector without values/,
      ],
      [
        "derived values that are no list",
        () => ({ ...named("a"), derived: {} }),
        /lists of parameters and sites for the plan/,
      ],
      [
        "a derived value of a parameter that has a place",
        () => ({
          ...named("a"),
          derived: [{ name: "d", kind: "activation", of: 0, activation: "relu", shape: [48] }],
        }),
        /a parameter or derived value that has no other place for .*bias/,
      ],
      [
        "constants of another length",
        () => ({ ...named("a"), constants: [{ name: "c", shape: [1, 2], values: new Float32Array(3) }] }),
        /a Float32Array of 2/,
      ],
      ["a start without values", undefined, /an iterable of names and values for the start of method shift/],
    ] as const
  ).map(([name, plan, message]): [string, MethodFunction<ShiftOptions>, ShiftOptions, string, RegExp] => [
    name,
    broken(plan ? { plan: plan as never } : { start: (async () => {}) as never }),
    {},
    "ERR_PLAN",
    message,
  ]),
  [
    "a site that there is none of",
    broken({ plan: (_, base) => base.linear(0, "zzz" as never) as never }),
    {},
    "ERR_ARGUMENT",
    /one of .*ffn.* for site but received "zzz"/,
  ],
  [
    "a plan of another width",
    broken({
      plan: () => {
        const builder = new PlanBuilder();
        builder.site({ layer: 0, site: "down_proj", bias: builder.parameter("wide", [7], 0) });
        return builder.plan;
      },
    }),
    {},
    "ERR_PLAN",
    /shape \[48\] for wide but received \[7\] \(the plan of method shift\)/,
  ],
  [
    "a plan without sites",
    broken({ plan: () => ({ parameters: [], sites: [] }) }),
    {},
    "ERR_PLAN",
    /at least one parameter/,
  ],
  [
    "start values of another name",
    broken({
      *start() {
        yield ["other", new Float32Array(1)];
      },
    }),
    {},
    "ERR_ARGUMENT",
    /names of the plan's parameters for the start values of shift but received "other"/,
  ],
  [
    "start values of another length",
    broken({
      *start({ parameters }) {
        yield [parameters[0]!.name, new Float32Array(1)];
      },
    }),
    {},
    "ERR_SHAPE",
    /48 numbers for the start values/,
  ],
  [
    "start values that are not finite",
    broken({
      *start({ parameters }) {
        yield [parameters[0]!.name, new Float32Array(48).fill(Number.NaN)];
      },
    }),
    {},
    "ERR_NOT_FINITE",
    /\[0\]/,
  ],
])("createAdapter refuses %s", async (_, method, options, code, message) => {
  const made = createAdapter(model, method(options));
  await expect(made).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
});

test.each<[string, unknown, RegExp]>([
  ["nothing", undefined, /an object with kind/],
  ["a kind in capitals", { ...shiftMethod, kind: "Shift" }, /lower-case/],
  ["no plan", { ...shiftMethod, plan: undefined }, /a function for plan/],
  ["no names of options", { ...shiftMethod, options: "size" }, /a list of names for options/],
  ["a learning rate of 0", { ...shiftMethod, learningRate: 0 }, /a positive number for learningRate/],
])("defineMethod refuses %s", (_, given, message) => {
  expect(() => defineMethod(given as never)).toThrow(message);
});

test("createAdapter refuses what is no method, and a wrong seed", async () => {
  for (const given of [undefined, "red", {}, () => {}])
    await expect(createAdapter(model, given as never)).rejects.toThrow(/a method with its options/);
  await expect(createAdapter(model, shift(), { seed: -1 })).rejects.toThrow(/an integer in \[0, 2\^53\) for seed/);
});

test("the three methods with classes make adapters of them", async () => {
  expect(await createAdapter(model, red({ sites: ["q"] }))).toBeInstanceOf(RedAdapter);
  expect(await createAdapter(model, ia3())).toBeInstanceOf(Ia3Adapter);
  const adapter = await createAdapter(model, lora({ rank: 2 }), { seed: 5 });
  const direct = await LoraAdapter.create(model, { rank: 2, seed: 5 });
  expect(adapter).toBeInstanceOf(LoraAdapter);
  expect(adapter.vectors()).toEqual(direct.vectors());
});

describe("a folder", () => {
  const saved = join(tmpdir(), `rubricate-methods-folder-${process.pid}`);
  beforeAll(async () => (await createAdapter(model, shift())).savePretrained(saved));
  afterAll(() => rmSync(saved, { recursive: true, force: true }));
  const changed = (name: string, change: (document: Record<string, never>) => object) => {
    const dir = join(home, name.replaceAll(" ", "-"));
    cpSync(saved, dir, { recursive: true });
    const path = join(dir, "adapter_config.json");
    writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")))));
    return dir;
  };

  test.each<[string, (document: Record<string, never>) => object, RegExp]>([
    [
      "of an unknown kind",
      (document) => ({ ...document, kind: "other" }),
      /one of the methods red, lora, ia3.*"other"/,
    ],
    ["with a plan", (document) => ({ ...document, plan: {} }), /no field other than.*"plan"/],
    ["without a width", ({ hidden, ...document }) => document, /a field "hidden"/],
    ["of another width", (document) => ({ ...document, hidden: 64 }), /2 layers of width 48.*of width 64/],
    ["of constants", (document) => ({ ...document, constants: "0".repeat(64) }), /but it makes none: the adapter was/],
    ["without a hash", (document) => ({ ...document, constants: 1 }), /64 hexadecimal digits, or null/],
    ["of another format", (document) => ({ ...document, format: 2 }), /1 in .*format but received 2/],
    ["with a wrong option", (document) => ({ ...document, config: { layers: [9] } }), /layer numbers.*\(config in/],
    ["with another option", (document) => ({ ...document, config: { a: 1 } }), /Unknown option "a"/],
    ["without an option", (document) => ({ ...document, config: {} }), /1 for config.size in .* received nothing/],
    ["of more layers", (document) => ({ ...document, config: { size: 1, sites: ["q"], layers: [0, 1] } }), /no tensor/],
  ])("%s is refused", async (name, change, message) => {
    const loading = loadAdapter(changed(name, change), model, own);
    await expect(loading).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringMatching(message),
    });
  });

  test("of one's own needs the method, and says so", async () => {
    await expect(loadAdapter(saved, model)).rejects.toThrow(/a method of your own is given as one of `methods`/);
    await expect(RedAdapter.fromPretrained(saved, model)).rejects.toThrow(/"red" \(loadAdapter loads adapters of any/);
    await expect(loadAdapter(saved, model, { methods: [{}] as never })).rejects.toThrow(/a list of methods/);
  });

  test("of a base with grouped heads has no tensor of all its projections", async () => {
    await expect(createAdapter(model, lorta)).rejects.toMatchObject({
      code: "ERR_ARGUMENT",
      message: expect.stringMatching(/square and equally wide.* with widths 48 and 16, as grouped heads have/),
    });
  });

  test("of another base is refused, unless that is allowed", async () => {
    const other = await loadFixture("gqa", { dtype: "float32" });
    const dir = changed("base", (document) => ({
      ...document,
      base: { ...(document.base as unknown as object), weights: "a".repeat(64) },
    }));
    await expect(loadAdapter(dir, other, own)).rejects.toMatchObject({ code: "ERR_BASE_MISMATCH" });
    const { notices } = await loadAdapter(dir, other, { ...own, allowBaseMismatch: true });
    expect(notices.map(({ code }) => code)).toContain("RUBRICATE_BASE_MISMATCH");
    other.dispose();
  });

  test("is shown by inspect", async () => {
    const { stdout } = await runCli(["inspect", saved, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      kind: "shift",
      parameters: 96,
      config: { sites: ["ffn"] },
      notices: [],
    });
    const { stdout: text } = await runCli(["inspect", saved]);
    expect(text).toMatch(/method +shift/);
    expect(text).toMatch(/layers\.0\.mlp\.down_proj\.shift +48/);
  });
});

describe("the list of methods", () => {
  test("has each under its kind, and a flag for each option", () => {
    for (const kind of methodKinds) expect(methodFunctionOf(kind).kind).toBe(kind);
    for (const { options } of methods) for (const name of options) expect(Object.keys(flags)).toContain(name);
  });

  test.each(methodKinds.map((kind) => [kind]))("%s has a section in docs/methods.md", (kind) => {
    const text = readFileSync(join(__dirname, "../../docs/methods.md"), "utf8");
    expect(text).toContain(`\`--method ${kind}\``);
  });
});

describe("inspect --method", () => {
  /** LLaMA-2-7B's. */
  const config = {
    model_type: "llama",
    hidden_size: 4096,
    intermediate_size: 11008,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    vocab_size: 32000,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    hidden_act: "silu",
    eos_token_id: 2,
  };
  const shown = async (...args: string[]) => {
    const path = join(home, "llama-2-7b.json");
    writeFileSync(path, JSON.stringify(config));
    return runCli(["inspect", "--model", path, "--json", ...args]);
  };

  test.each<[number, string[]]>([
    [262_144, ["--method", "red"]],
    [4_194_304, ["--method", "lora"]],
    [8_388_608, ["--method", "lora", "--rank", "16"]],
    [614_400, ["--method", "ia3"]],
    [4_325_888, ["--method", "bottleneck"]],
    [524_288, ["--method", "melora"]],
    [524_288, ["--method", "melora", "--groups", "64"]],
    [4_194_304, ["--method", "sibo"]],
    [4_325_888, ["--method", "sibo", "--on", "bottleneck"]],
    [262_144, ["--method", "gift"]],
    [524_288, ["--method", "gift", "--rank", "32"]],
    [131_072, ["--method", "gift", "--sharing", "all"]],
    [262_144, ["--method", "ether"]],
    [262_144, ["--method", "ether", "--blocks", "32"]],
    [1_048_576, ["--method", "ether+", "--blocks", "32"]],
    [4_292 * 8, ["--method", "lorta"]],
    [4_292 * 2, ["--method", "lorta", "--rank", "2"]],
    [249_856 + 266_240, ["--method", "loretta_rep"]],
    [614_400 + 266_240, ["--method", "loretta_adp"]],
    [32_380_032, ["--method", "pafi"]],
    [671_088, ["--method", "sara", "--share", "0.01", "--sites", "q,v", "--layers", "0,1"]],
    [6_738_415_616, ["--method", "full"]],
  ])("of LLaMA-2-7B's config.json alone: %i numbers with %j", async (parameters, args) => {
    const { stdout, stderr } = await shown(...args);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toMatchObject({ parameters, baseParameters: 6_738_415_616 });
  });

  test("also for people, of a model's folder", async () => {
    const { stdout } = await runCli(["inspect", "--model", folderOf("gqa"), "--method", "lora", "--rank", "4"]);
    expect(stdout).toMatch(/method +lora/);
    expect(stdout).toMatch(/rank +4/);
    expect(stdout).toMatch(/layers +0, 1/);
  });

  test.each<[string[], RegExp]>([
    [["--method", "other"], /one of red, lora, ia3/],
    [["--method", "red", "--rank", "4"], /no --rank with --method red/],
    [["--rank", "4"], /--rank only with --method/],
    [["--method", "red", "--adapter", "x"], /--model alone with --method/],
    [
      ["--method", "melora", "--groups", "3"],
      /a divisor of the widths of q, 4096 and 4096, for --groups but received 3/,
    ],
    [["--method", "bottleneck", "--activation", "elu"], /one of gelu, gelu_tanh, silu, relu, tanh/],
    [["--method", "red", "--layers", "32"], /layer numbers from 0 to 31/],
    [
      ["--method", "ether", "--sites", "ffn", "--blocks", "3"],
      /a divisor of the width 11008 of ffn for --blocks but received 3/,
    ],
    [
      ["--method", "ether+", "--sites", "ffn", "--blocks", "86"],
      /a divisor of the widths of ffn, 11008 and 4096, for --blocks but received 86/,
    ],
    [
      ["--method", "hiwi"],
      /biases at up, ffn for the method hiwi but received a model of model_type llama without any/,
    ],
  ])("%j is refused", async (args, message) => {
    const { status, stderr } = await shown(...args);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(message);
  });

  test("of a path that does not exist is refused", async () => {
    const { stderr } = await runCli(["inspect", "--model", join(home, "none"), "--method", "red"]);
    expect(stderr).toMatch(/a model's folder or a config.json/);
  });
});
