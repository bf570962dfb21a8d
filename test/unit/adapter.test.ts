import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import { float32Tensor, mostBytes, type StoredTensor, safetensorsPieces } from "../../lib/files/safetensors";
import { type Failure, temporaryFolder, withFailureAt } from "./failing_files";
import { fakeModel } from "./fake_native";

jest.mock("../../lib/native", () => require("./fake_native"));

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const model = fakeModel();

/** An adapter whose vectors are all different. */
function numbered(first: number): RedAdapter {
  const adapter = RedAdapter.create(model, { sites: ["ffn", "q"], layers: [2, 0] });
  let next = first;
  adapter.setVectors(new Map([...adapter.vectors()].map(([name, v]) => [name, v.map(() => next++ / 8)])));
  return adapter;
}

describe("create", () => {
  test("has the vectors of its sites and layers, which are the identity", () => {
    const adapter = RedAdapter.create(model);
    expect([...adapter.vectors().keys()]).toEqual(
      [0, 1, 2].flatMap((layer) => ["scale", "bias"].map((part) => `layers.${layer}.mlp.down_proj.${part}`)),
    );
    expect(adapter.parameterCount).toBe(24);
    expect(adapter.stats()).toEqual(
      [0, 1, 2].map((layer) => ({
        site: `layers.${layer}.mlp.down_proj`,
        scale: { mean: 0, max: 0 },
        bias: { mean: 0, max: 0 },
      })),
    );
    expect(RedAdapter.create(model, { layers: [2, 0], variant: "scale" }).config).toEqual({
      variant: "scale",
      sites: ["ffn"],
      layers: [0, 2],
      hidden: 4,
    });
  });

  test.each([
    [{ variant: "both" }, /variant but received "both"/],
    [{ sites: [] }, /sites/],
    [{ sites: ["ffn", "ffn"] }, /sites/],
    [{ sites: ["mlp"] }, /sites/],
    [{ layers: [] }, /layers/],
    [{ layers: [3] }, /from 0 to 2 for layers but received 3/],
    [{ layers: [1, 1] }, /each layer once/],
    [{ layers: [0.5] }, /layers/],
  ])("refuses %j", (options, message) => {
    expect(() => RedAdapter.create(model, options as never)).toThrow(message);
  });

  test("refuses a value that is not a model", () => {
    expect(() => RedAdapter.create({} as never)).toThrow(/LanguageModel for model/);
  });
});

describe("the size of adapter_model.safetensors", () => {
  const path = () => join(root, "adapter_model.safetensors");
  /** The file of a saved adapter with a given size, padded with spaces in its header. */
  async function padded(change: (size: number) => number): Promise<number> {
    const adapter = RedAdapter.create(model);
    await adapter.savePretrained(root);
    const bytes = readFileSync(path());
    const data = 4 * adapter.parameterCount;
    const most = mostBytes(adapter.vectors().size, adapter.parameterCount);
    const header = bytes.subarray(8, bytes.length - data).toString();
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(change(most) - 8 - data));
    const text = Buffer.from(header.padEnd(change(most) - 8 - data));
    writeFileSync(path(), Buffer.concat([length, text, bytes.subarray(-data)]));
    return most;
  }

  test("may be mostBytes, and no more", async () => {
    await padded((most) => most);
    expect((await RedAdapter.fromPretrained(root, model)).parameterCount).toBe(24);
    const most = await padded((most) => most + 1);
    await expect(RedAdapter.fromPretrained(root, model)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: `Expected at most ${most} bytes in ${path()} for the vectors that adapter_config.json names but it has ${most + 1}`,
    });
  });

  test("is checked before the file is read", async () => {
    await RedAdapter.create(model).savePretrained(root);
    truncateSync(path(), 2 ** 40);
    await expect(RedAdapter.fromPretrained(root, model)).rejects.toMatchObject({ code: "ERR_ADAPTER_FORMAT" });
    truncateSync(path(), 0);
  });
});

