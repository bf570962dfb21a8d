/**
 * Source of `peak()` for a script of its own process: the most bytes that it has had in memory. Linux hands the parent's
 * `resourceUsage().maxRSS` on to a child, which then seems to take nothing; /proc tells the child's own.
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
