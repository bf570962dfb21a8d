import { spawnSync } from "node:child_process";
import { join } from "node:path";

const refused = expect.stringMatching(/^ERR_OUT_OF_MEMORY: Could not start a thread: .* limits the number of threads/);

/** Whether this system can set the limits that the child needs. */
const available = spawnSync("sh", ["-c", "ulimit -s 1000000 && prlimit --version"]).status === 0;

(available ? test : test.skip)(
  "a job without a thread rejects, naming the limit, and leaves the process free to end",
  () => {
    const child = join(__dirname, "thread_limit_child.cjs");
    const { stdout, status } = spawnSync("sh", ["-c", 'ulimit -s 1000000 && exec "$0" "$1"', process.execPath, child], {
      encoding: "utf8",
      timeout: 30_000,
    });
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual([refused, refused, "done", "0 pending"]);
  },
);
