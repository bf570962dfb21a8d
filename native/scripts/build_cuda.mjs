// Builds the CUDA plug-in with nvcc and copies it beside the addon, where the addon looks for it: to build/Release, and
// to prebuilds/ if that exists.
//   node native/scripts/build_cuda.mjs [ARCHITECTURES]
// ARCHITECTURES: such as 80, or "80-real;90-real"; "few": some of the package's list, half of the time; the default is all of the
// package's list that nvcc supports.
// RUBRICATE_JOBS: number of parallel compiler processes (default 2).
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { generator, jobs, root, run, works } from "./commands.mjs";

const folder = join(root, "build-cuda");
const file = "librubricate_cuda.so";

for (const tool of ["cmake", process.env.CUDACXX ?? "nvcc"]) {
  if (works(tool)) continue;
  console.error(`The CUDA plug-in needs cmake and nvcc (CUDA 12 or 13), but ${tool} cannot be run.`);
  process.exit(1);
}
const [given = ""] = process.argv.slice(2);
const few = given === "few";
const settings = [`-DRUBRICATE_CUDA_ARCHITECTURES=${few ? "" : given}`, `-DRUBRICATE_CUDA_FEW=${few ? "ON" : "OFF"}`];
run("cmake", ["-S", root, "-B", folder, ...generator(), "-DRUBRICATE_CUDA=ON", ...settings]);
run("cmake", ["--build", folder, "--target", "rubricate_cuda", "--parallel", jobs]);

const built = join(folder, "native", "device", "cuda", file);
mkdirSync(join(root, "build", "Release"), { recursive: true });
copyFileSync(built, join(root, "build", "Release", file));
const prebuilds = join(root, "prebuilds", `${process.platform}-${process.arch}`);
if (existsSync(prebuilds)) {
  copyFileSync(built, join(prebuilds, file));
  run("strip", ["--strip-unneeded", join(prebuilds, file)]);
}
