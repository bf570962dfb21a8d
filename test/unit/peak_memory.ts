/**
 * Source of `peak()` and `resetPeak()` for a script in its own process: its peak resident memory in bytes. On Linux a child inherits the
 * parent's `resourceUsage().maxRSS`, so that its own growth is hidden; /proc has the child's own. `resetPeak()` makes the
 * peak the memory resident now, where the system can (proc_pid_clear_refs(5)): growth after it is not hidden by memory
 * that was freed before.
 */
export const peakSource = `
const peak = () => {
  try {
    const status = require("node:fs").readFileSync("/proc/self/status", "utf8");
    return 1024 * Number(/VmHWM:\\s+(\\d+)/.exec(status)[1]);
  } catch {
    return 1024 * process.resourceUsage().maxRSS;
  }
};
const resetPeak = () => {
  try {
    require("node:fs").writeFileSync("/proc/self/clear_refs", "5");
  } catch {}
};
`;
