/** Loads the addon. Its types are in lib/binding/, one file for each handle. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { NativeBinding } from "./binding/addon";
import { invalid, RubricateError } from "./errors";
import { packageRoot } from "./package_root";
import { prebuiltFor, thisPlatform } from "./platform";

export type { NativeBinding } from "./binding/addon";
export type * from "./binding/batches";
export type * from "./binding/devices";
export type * from "./binding/engine";
export type * from "./binding/model";
export type * from "./binding/ops";
export type * from "./binding/optimizer";
export type * from "./binding/parameters";
export type * from "./binding/tensor";
export type { NativeJob } from "./job";

let loaded: NativeBinding | undefined;

/**
 * The native addon, loaded on first use: from build/ in a checkout, from prebuilds/ in an installed package.
 * @throws RubricateError ERR_NATIVE_LOAD with what was tried and the command that helps
 */
export function native(): NativeBinding {
  if (loaded) return loaded;
  const { root, version } = packageRoot();
  let binding: NativeBinding;
  try {
    binding = require("node-gyp-build")(root) as NativeBinding;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new RubricateError(
      "ERR_NATIVE_LOAD",
      `The native addon of rubricate could not be loaded on ${thisPlatform().text} (Node ${process.version}): ${reason}. ` +
        `Prebuilt addons are for ${prebuiltFor}. To build one, run ${buildCommand(root)}; that needs a C++20 compiler, ` +
        "make and Python.",
      { cause },
    );
  }
  if (binding.version !== version) {
    throw new RubricateError(
      "ERR_NATIVE_LOAD",
      `Expected a native addon of version ${version} but found one of version ${binding.version}; run ${buildCommand(root)}.`,
    );
  }
  binding.setErrors(RubricateError, invalid);
  loaded = binding;
  return binding;
}

/** An installed package has no sources of dist/, and neither cmake-js nor the TypeScript compiler. */
function buildCommand(root: string): string {
  const checkout = existsSync(join(root, "lib", "index.ts"));
  return `"npm run ${checkout ? "build" : "build:gyp"}" in ${root}`;
}
