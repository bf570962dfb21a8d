// The files of prebuilds/, which the package ships: for each platform that package.json names (os, cpu), the stripped addon under the
// file name that node-gyp-build expects (its README, "Prebuilds": the package's name, then the C library), and the CUDA plug-in.
import { copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root, run } from "./commands.mjs";

const { os, cpu, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** The CUDA plug-in, beside the addon. */
export const plugin = "librubricate_cuda.so";
/** The platform of this process. */
export const thisPlatform = `${process.platform}-${process.arch}`;
/** The platforms with a prebuilt addon. */
export const platforms = os.flatMap((system) => cpu.map((processor) => `${system}-${processor}`));
/** The addon's file name on all of them. */
export const shippedAddon = "rubricate.glibc.node";

const pluginPlatforms = ["linux-x64"];
/** e_machine in the header of an ELF file: EM_X86_64, EM_AARCH64. */
const machines = { x64: 62, arm64: 183 };

/** The addon's file name on the platform of this process. */
export function addonName() {
  if (process.platform !== "linux") return "rubricate.node";
  const glibc = process.report.getReport().header.glibcVersionRuntime !== undefined;
  return glibc ? shippedAddon : "rubricate.musl.node";
}

/** Copies a built file to prebuilds/PLATFORM/NAME and strips it. */
export function stage(built, platform, name, strip = "strip") {
  const folder = join(root, "prebuilds", platform);
  const to = join(folder, name);
  mkdirSync(folder, { recursive: true });
  copyFileSync(built, to);
  run(strip, process.platform === "darwin" ? ["-Sx", to] : ["--strip-all", to]);
}

/** What is wrong with a file of prebuilds/, if anything. */
function problemOf(file, platform) {
  if (!existsSync(file)) return "there is none";
  const bytes = readFileSync(file);
  const machine = bytes.subarray(0, 4).equals(Buffer.from("\x7fELF")) ? bytes.readUInt16LE(18) : undefined;
  const processor = platform.split("-")[1];
  if (machine !== machines[processor]) return `it is not a library for ${processor}`;
  return bytes.includes(`\0${version}\0`) ? undefined : `it was not built from version ${version}`;
}

/** A sentence for each file that a tarball of the package needs and that is missing or wrong. */
export function problems(folder = join(root, "prebuilds")) {
  const files = platforms.map((platform) => [platform, shippedAddon, "npm run make:prebuilds"]);
  for (const platform of pluginPlatforms)
    files.push([platform, plugin, "npm run build:cuda, then npm run make:prebuilds"]);
  return files.flatMap(([platform, name, command]) => {
    const problem = problemOf(join(folder, platform, name), platform);
    return problem ? [`Expected prebuilds/${platform}/${name} for the tarball but ${problem}: run ${command}`] : [];
  });
}
