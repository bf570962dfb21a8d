// Builds the C++ tests and runs them; arguments go to doctest.
//   RUBRICATE_SANITIZE=address,undefined | thread   builds and runs them instrumented, in build-tests-<sanitizers>
//   RUBRICATE_JOBS                                  number of parallel compiler processes (default 2)
import { join } from "node:path";
import { buildTests, run, sanitizerOptions } from "./commands.mjs";

const folder = buildTests(["rubricate_tests"]);
run(join(folder, "rubricate_tests"), process.argv.slice(2), sanitizerOptions);
