/** Methods: defining one, creating, saving and loading its adapters. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdapter } from "../../lib/adapter/create";
import { Ia3Adapter } from "../../lib/adapter/ia3_adapter";
import { loadAdapter } from "../../lib/adapter/load";
import { LoraAdapter } from "../../lib/adapter/lora_adapter";
import { defineMethod, type Method, type MethodFunction } from "../../lib/adapter/method";
import { MethodAdapter } from "../../lib/adapter/method_adapter";
import { hiwi } from "../../lib/adapter/methods/hiwi";
import { ia3 } from "../../lib/adapter/methods/ia3";
import { lora } from "../../lib/adapter/methods/lora";
import { red } from "../../lib/adapter/methods/red";
import { PlanBuilder } from "../../lib/adapter/plan";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { LanguageModel } from "../../lib/model/model";
import { Trainer } from "../../lib/train/trainer";
import { examplesOf, expectedOf, loadFixture } from "../parity/fixtures";
import { type ShiftOptions, shift, shiftMethod } from "./methods_support";

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
