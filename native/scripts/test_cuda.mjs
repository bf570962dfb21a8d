// Builds the CUDA plug-in for the processor, beside the C++ tests, and runs these over it; arguments go to doctest
// (`-tc='swiglu*'`).
//   RUBRICATE_SANITIZE=address,undefined | thread   instruments kernels, core and tests
//   RUBRICATE_EMULATION_SEED=n                      shuffles threads and blocks; results must not change
//   RUBRICATE_JOBS                                  how many compilers run at once (2 where it is not set)
import { join } from "node:path";
import { buildTests, run, sanitize, sanitizerOptions } from "./commands.mjs";

// What shows that the emulation itself can be trusted; it has instrumented builds of its own.
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
