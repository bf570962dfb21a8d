/** The system that this process runs on, and those that the package has a prebuilt addon for. */

/** As the fields `os`, `cpu` and `libc` of package.json. */
const prebuilt = { os: ["linux"], cpu: ["x64", "arm64"], libc: ["glibc"] };
/** The same for messages. */
export const prebuiltFor = "Linux on x64 and arm64 with glibc 2.28 or later";

/** @param glibc its version; undefined if the C library is another one */
export function describePlatform(os: string, cpu: string, glibc: string | undefined) {
  const other = os === "linux" ? ", a C library other than glibc, such as musl" : "";
  const supported = prebuilt.os.includes(os) && prebuilt.cpu.includes(cpu) && glibc !== undefined;
  return { text: `${os} ${cpu}${glibc === undefined ? other : `, glibc ${glibc}`}`, supported };
}

/** Not fast: the report describes the whole process. */
export function thisPlatform() {
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return describePlatform(process.platform, process.arch, header?.glibcVersionRuntime);
}
