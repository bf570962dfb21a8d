import { spawnSync } from "node:child_process";
import { join } from "node:path";

// Each scenario runs in its own process: the failures to find are a crash or a process that never ends.
function run(scenario: string, flags: string[] = [], variables: NodeJS.ProcessEnv = {}) {
  const child = spawnSync(process.execPath, [...flags, join(__dirname, "environments_child.cjs"), scenario], {
    env: { ...process.env, ...variables },
    encoding: "utf8",
    timeout: 50_000,
    killSignal: "SIGKILL",
  });
  return { status: child.status, signal: child.signal, stdout: child.stdout.trim(), stderr: child.stderr };
}

const quiet = { signal: null, stderr: "" };

test("two workers and the main thread load and train concurrently, with bit-identical results", () => {
  expect(run("twoWorkers")).toEqual({ ...quiet, status: 0, stdout: "equal" });
});

test("worker.terminate() during a step neither crashes nor hangs, and leaves the addon usable", () => {
  expect(run("terminate")).toEqual({ ...quiet, status: 0, stdout: "terminated\nusable" });
});

test("the main thread outlives workers if only they loaded the addon", () => {
  expect(run("onlyInWorkers")).toEqual({ ...quiet, status: 0, stdout: "alive" });
});

test("a worker that throws, or exits, during a step", () => {
  expect(run("endsInWorkers")).toEqual({ ...quiet, status: 0, stdout: "meant to be, exit 3" });
});

test("process.exit() during a step keeps its exit status", () => {
  for (let round = 0; round < 5; round++) expect(run("exit")).toEqual({ ...quiet, status: 7, stdout: "exiting" });
});

test("an uncaught exception during a step ends the process like any other", () => {
  const { status, signal, stderr } = run("throw");
  expect({ status, signal }).toEqual({ status: 1, signal: null });
  expect(stderr).toContain("Error: meant to be");
});

test("a job keeps the process alive until it settles, and no longer", () => {
  expect(run("natural")).toEqual({ ...quiet, status: 0, stdout: "trained" });
});

test("a job continues when every handle that it uses is garbage-collected", () => {
  expect(run("collectedMidway", ["--expose-gc"])).toEqual({ ...quiet, status: 0, stdout: "settled" });
});

test("invalid environment variables end calls with an error code, not the process", () => {
  const threads = run("variables", [], { RUBRICATE_NUM_THREADS: "many" });
  expect(threads).toEqual({ ...quiet, status: 0, stdout: "ERR_ARGUMENT,ERR_ARGUMENT,ERR_ARGUMENT" });
  const path = run("variables", [], { RUBRICATE_CPU_PATH: "mmx" });
  expect(path).toEqual({ ...quiet, status: 0, stdout: "ERR_DEVICE,ERR_DEVICE" });
});
