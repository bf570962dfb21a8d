#!/usr/bin/env node
// prebuildify drives this as if it were node-gyp: `rebuild --target=<Node version> --devdir=... --arch=... --release`.
// cmake-js takes --target for a CMake target, so the arguments are translated.
import { build } from "./build_native.mjs";

if (process.argv[2] !== "rebuild" && process.argv[2] !== "build") process.exit(0);
build("cmake");
