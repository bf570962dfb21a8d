import { execFileSync } from "node:child_process";
import { join } from "node:path";

const MIB = 2 ** 20;

test.each([
  ["tensors", 1000],
  ["dropped", 1000],
  ["adapters", 1000],
  ["models", 1000],
])("%s made and disposed of %i times: less than 5 MiB of growth after the first 200", (kind, rounds) => {
  const child = join(__dirname, "growth_child.cjs");
  const grown = execFileSync(process.execPath, ["--expose-gc", child, kind, String(rounds), "200"], {
    encoding: "utf8",
  });
  expect(Number(grown)).toBeLessThan(5 * MIB);
});
