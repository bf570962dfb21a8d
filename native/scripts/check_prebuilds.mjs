// npm's "prepack": refuses to make a tarball that lacks a prebuilt addon or the CUDA plug-in, or has one of another version.
// npm does not run it for a dependency from git (prepare.mjs); yarn and pnpm do, and then stop here.
//   node native/scripts/check_prebuilds.mjs [FOLDER]      FOLDER: default prebuilds/
import { problems } from "./prebuilds.mjs";

const found = problems(process.argv[2]);
for (const problem of found) console.error(problem);
if (found.length > 0)
  console.error("A dependency from git is built by npm only; with other package managers install a tarball.");
process.exit(found.length === 0 ? 0 : 1);
