/**
 * Source of `peak()` for a script in its own process: its peak resident memory in bytes. On Linux a child inherits the
 * parent's `resourceUsage().maxRSS`, so that its own growth is hidden; /proc has the child's own.
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
`;
