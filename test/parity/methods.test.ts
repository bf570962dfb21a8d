/**
 * Methods whose plans have steps or derived values, against a float64 oracle written from their formulas (make_method_fixtures.py), on LLaMA
 * and GPT-2: gradients, ten steps, folders, resuming, merging, batches with other methods, decoding. A method is a row of `cases`.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdapter } from "../../lib/adapter/create";
import { loadAdapter } from "../../lib/adapter/load";
import { LoraAdapter } from "../../lib/adapter/lora_adapter";
import { mergeAdapter } from "../../lib/adapter/merge";
import type { MethodCall } from "../../lib/adapter/method";
import type { MethodAdapter } from "../../lib/adapter/method_adapter";
import { bottleneck } from "../../lib/adapter/methods/bottleneck";
import { ether, etherPlus } from "../../lib/adapter/methods/ether";
import { gift } from "../../lib/adapter/methods/gift";
import { hiwi } from "../../lib/adapter/methods/hiwi";
import { lorettaAdp, lorettaRep } from "../../lib/adapter/methods/loretta";
import { lorta } from "../../lib/adapter/methods/lorta";
import { melora } from "../../lib/adapter/methods/melora";
import { pafi } from "../../lib/adapter/methods/pafi";
import { sara } from "../../lib/adapter/methods/sara";
import { sibo } from "../../lib/adapter/methods/sibo";
import { spt } from "../../lib/adapter/methods/spt";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { Example } from "../../lib/data/types";
import { float32Values, readSafetensors } from "../../lib/files/safetensors";
import { LanguageModel } from "../../lib/model/model";
import { MultiTrainer } from "../../lib/train/multi_trainer";
import { sensitivities } from "../../lib/train/sensitivities";
import { Trainer } from "../../lib/train/trainer";
import {
  backward,
  device,
  examplesOf,
  expectedOf,
  folderOf,
  loadFixture,
  relativeError,
  trainedSteps,
  under,
} from "./fixtures";
import { vera } from "./vera";

interface Case {
  readonly call: MethodCall | ((model: LanguageModel, train: readonly Example[]) => Promise<MethodCall>);
  /** Whether a new adapter changes nothing; "rounded": nothing but roundings, as of reflections that cancel. */
  readonly startsAsBase: boolean | "rounded";
  /** Whether it draws no random numbers: all seeds give the same. */
  readonly drawsNothing?: true;
  /** What merging is refused for; undefined: it merges. */
  readonly notMerged?: RegExp;
  /** The fixtures that it has; undefined: gqa and gpt2. */
  readonly bases?: readonly string[];
  /** The one of them that runs on the emulated device too, where a case takes half a minute; undefined: all. */
  readonly onDevice?: string;
}

const activation = (kind: string) => new RegExp(`layer 0, site .* has an activation \\(${kind}\\)`);
const cases: Readonly<Record<string, Case>> = {
  bottleneck: { call: bottleneck({ size: 4 }), startsAsBase: true, notMerged: activation("gelu") },
  bottleneck_both: {
    call: bottleneck({ size: 4, activation: "silu", place: "attention+ffn" }),
    startsAsBase: true,
    notMerged: activation("silu"),
    onDevice: "gpt2",
  },
  bottleneck_gelu_tanh: {
    call: bottleneck({ size: 4, activation: "gelu_tanh" }),
    startsAsBase: true,
    notMerged: activation("gelu_tanh"),
    onDevice: "gqa",
  },
  bottleneck_relu: {
    call: bottleneck({ size: 4, activation: "relu" }),
    startsAsBase: true,
    notMerged: activation("relu"),
    onDevice: "gqa",
  },
  bottleneck_tanh: {
    call: bottleneck({ size: 4, activation: "tanh" }),
    startsAsBase: true,
    notMerged: activation("tanh"),
    onDevice: "gpt2",
  },
  melora: {
    call: melora({ rank: 2, groups: 4, alpha: 6, sites: ["q", "v", "ffn"] }),
    startsAsBase: true,
    onDevice: "gqa",
  },
  vera: { call: vera({ rank: 2 }), startsAsBase: true, drawsNothing: true, onDevice: "gpt2" },
  sibo_lora: {
    call: sibo({ lambda: 0.25, rank: 2, alpha: 6, sites: ["q", "v", "up"] }),
    startsAsBase: true,
    notMerged: /layer 0, site q has a part of the embedding's output \(mix_initial\)/,
    onDevice: "gqa",
  },
  sibo_bottleneck: {
    call: sibo({ on: "bottleneck", lambda: 0.25, size: 4, activation: "relu", place: "attention+ffn" }),
    startsAsBase: true,
    notMerged: /layer 0, site attention has a part of the embedding's output \(mix_initial\)/,
    onDevice: "gpt2",
  },
  gift: { call: gift({ rank: 2 }), startsAsBase: true, onDevice: "gpt2" },
  ether: { call: ether({ blocks: 4, sites: ["q", "v", "ffn"] }), startsAsBase: false, onDevice: "gqa" },
  ether_plus: { call: etherPlus({ blocks: 2, sites: ["q", "ffn"] }), startsAsBase: "rounded", onDevice: "gpt2" },
  lorta: { call: lorta({ rank: 3, alpha: 6 }), startsAsBase: true, bases: ["mha", "gpt2"], onDevice: "mha" },
  loretta_rep: { call: lorettaRep({ rank: 8, alpha: 6, tensorRank: 3 }), startsAsBase: false, onDevice: "gqa" },
  loretta_adp: {
    call: lorettaAdp({ size: 8, tensorRank: 2 }),
    startsAsBase: false,
    notMerged: activation("tanh"),
    onDevice: "gpt2",
  },
  hiwi: { call: hiwi({ rank: 3 }), startsAsBase: true, bases: ["gpt2"] },
  hiwi_weights: {
    call: hiwi({ target: "weights", rank: 3, sites: ["q", "up", "ffn"] }),
    startsAsBase: true,
    onDevice: "gpt2",
  },
  gift_gelu: { call: gift({ rank: 2, activation: "gelu" }), startsAsBase: true, onDevice: "gqa" },
  pafi: {
    call: pafi({ share: 0.03, sites: ["q", "attention", "up", "ffn"] }),
    ...{ startsAsBase: true, drawsNothing: true },
    onDevice: "gqa",
  },
  sara: {
    call: sara({ threshold: 0.03, sites: ["k", "ffn"] }),
    startsAsBase: true,
    drawsNothing: true,
    onDevice: "gpt2",
  },
  sara_rank: {
    call: sara({ threshold: 0.06, reselectAt: 0, rankLoss: 0.05, sites: ["up"], layers: [1] }),
    startsAsBase: true,
    drawsNothing: true,
    onDevice: "gpt2",
  },
  spt: {
    call: async (model, train) => {
      const own = { train, budget: 600, batches: 4, batchSize: 4, shuffle: false };
      return spt({ sensitivities: await sensitivities(model, own), rank: 2, alpha: 12, beta: 4 });
    },
    startsAsBase: true,
    onDevice: "gqa",
  },
};

