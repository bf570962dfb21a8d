// Sets adapters in an engine: `node --expose-gc --require ./typescript.cjs resident_adapters_child.cjs changed|new COUNT`. Prints how
// many bytes of memory the process took for them, and the bytes of their versions.
const { readFileSync } = require("node:fs");
const { Engine, LanguageModel, RedAdapter, embeddedModelDir } = require("../../lib/index.ts");
const { redSites } = require("../../lib/adapter/config.ts");

/** Bytes of memory that no file is behind, once garbage was collected. */
async function taken() {
  for (let round = 0; round < 4; round++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 20)); // finalizers run between tasks
  }
  return 1024 * Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]);
}

async function main([kind, count]) {
  const model = await LanguageModel.fromPretrained(embeddedModelDir(), { device: "cpu" });
  const engine = new Engine({ model });
  const made = () => RedAdapter.create(model, { sites: redSites });
  const one = made();
  const vectors = one.vectors();
  const set = async (name, number) => {
    const adapter = kind === "new" ? made() : one;
    for (const values of vectors.values()) values[0] = number + 1;
    adapter.setVectors(vectors);
    await engine.adapters.set(name, adapter);
    if (adapter !== one) adapter.dispose();
  };
  for (let at = 0; at < 50; at++) await set(`warm-up ${at}`, at);
  const before = { taken: await taken(), bytes: engine.adapters.bytes };
  for (let at = 0; at < Number(count); at++) await set(`adapter ${at}`, at);
  const grown = (await taken()) - before.taken;
  process.stdout.write(JSON.stringify({ grown, bytes: engine.adapters.bytes - before.bytes }));
  await engine.close();
  model.dispose();
}

main(process.argv.slice(2));
