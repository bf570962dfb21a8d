// Builds the C++ tests and runs them; arguments go to doctest.
//   RUBRICATE_SANITIZE=address,undefined | thread   builds and runs them instrumented, in build-tests-<sanitizers>
//   RUBRICATE_JOBS                                  how many compilers run at once (2 where it is not set)
import { join } from "node:path";
import { buildTests, run, sanitizerOptions } from "./commands.mjs";

const folder = buildTests(["rubricate_tests"]);
run(join(folder, "rubricate_tests"), process.argv.slice(2), sanitizerOptions);
