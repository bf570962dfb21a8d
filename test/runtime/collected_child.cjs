// What is left to the garbage collector: `node --expose-gc collected_child.cjs datasets|runs`. Prints what still exists.
require("./typescript.cjs");
const { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { basename, join } = require("node:path");
const { Dataset } = require("../../lib/data/dataset");
const { LanguageModel } = require("../../lib/model/model");
const { Tokenizer } = require("../../lib/tokenizer/tokenizer");
const { RedAdapter } = require("../../lib/adapter/red_adapter");
const { Trainer } = require("../../lib/train/trainer");
const { embeddedModelDir } = require("../../lib/embedded");

const threads = () => readdirSync("/proc/self/task").length;
const folder = mkdtempSync(join(tmpdir(), "rubricate-collected-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

/** Collects until `done`, for ten seconds at most. */
async function collectUntil(done) {
  for (let turn = 0; turn < 200 && !done(); turn++) {
    global.gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const rows = Array.from({ length: 6 }, (_, at) => ({ text: `hello there ${at}` }));

const kinds = {
  /** Remaining threads of datasets, and examples of a dataset that was collected while they were read. */
  async datasets() {
    // Built on this thread: the thread of `fromPretrained` would end at some time while others are counted.
    const directory = embeddedModelDir();
    const tokenizer = new Tokenizer({
      directory,
      tokenizerJson: readFileSync(join(directory, "tokenizer.json"), "utf8"),
    });
    const make = () => Dataset.fromRows(rows, { tokenizer, maxLength: 16 });
    await (await make()).dispose();
    const before = threads();
    const reading = (await make()).examples([0, 1, 2]);
    global.gc();
    const { length } = await reading;
    const part = (await make()).split(0.5, 1).train; // keeps its source
    for (let at = 0; at < 4; at++) await (await make()).examples([0]);
    const most = threads() - before;
    await collectUntil(() => threads() - before <= 1);
    const left = threads() - before;
    const [example] = await part.examples([0]);
    return { length, most, left, still: example.tokenIds.length > 0 };
  },

  /** What an unfinished run still holds: its adapter, its folder, its log. */
  async runs() {
    const model = await LanguageModel.fromPretrained(join(__dirname, "../parity/fixtures/gqa"));
    const adapter = RedAdapter.create(model);
    const train = [{ tokenIds: Int32Array.of(1, 2, 3, 4), supervised: new Uint8Array(4).fill(1), line: 1 }];
    const trainer = () => new Trainer({ model, adapter, train, maxSteps: 9, outputDir: folder, loggers: ["jsonl"] });
    const held = () => readdirSync(folder).filter((name) => name.includes("lock")).length;
    const open = () =>
      readdirSync("/proc/self/fd")
        .flatMap((fd) => {
          try {
            const path = readlinkSync(`/proc/self/fd/${fd}`);
            return path.startsWith(folder) ? [basename(path)] : [];
          } catch {
            return [];
          }
        })
        .sort();
    await (async () => {
      const run = trainer().run();
      for (let at = 0; at < 3; at++) await run.next();
    })();
    const during = { held: held(), open: open() };
    const refused = await trainer()
      .run()
      .next()
      .catch(({ code }) => code);
    await collectUntil(() => held() === 0 && open().length === 0);
    const after = { held: held(), open: open() };
    let steps = 0;
    for await (const { type } of trainer().run()) if (type === "step") steps++;
    return { during, refused, after, steps };
  },
};

kinds[process.argv[2]]().then((found) => process.stdout.write(JSON.stringify(found)));
