/** Adapters that cannot be loaded. */
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ErrorCode } from "../../lib/errors";
import { adapted, adapts, at, type Case } from "./bad_input_support";
import { rewriteHeader } from "./cli_support";

const brokenAdapter = (change: (folder: string) => unknown) => (folder: string) => {
  cpSync(at("adapter"), folder, { recursive: true });
  return change(folder);
};
const adapter = (what: string, make: Case["make"], code: ErrorCode, says: RegExp): Case => ({
  what,
  make,
  argv: adapted,
  api: adapts,
  code,
  says,
});
const vectorsOf = (folder: string) => join(folder, "adapter_model.safetensors");

export const badAdapters: readonly Case[] = [
  adapter("an adapter that is not there", undefined, "ERR_FILE", /Expected an adapter folder at/),
  adapter(
    "an adapter of another base",
    (f) => cpSync(at("foreign"), f, { recursive: true }),
    "ERR_BASE_MISMATCH",
    /Expected an adapter of .*weights/,
  ),
  adapter(
    "a half-written adapter",
    brokenAdapter((f) => rmSync(vectorsOf(f))),
    "ERR_ADAPTER_FORMAT",
    /Expected adapter_model\.safetensors/,
  ),
  adapter(
    "an adapter's config that is not JSON",
    brokenAdapter((f) => truncateSync(join(f, "adapter_config.json"), 20)),
    "ERR_ADAPTER_FORMAT",
    /Expected JSON in/,
  ),
  adapter(
    "an adapter of a later format",
    brokenAdapter((f) => {
      const path = join(f, "adapter_config.json");
      writeFileSync(path, readFileSync(path, "utf8").replace('"format": 1', '"format": 2'));
    }),
    "ERR_ADAPTER_FORMAT",
    /Expected 1 in .*format but received 2/,
  ),
  adapter(
    "an adapter's vectors, truncated",
    brokenAdapter((f) => truncateSync(vectorsOf(f), 200)),
    "ERR_ADAPTER_FORMAT",
    /adapter_model\.safetensors/,
  ),
  adapter(
    "an adapter that lacks a vector",
    brokenAdapter((f) =>
      rewriteHeader(vectorsOf(f), (h) => {
        h["layers.5.mlp.down_proj.scale"] = h["layers.0.mlp.down_proj.scale"]!;
        delete h["layers.0.mlp.down_proj.scale"];
      }),
    ),
    "ERR_ADAPTER_FORMAT",
    /layers\.[05]\.mlp\.down_proj\.scale/,
  ),
  adapter(
    "an adapter with a NaN",
    brokenAdapter((f) => {
      const bytes = readFileSync(vectorsOf(f));
      bytes.writeFloatLE(Number.NaN, bytes.length - 4);
      writeFileSync(vectorsOf(f), bytes);
    }),
    "ERR_ADAPTER_FORMAT",
    /Expected finite numbers but found NaN/,
  ),
];
