/** Lets worker threads start from TypeScript in tests: a plain script compiles their modules as they are loaded. */
import path from "node:path";
import { workerEntry } from "../lib/worker_thread";

workerEntry.of = (module) =>
  path.extname(module) === ".cjs"
    ? { file: module, argv: [] }
    : { file: path.join(__dirname, "source_worker.cjs"), argv: [`${module}.ts`] };
