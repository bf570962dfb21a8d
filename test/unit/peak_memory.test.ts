import { spawnSync } from "node:child_process";
import { join } from "node:path";

test("the peak of a process is its own, not that of the process that started it", () => {
  const own = `
    require(${JSON.stringify(join(__dirname, "../runtime/typescript.cjs"))});
    const { ownPeakMib, peakMemoryMib } = require(${JSON.stringify(join(__dirname, "../../lib/train/meter.ts"))});
    ownPeakMib().then((peak) => console.log(JSON.stringify([peak, peakMemoryMib()])));`;
  const starting = `
    const large = Buffer.alloc(600 << 20, 1);
    const { stdout } = require("node:child_process").spawnSync(process.execPath, ["-e", ${JSON.stringify(own)}]);
    process.stdout.write(stdout);
    process.exitCode = large.length > 0 ? 0 : 1;`;
  const { stdout } = spawnSync(process.execPath, ["-e", starting], { encoding: "utf8" });
  const [peak, inherited] = JSON.parse(stdout) as [number, number];
  expect(inherited).toBeGreaterThan(600); // what getrusage says
  expect(peak).toBeGreaterThan(20);
  expect(peak).toBeLessThan(500);
});
