// Builds the CUDA plug-in for the processor and runs the C++ tests over it; arguments go to doctest (`-tc='swiglu*'`).
//   RUBRICATE_SANITIZE=address,undefined | thread   instruments kernels, core and tests
//   RUBRICATE_EMULATION_SEED=n                      shuffles threads and blocks; results must not change
//   RUBRICATE_JOBS                                  how many compilers run at once (2 where it is not set)
import { dirname, join } from "node:path";
import { generator, jobs, root, run } from "./commands.mjs";

const sanitize = process.env.RUBRICATE_SANITIZE ?? "";
const folder = join(root, `build-cuda-emulated${sanitize ? `-${sanitize.replaceAll(",", "-")}` : ""}`);
const plugin = join(folder, "native", "device", "cuda", "emulated", "librubricate_cuda_emulated.so");

// What shows that the emulation itself can be trusted; it has instrumented builds of its own.
const ofTheEmulation = sanitize ? [] : ["rubricate_emulation_tests"];
const options = ["-DRUBRICATE_TESTS=ON", "-DRUBRICATE_CUDA_EMULATED=ON", `-DRUBRICATE_SANITIZE=${sanitize}`];
run("cmake", ["-S", root, "-B", folder, ...generator(), ...options]);
const targets = ["rubricate_tests", "rubricate_cuda_emulated", ...ofTheEmulation];
run("cmake", ["--build", folder, "--parallel", jobs, "--target", ...targets]);
for (const tests of ofTheEmulation) run(join(dirname(plugin), tests), []);
run(join(folder, "rubricate_tests"), process.argv.slice(2), {
  RUBRICATE_CUDA_LIBRARY: plugin,
  UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
  TSAN_OPTIONS: "halt_on_error=1",
});
