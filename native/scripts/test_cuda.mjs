// Builds the emulated CUDA plug-in and the C++ tests, and runs the tests with it; arguments go to doctest
// (`-tc='swiglu*'`).
//   RUBRICATE_SANITIZE=address,undefined | thread   instruments kernels, core and tests
//   RUBRICATE_EMULATION_SEED=n                      shuffles threads and blocks; results must not change
//   RUBRICATE_JOBS                                  number of parallel compiler processes (default 2)
import { join } from "node:path";
import { buildTests, run, sanitize, sanitizerOptions } from "./commands.mjs";

// The emulation's own tests, which have their own instrumented builds.
const ofTheEmulation = sanitize ? [] : ["rubricate_emulation_tests"];
const targets = ["rubricate_tests", "rubricate_cuda_emulated", ...ofTheEmulation];
const folder = buildTests(targets, ["-DRUBRICATE_CUDA_EMULATED=ON"]);
const emulated = join(folder, "native", "device", "cuda", "emulated");
for (const tests of ofTheEmulation) run(join(emulated, tests), []);
run(join(folder, "rubricate_tests"), process.argv.slice(2), {
  ...sanitizerOptions,
  RUBRICATE_CUDA_LIBRARY: join(emulated, "librubricate_cuda_emulated.so"),
  RUBRICATE_CUBLASLT_LIBRARY: join(emulated, "libfake_cublaslt.so"),
});
