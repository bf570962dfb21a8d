// Builds the C++ tests and runs them; arguments go to doctest. Where the addon was built with cmake, they are built beside
// it, from the same objects; else, and with sanitizers, in a folder of their own.
//   RUBRICATE_SANITIZE=address,undefined | thread   builds and runs them instrumented, in build-tests-<sanitizers>
//   RUBRICATE_JOBS                                  how many compilers run at once (2 where it is not set)
import { existsSync } from "node:fs";
import { join } from "node:path";
import { generator, jobs, root, run, works } from "./commands.mjs";

const sanitize = process.env.RUBRICATE_SANITIZE ?? "";
const withAddon = !sanitize && existsSync(join(root, "build", "CMakeCache.txt"));
const own = sanitize ? `build-tests-${sanitize.replaceAll(",", "-")}` : "build-tests";
const folder = join(root, withAddon ? "build" : own);

if (!works("cmake")) {
  console.error("The C++ tests need cmake; install it, or run the tests of the package alone with npm run test:js.");
  process.exit(1);
}
run("cmake", [
  "-S",
  root,
  "-B",
  folder,
  ...(withAddon ? [] : generator()),
  "-DRUBRICATE_TESTS=ON",
  `-DRUBRICATE_SANITIZE=${sanitize}`,
]);
run("cmake", ["--build", folder, "--target", "rubricate_tests", "--parallel", jobs]);
run(join(folder, "rubricate_tests"), process.argv.slice(2), {
  UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
  TSAN_OPTIONS: "halt_on_error=1",
});
