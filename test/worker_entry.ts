/** For every test: worker threads start from TypeScript (a plain script compiles their modules as they are loaded). */
import path from "node:path";

process.env.RUBRICATE_CACHE ??= "none"; // tests do not write into the home of who runs them

import { workerEntry } from "../lib/worker_thread";

workerEntry.of = (module) =>
  path.extname(module) === ".cjs"
    ? { file: module, argv: [] }
    : { file: path.join(__dirname, "source_worker.cjs"), argv: [`${module}.ts`] };
