// Makes prebuilds/, which the package ships (prebuilds.mjs): this platform's addon from the CMake build, with the CUDA plug-in if that
// was built, and the other platforms' addons, if their cross compilers are installed.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildWithCmake } from "./build_native.mjs";
import { root } from "./commands.mjs";
import { buildFor, canBuildFor, stripOf } from "./cross.mjs";
import { addonName, platforms, plugin, shippedAddon, stage, thisPlatform } from "./prebuilds.mjs";

const built = (name) => join(root, "build", "Release", name);

buildWithCmake();
rmSync(join(root, "prebuilds"), { recursive: true, force: true });
stage(built("rubricate.node"), thisPlatform, addonName());
if (existsSync(built(plugin))) stage(built(plugin), thisPlatform, plugin);
for (const platform of platforms.filter((name) => name !== thisPlatform)) {
  if (canBuildFor(platform))
    stage(join(buildFor(platform), "rubricate.node"), platform, shippedAddon, stripOf(platform));
  else console.error(`prebuilds/${platform} was not made: its cross compiler is not installed.`);
}
