import { readFileSync } from "node:fs";

/** A field of /proc/self/status in bytes, or undefined if there is no such file. */
function statusBytes(field) {
  try {
    const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(readFileSync("/proc/self/status", "utf8"));
    return line ? Number(line[1]) * 1024 : undefined;
  } catch {
    return undefined;
  }
}

/** Samples this process's anonymous memory every `periodMs`; `stop` returns the peaks in bytes. */
export function watchMemory(periodMs = 10) {
  let anonymous = 0;
  const look = () => {
    anonymous = Math.max(anonymous, statusBytes("RssAnon") ?? Number.NaN);
  };
  look();
  const timer = setInterval(look, periodMs);
  return {
    stop() {
      clearInterval(timer);
      look();
      return { anonymousPeak: anonymous, residentPeak: statusBytes("VmHWM") };
    },
  };
}