describe("texts of an adapter's files in messages", () => {
  const long = `\u001b[31m\n${"x".repeat(100_000)}`;
  const message = async () => ((await RedAdapter.fromPretrained(root, model).catch((error) => error)) as Error).message;

  test("are escaped and truncated", async () => {
    await RedAdapter.create(model).savePretrained(root);
    const config = JSON.parse(readFileSync(join(root, "adapter_config.json"), "utf8"));
    const messages: string[] = [];
    for (const change of [
      { [long]: 1 },
      { kind: long },
      { variant: [long] },
      { base: { ...config.base, name: long, weights: "c".repeat(64) } },
    ]) {
      writeFileSync(join(root, "adapter_config.json"), JSON.stringify({ ...config, ...change }));
      messages.push(await message());
    }
    writeFileSync(join(root, "adapter_config.json"), JSON.stringify(config));
    const pieces: Uint8Array[] = [];
    for await (const piece of safetensorsPieces([float32Tensor(long, [1], new Float32Array(1))])) pieces.push(piece);
    writeFileSync(join(root, "adapter_model.safetensors"), Buffer.concat(pieces));
    messages.push(await message());
    for (const text of messages) {
      expect(text).toContain("\\u001b[31m\\n");
      expect(text.length).toBeLessThan(600);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are looked for
      expect(text).not.toMatch(/[\u0000-\u001f]/);
    }
  });
});

describe("vectors", () => {
  test("are copies, written by name", () => {
    const adapter = RedAdapter.create(model);
    const name = "layers.1.mlp.down_proj.bias";
    adapter.vectors().get(name)!.fill(9);
    expect(adapter.vectors().get(name)).toEqual(new Float32Array(4));
    adapter.setVectors(new Map([[name, Float32Array.of(1, -3, 0, 0)]]));
    expect(adapter.vectors().get(name)).toEqual(Float32Array.of(1, -3, 0, 0));
    expect(adapter.vectors().get("layers.0.mlp.down_proj.scale")).toEqual(Float32Array.of(1, 1, 1, 1));
    expect(adapter.stats()[1]!.bias).toEqual({ mean: 1, max: 3 });
  });

  test.each([
    ["ERR_ARGUMENT", "layers.7.mlp.down_proj.bias", new Float32Array(4)],
    ["ERR_SHAPE", "layers.0.mlp.down_proj.bias", new Float32Array(5)],
    ["ERR_NOT_FINITE", "layers.0.mlp.down_proj.bias", Float32Array.of(0, Number.NaN, 0, 0)],
    ["ERR_NOT_FINITE", "layers.0.mlp.down_proj.bias", Float64Array.of(0, 1e300, 0, 0)],
    ["ERR_NOT_FINITE", "layers.0.mlp.down_proj.bias", [0, 2 ** 128, 0, 0]],
    ["ERR_ARGUMENT", "layers.0.mlp.down_proj.bias", ["1", "2", "3", "4"]],
    ["ERR_ARGUMENT", "layers.0.mlp.down_proj.bias", BigInt64Array.of(1n, 2n, 3n, 4n)],
    ["ERR_ARGUMENT", "layers.0.mlp.down_proj.bias", new Array(4)],
  ])("are refused with %s: %s = %p", (code, name, values) => {
    const adapter = RedAdapter.create(model);
    const before = adapter.vectors();
    const scale = [...before.keys()][0]!;
    const given = new Map<string, unknown>([
      [scale, Float32Array.of(5, 5, 5, 5)],
      [name, values],
    ]);
    expect(() => adapter.setVectors(given as never)).toThrow(expect.objectContaining({ code }));
    expect(adapter.vectors()).toEqual(before);
  });

  test("may be of another type as long as float32 can hold them", () => {
    const adapter = RedAdapter.create(model);
    const [name] = adapter.vectors().keys();
    adapter.setVectors(new Map([[name!, Float64Array.of(0.1, -3, 3e38, 0)]]) as never);
    expect(adapter.vectors().get(name!)).toEqual(Float32Array.of(0.1, -3, 3e38, 0));
  });

  test("belong to the model that the adapter was made for", () => {
    const adapter = RedAdapter.create(model);
    expect(() => adapter.nativeFor(fakeModel())).toThrow(
      expect.objectContaining({
        code: "ERR_FOREIGN",
        message: expect.stringMatching(/load it for this model: RedAdapter/),
      }),
    );
    expect(adapter.nativeFor(model)).toBe(adapter.native);
  });

  test("are gone after dispose", () => {
    const adapter = RedAdapter.create(model);
    adapter.dispose();
    adapter.dispose();
    expect(() => adapter.vectors()).toThrow(expect.objectContaining({ code: "ERR_DISPOSED" }));
  });
});

