// Builds the C++ tests and runs them; arguments go to doctest.
//   --target linux-arm64                            builds them for another processor and runs them under qemu
//   RUBRICATE_SANITIZE=address,undefined | thread   builds and runs them instrumented, in build-tests-<sanitizers>
//   RUBRICATE_JOBS                                  number of parallel compiler processes (default 2)
import { join } from "node:path";
import { buildTests, run, sanitizerOptions } from "./commands.mjs";
import { buildFor, emulatorOf, targetOption } from "./cross.mjs";

const { target, rest } = targetOption(process.argv.slice(2));
if (target === undefined) {
  run(join(buildTests(["rubricate_tests"]), "rubricate_tests"), rest, sanitizerOptions);
} else {
  const [emulator, ...options] = emulatorOf(target);
  run(emulator, [...options, join(buildFor(target, ["rubricate_tests"]), "rubricate_tests"), ...rest]);
}
