/** What an engine's requests keep alive, each in a process of its own: the failures to find are one that never ends, or a crash. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

function run(scenario: string) {
  const typescript = join(__dirname, "typescript.cjs");
  const script = join(__dirname, "engine_exit_child.cjs");
  const child = spawnSync(process.execPath, ["--expose-gc", "--require", typescript, script, scenario], {
    encoding: "utf8",
    timeout: 50_000,
    killSignal: "SIGKILL",
  });
  return { status: child.status, signal: child.signal, stdout: child.stdout.trim(), stderr: child.stderr };
}

test.each([
  ["halfWay", "left"],
  ["pausedThenRead", "read 500"],
  ["collected", "collected"],
  ["memory", "0 0 0 flat"],
  ["workerEnds", "usable 5"],
])("%s", (scenario, stdout) => {
  expect(run(scenario)).toEqual({ status: 0, signal: null, stdout, stderr: "" });
});
