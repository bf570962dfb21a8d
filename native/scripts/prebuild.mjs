// Makes prebuilds/, which the package ships (prebuilds.mjs), from the CMake build and the CUDA plug-in, if that was built.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildWithCmake } from "./build_native.mjs";
import { root } from "./commands.mjs";
import { addonName, plugin, stage, thisPlatform } from "./prebuilds.mjs";

const built = (name) => join(root, "build", "Release", name);

buildWithCmake();
rmSync(join(root, "prebuilds"), { recursive: true, force: true });
stage(built("rubricate.node"), thisPlatform, addonName());
if (existsSync(built(plugin))) stage(built(plugin), thisPlatform, plugin);
