/** Folders of adapters of methods: what is refused, and why. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdapter } from "../../lib/adapter/create";
import { loadAdapter } from "../../lib/adapter/load";
import { lorta } from "../../lib/adapter/methods/lorta";
import { RedAdapter } from "../../lib/adapter/red_adapter";
import type { LanguageModel } from "../../lib/model/model";
import { loadFixture } from "../parity/fixtures";
import { runCli } from "./cli_support";
import { shift } from "./methods_support";

const own = { onNotice: () => {}, methods: [shift] };
let model: LanguageModel;
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "rubricate-method-folders-"));
  model = await loadFixture("gqa", { dtype: "float32" });
});
afterAll(() => {
  model?.dispose();
  rmSync(home, { recursive: true, force: true });
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