describe("files", () => {
  test("come back as they were written", async () => {
    const adapter = numbered(1);
    await adapter.savePretrained(root);
    expect(readdirSync(root).sort()).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
    expect(JSON.parse(readFileSync(join(root, "adapter_config.json"), "utf8"))).toEqual({
      format: 1,
      kind: "red",
      variant: "all",
      sites: ["ffn", "q"],
      layers: [0, 2],
      hidden: 4,
      base: { architecture: "a".repeat(64), weights: "b".repeat(64), name: "fake" },
      tokenizer: null,
      rubricate: "0.0.0",
    });
    const loaded = await RedAdapter.fromPretrained(root, model);
    expect(loaded.config).toEqual(adapter.config);
    expect(loaded.vectors()).toEqual(adapter.vectors());
  });

  test("of another base are refused unless that is allowed", async () => {
    await numbered(1).savePretrained(root);
    for (const part of ["architecture", "weights"]) {
      const own = { architecture: "a".repeat(64), weights: "b".repeat(64), [part]: "c".repeat(64) };
      const other = fakeModel({ fingerprint: async () => own, dir: "/models/other" });
      await expect(RedAdapter.fromPretrained(root, other)).rejects.toMatchObject({
        code: "ERR_BASE_MISMATCH",
        message: expect.stringMatching(new RegExp(`/models/other.*${"c".repeat(64)}.*"fake".*[ab]{64}`)),
      });
      const taken = await RedAdapter.fromPretrained(root, other, { allowBaseMismatch: true });
      expect(taken.vectors()).toEqual(numbered(1).vectors());
    }
  });

  test("of another shape are refused even then", async () => {
    await numbered(1).savePretrained(root);
    const stacks = [{ layers: 2 }];
    const small = fakeModel({ architecture: { hidden: 4, stacks } });
    const narrow = fakeModel({ architecture: { hidden: 8, stacks: [{ layers: 3 }] } });
    for (const other of [small, narrow])
      await expect(RedAdapter.fromPretrained(root, other, { allowBaseMismatch: true })).rejects.toMatchObject({
        code: "ERR_ADAPTER_FORMAT",
      });
  });

  const config = () => JSON.parse(readFileSync(join(root, "adapter_config.json"), "utf8"));
  const change = (changes: object) => () =>
    writeFileSync(join(root, "adapter_config.json"), JSON.stringify({ ...config(), ...changes }));

  async function tensors(edit: (tensors: StoredTensor[]) => StoredTensor[]): Promise<void> {
    const all = [...numbered(1).vectors()].map(([name, values]) => float32Tensor(name, [4], values));
    const pieces: Uint8Array[] = [];
    for await (const piece of safetensorsPieces(edit(all))) pieces.push(piece);
    writeFileSync(join(root, "adapter_model.safetensors"), Buffer.concat(pieces));
  }

  test.each<[string, RegExp, () => void | Promise<void>]>([
    ["not JSON", /Expected JSON/, () => writeFileSync(join(root, "adapter_config.json"), "{")],
    ["not an object", /an object/, () => writeFileSync(join(root, "adapter_config.json"), "[]")],
    ["a later format", /Expected 1 in .*format but received 2/, change({ format: 2 })],
    ["another kind", /"red".*kind but received "lora"/, change({ kind: "lora" })],
    ["an unknown variant", /variant but received "both"/, change({ variant: "both" })],
    ["an unknown site", /sites but received \["mlp"\]/, change({ sites: ["mlp"] })],
    ["unordered layers", /layers but received \[2,0\]/, change({ layers: [2, 0] })],
    ["a layer too many", /layer 3/, change({ layers: [0, 3] })],
    ["no width", /hidden but received 0/, change({ hidden: 0 })],
    [
      "no fingerprint",
      /architecture but received "x"/,
      change({ base: { architecture: "x", weights: "b", name: "" } }),
    ],
    ["a field it does not know", /no field other than .* but received "alpha"/, change({ alpha: 1 })],
    [
      "a missing field",
      /"tokenizer"/,
      () => {
        const { tokenizer: _, ...rest } = config();
        writeFileSync(join(root, "adapter_config.json"), JSON.stringify(rest));
      },
    ],
    ["no configuration", /adapter_config.json in the adapter folder/, () => rmSync(join(root, "adapter_config.json"))],
    ["no tensors", /adapter_model.safetensors in the/, () => rmSync(join(root, "adapter_model.safetensors"))],
    [
      "a tensor missing",
      /layers.2.mlp.down_proj.bias but found none/,
      () => tensors((all) => all.filter(({ name }) => name !== "layers.2.mlp.down_proj.bias")),
    ],
    [
      "a tensor too many",
      /no tensor "layers.9.x"/,
      () => tensors((all) => [...all, float32Tensor("layers.9.x", [1], new Float32Array(1))]),
    ],
    [
      "another shape",
      /shape \[4\] for layers.0.mlp.down_proj.scale but found \[2, 2\]/,
      () => tensors((all) => all.map((t) => (t.name === "layers.0.mlp.down_proj.scale" ? { ...t, shape: [2, 2] } : t))),
    ],
    [
      "another dtype",
      /F32 for .* found BF16/,
      () => tensors((all) => all.map((t) => ({ ...t, dtype: "BF16", data: () => new Uint8Array(8) }))),
    ],
    [
      "an infinity",
      /finite numbers but found Infinity at 2 of layers.0.mlp.down_proj.bias/,
      () =>
        tensors((all) =>
          all.map((t) =>
            t.name === "layers.0.mlp.down_proj.bias"
              ? float32Tensor(t.name, [4], Float32Array.of(0, 0, Number.POSITIVE_INFINITY, 0))
              : t,
          ),
        ),
    ],
    [
      "a truncated file",
      /truncated/,
      () => {
        const path = join(root, "adapter_model.safetensors");
        writeFileSync(path, readFileSync(path).subarray(0, -1));
      },
    ],
  ])("with %s are refused", async (_, message, spoil) => {
    await numbered(1).savePretrained(root);
    await spoil();
    await expect(RedAdapter.fromPretrained(root, model)).rejects.toMatchObject({
      code: "ERR_ADAPTER_FORMAT",
      message: expect.stringMatching(message),
    });
  });

  test("that do not exist are ERR_FILE", async () => {
    await expect(RedAdapter.fromPretrained(join(root, "none"), model)).rejects.toMatchObject({ code: "ERR_FILE" });
    writeFileSync(join(root, "file"), "");
    await expect(RedAdapter.fromPretrained(join(root, "file"), model)).rejects.toMatchObject({ code: "ERR_FILE" });
  });

  const failures: Failure[] = ["ENOSPC", "EIO", "power cut", "power cut, unflushed data lost"];
  test.each(failures)("are all old or all new ones, whichever operation of a save meets %s", async (failure) => {
    const [before, after] = [numbered(1), numbered(100)];
    await before.savePretrained(join(root, "template"));
    const { operations } = await withFailureAt(-1, failure, () => after.savePretrained(join(root, "template")));
    const found: number[] = [0, 0];
    for (let at = 0; at < operations.length; at++) {
      const dir = join(root, `${at}`);
      await before.savePretrained(dir);
      const { error } = await withFailureAt(at, failure, () => after.savePretrained(dir));
      expect(error).toMatchObject({ code: "ERR_FILE", message: expect.stringContaining(dir) });
      const loaded = (await RedAdapter.fromPretrained(dir, model)).vectors();
      const first = loaded.get("layers.0.self_attn.q_proj.scale")![0]!;
      expect(loaded).toEqual((first === 100 / 8 ? after : before).vectors());
      found[first === 100 / 8 ? 1 : 0]!++;
    }
    expect(Math.min(...found)).toBeGreaterThan(0);
  });

  test("left by a power cut in a new folder do not count as an adapter", async () => {
    const adapter = numbered(1);
    const { operations } = await withFailureAt(-1, "EIO", () => adapter.savePretrained(join(root, "template")));
    let refused = 0;
    let carried = 0;
    for (let at = 0; at < operations.length; at++) {
      const dir = join(root, `${at}`);
      mkdirSync(dir);
      await withFailureAt(at, "power cut, unflushed data lost", () => adapter.savePretrained(dir));
      cpSync(dir, `${dir}.copy`, { recursive: true }); // also if it was copied to another place
      const loaded = await RedAdapter.fromPretrained(`${dir}.copy`, model).catch((error) => error);
      if (loaded instanceof RedAdapter) expect(loaded.vectors()).toEqual(adapter.vectors());
      else {
        if (/interrupted write .* made in another folder/.test(loaded.message)) {
          expect((await RedAdapter.fromPretrained(dir, model)).vectors()).toEqual(adapter.vectors());
          carried++;
        } else expect(loaded).toMatchObject({ code: "ERR_ADAPTER_FORMAT" });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(carried);
    expect(carried).toBeGreaterThan(0);
  });
});
