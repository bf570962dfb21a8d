// Preloaded into npm: it then takes this machine for another (RUBRICATE_PRETEND: such as arch=s390x). npm's own options --os and --cpu
// change the check of optional dependencies only.
const { RUBRICATE_PRETEND } = process.env;
const [name, value] = RUBRICATE_PRETEND.split("=");
if (name !== "libc") Object.defineProperty(process, name, { value });
else {
  const { readFileSync } = require("node:fs"); // npm looks for the C library's name in ldd
  require("node:fs").readFileSync = (path, ...rest) => (path === "/usr/bin/ldd" ? value : readFileSync(path, ...rest));
}
