/** The package's root folder, from which the addon, the worker's file and the embedded model are found. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { RubricateError } from "./errors";
import { type JsonObject, parseJson } from "./files/json";
import { readTextSync } from "./files/read";
import { limits } from "./limits";

const packageName = "rubricate";

interface PackageRoot {
  readonly root: string;
  readonly version: string;
}

/** Bundles of ES modules do not define `__dirname`. */
const ownFolder = typeof __dirname === "string" ? __dirname : null;
/** Looked up once, because the files are read synchronously on the caller's thread. */
let own: PackageRoot | undefined;

/**
 * The package's root folder, from lib/ as well as from dist/.
 * @throws RubricateError ERR_NATIVE_LOAD if a bundler copied this code out of the package
 */
export function packageRoot(): PackageRoot {
  own ??= packageRootOf(ownFolder);
  return own;
}

/** The same for code in a folder; null if the folder is unknown. */
export function packageRootOf(from: string | null): PackageRoot {
  for (let folder = from; folder !== null; ) {
    const manifest = join(folder, "package.json");
    if (existsSync(manifest)) {
      const found = parseJson(readTextSync(manifest, limits.documentBytes), manifest) as JsonObject | null;
      if (found?.name === packageName && typeof found.version === "string")
        return { root: folder, version: found.version };
      break; // an application's package.json
    }
    folder = dirname(folder) === folder ? null : dirname(folder);
  }
  throw new RubricateError("ERR_NATIVE_LOAD", bundledMessage(from));
}

/** Also the message of dist/not_bundled.mjs, which native/scripts/finish_dist.mjs writes. */
export function bundledMessage(from: string | null): string {
  return (
    `Expected the code of ${packageName} in its package but it runs from ${from ?? "a bundle"}, where a bundler put it: the ` +
    "native addon, the worker thread's file and the embedded model are not there. Keep the package out of the bundle: esbuild " +
    `--external:${packageName}; webpack externals: { ${packageName}: "commonjs ${packageName}" }; Next.js ` +
    `serverExternalPackages: ["${packageName}"]; Rollup external: ["${packageName}"] (docs/bundlers.md)`
  );
}
