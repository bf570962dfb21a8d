/** `rubricate inspect` of adapters whose vectors have wrong widths. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AdapterFileConfig, type RedSite, redSites, sitePath } from "../../lib/adapter/config";
import { adapterFiles } from "../../lib/adapter/files";
import { writeInto } from "../../lib/files/atomic";
import { runCli } from "./cli_support";

const home = mkdtempSync(join(tmpdir(), "rubricate-inspect-"));
afterAll(() => rmSync(home, { recursive: true }));

const hidden = 16;
const config: AdapterFileConfig = {
  format: 1,
  kind: "red",
  variant: "all",
  sites: [...redSites],
  layers: [0, 3],
  hidden,
  base: { architecture: "a".repeat(64), weights: "b".repeat(64), name: "base" },
  tokenizer: null,
  rubricate: "0.1.0",
};
/** Of a model with grouped heads whose q is wider than the residual stream. */
const widths: Record<RedSite, number> = { ffn: hidden, attention: hidden, q: 24, k: 8, v: 8, gate: 40, up: 40 };
const nameOf = (layer: number, site: RedSite, part: string) => `layers.${layer}.${sitePath(site)}.${part}`;

let folders = 0;
/** Inspects an adapter with one vector of another width. */
async function inspected(changed: Record<string, number> = {}) {
  const vectors: { name: string; shape: number[]; values: Float32Array }[] = [];
  for (const layer of config.layers)
    for (const site of redSites)
      for (const part of ["scale", "bias"]) {
        const name = nameOf(layer, site, part);
        const width = changed[name] ?? widths[site];
        vectors.push({ name, shape: [width], values: new Float32Array(width).fill(1) });
      }
  const dir = join(home, String(folders++));
  await writeInto(dir, adapterFiles(config, vectors));
  return runCli(["inspect", dir, "--json"]);
}

test("a valid adapter is shown, with its number of parameters", async () => {
  const { status, stdout } = await inspected();
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ parameters: 2 * 2 * (16 + 16 + 24 + 8 + 8 + 40 + 40) });
});

test.each<[string, number, number]>([
  [nameOf(0, "ffn", "scale"), 17, hidden],
  [nameOf(3, "ffn", "bias"), 15, hidden],
  [nameOf(3, "attention", "scale"), 1, hidden],
  [nameOf(0, "q", "bias"), 16, 24],
  [nameOf(3, "q", "scale"), 8, 24],
  [nameOf(3, "k", "scale"), 4, 8],
  [nameOf(0, "v", "scale"), 16, 8],
  [nameOf(3, "gate", "scale"), 16, 40],
  [nameOf(0, "up", "bias"), 8, 40],
])("%s of width %i is refused", async (name, width, expected) => {
  const { status, stdout, stderr } = await inspected({ [name]: width });
  expect({ status, stdout: JSON.parse(stdout) }).toMatchObject({
    status: 1,
    stdout: { type: "error", code: "ERR_ADAPTER_FORMAT" },
  });
  expect(stderr).toContain(`Expected shape [${expected}] for ${name} but found [${width}]`);
});

test("every vector whose width differs from the config is refused", async () => {
  const names = config.layers.flatMap((layer) => ["scale", "bias"].map((part) => nameOf(layer, "ffn", part)));
  const { status, stderr } = await inspected(Object.fromEntries(names.map((name) => [name, 24])));
  expect(status).toBe(1);
  expect(stderr).toContain("Expected shape [16] for layers.0.mlp.down_proj.scale but found [24]");
});