const ids = Int32Array.of(5, 9, 22, 7, 41, 3);
const quiet = { onNotice: () => {} };

describe.each(["gqa", "mha", "gpt2"])("%s", (base) => {
  const expected = expectedOf(base);
  const train = expected.training.batches.flatMap((step) => step.flatMap(examplesOf));
  let model: LanguageModel;
  let home: string;
  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), "rubricate-method-parity-"));
    model = await loadFixture(base, { dtype: "float32" });
  });
  afterAll(() => {
    model?.dispose();
    rmSync(home, { recursive: true, force: true });
  });

  const own = Object.entries(cases).filter(
    ([, { bases = ["gqa", "gpt2"], onDevice = base }]) =>
      bases.includes(base) && (device === "cpu" || onDevice === base),
  );
  describe.each(own)("%s", (name, { call: given, startsAsBase, drawsNothing, notMerged }) => {
    let fixture: Map<string, Float32Array>;
    let call: MethodCall;
    beforeAll(async () => {
      call = typeof given === "function" ? await given(model, train) : given;
      const tensors = await readSafetensors(join(folderOf("methods"), `${base}_${name}.safetensors`));
      fixture = new Map([...tensors].map(([key, tensor]) => [key, float32Values(tensor, key)]));
    });
    /** With the oracle's numbers. */
    const filled = async () => {
      const adapter = await createAdapter(model, call);
      adapter.setVectors(under(fixture, "value."));
      return adapter as MethodAdapter;
    };

    test("the gradients, stored and recomputed", async () => {
      using adapter = await filled();
      expect([...adapter.vectors().keys()].sort()).toEqual([...under(fixture, "value.").keys()].sort());
      await backward(model, adapter.native, expected.batch);
      const stored = adapter.gradients();
      for (const [of, gradient] of under(fixture, "grad."))
        expect([of, relativeError(stored.get(of)!, gradient) < 1e-5]).toEqual([of, true]);
      await backward(model, adapter.native, expected.batch, true);
      expect(adapter.gradients()).toEqual(stored);
    });

    test("ten steps of AdamW, also in smaller micro-batches", async () => {
      using adapter = await filled();
      const answer = async (of: MethodAdapter) => ({
        logits: await model.logits(ids, { adapter: of }),
        tokens: (await model.complete({ tokenIds: ids, maxNewTokens: 4, adapter: of })).tokenIds,
      });
      const before = await answer(adapter);
      await trainedSteps(model, expected.training, { adapter });
      using same = (await createAdapter(model, call)) as MethodAdapter;
      same.setVectors(adapter.vectors());
      expect(await answer(adapter)).toEqual(await answer(same));
      expect(before.logits).not.toEqual((await answer(adapter)).logits);
      for (const [of, values] of under(fixture, "train."))
        expect([of, relativeError(adapter.vectors().get(of)!, values) < 1e-4]).toEqual([of, true]);
      using split = await filled();
      await trainedSteps(model, expected.training, {
        ...{ adapter: split, batchSize: 1, gradientAccumulationSteps: 4, recompute: true },
      });
      expect(split.vectors()).toEqual(adapter.vectors());
    });

    test("a new adapter is the base's, and the same for the same seed", async () => {
      using one = await createAdapter(model, call, { seed: 1 });
      using same = await createAdapter(model, call, { seed: 1 });
      using other = await createAdapter(model, call, { seed: 2 });
      expect(same.vectors()).toEqual(one.vectors());
      if (!drawsNothing) expect(other.vectors()).not.toEqual(one.vectors());
      const away = relativeError(await model.logits(ids, { adapter: one }), await model.logits(ids));
      if (startsAsBase) expect(away).toBeLessThan(startsAsBase === "rounded" ? 1e-6 : 1e-7);
    });

    test("is saved, loaded and merged, or says why not", async () => {
      using adapter = await filled();
      const dir = join(home, name);
      await adapter.savePretrained(dir);
      using loaded = await loadAdapter(dir, model, { ...quiet, methods: [vera] });
      expect(loaded.vectors()).toEqual(adapter.vectors());
      const logits = await model.logits(ids, { adapter });
      expect(await model.logits(ids, { adapter: loaded })).toEqual(logits);
      expect(relativeError(logits, await model.logits(ids))).toBeGreaterThan(1e-3);
      const merging = mergeAdapter(model, adapter, join(home, `${name}-merged`));
      if (notMerged) {
        await expect(merging).rejects.toMatchObject({ code: "ERR_MERGE", message: expect.stringMatching(notMerged) });
        return;
      }
      await merging;
      using merged = await LanguageModel.fromPretrained(join(home, `${name}-merged`), { device, dtype: "float32" });
      expect(relativeError(await merged.logits(ids), logits)).toBeLessThan(1e-5);
    });

    test("resumes to the bits of a whole run", async () => {
      const run = async (outputDir: string, stopAt: number, resume: boolean) => {
        const adapter = await createAdapter(model, call);
        const options = { train, outputDir, resume, maxSteps: 4, batchSize: 4, learningRate: 0.01, loggers: [] };
        const controller = new AbortController();
        try {
          for await (const event of new Trainer({ model, adapter, ...options }).run({ signal: controller.signal }))
            if (event.type === "step" && event.step === stopAt) controller.abort();
        } catch (error) {
          expect(error).toMatchObject({ code: "ERR_ABORTED" });
        }
        return adapter.vectors();
      };
      const whole = await run(join(home, `${name}-whole`), 9, false);
      await run(join(home, `${name}-parts`), 2, false);
      expect(await run(join(home, `${name}-parts`), 9, true)).toEqual(whole);
    });

    /** The method, another one with steps, LoRA and RED. */
    const four = async () => [
      await createAdapter(model, call),
      await createAdapter(model, name === "melora" ? bottleneck : melora({ groups: 2 }), { seed: 7 }),
      await LoraAdapter.create(model, { rank: 3, targetModules: "all-linear" }),
      RedAdapter.create(model),
    ];

    test("trains beside other methods as alone, bit for bit", async () => {
      const options = { train, maxSteps: 3, batchSize: 4, learningRate: 0.01 };
      const [alone, together] = [await four(), await four()];
      for (const adapter of alone) {
        const events = new Trainer({ model, adapter, ...options }).run();
        while (!(await events.next()).done);
      }
      const trainer = new MultiTrainer({ model });
      const runs = together.map((adapter, at) => trainer.add(`${at}`, { adapter, ...options }));
      await Promise.all(runs.map(({ done }) => done));
      await trainer.close();
      for (const [at, adapter] of together.entries()) expect(adapter.vectors()).toEqual(alone[at]!.vectors());
    });

    test("decodes as forwards do, and beside other methods and the base as alone", async () => {
      const adapters = [await filled(), ...(await four()).slice(1), undefined];
      const call = { tokenIds: ids, maxNewTokens: 10 };
      const alone: Int32Array[] = [];
      for (const adapter of adapters) alone.push((await model.complete({ ...call, adapter })).tokenIds as never);
      const tokens = [...ids];
      for (let step = 0; step < 10; step++) {
        const logits = await model.logits(tokens, { adapter: adapters[0] });
        const last = logits.slice(-model.vocabularySize);
        tokens.push(last.indexOf(Math.max(...last)));
      }
      expect([...alone[0]!]).toEqual(tokens.slice(ids.length, ids.length + alone[0]!.length));
      const together = await Promise.all(adapters.map((adapter) => model.complete({ ...call, adapter })));
      expect(together.map(({ tokenIds }) => tokenIds)).toEqual(alone);
    });
  });
});
