import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, freemem, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { embeddedModelDir } from "../embedded";
import { cudaDevices } from "../model/device";
import { native } from "../native";
import { thisPlatform } from "../platform";
import { type Command, status } from "./command";
import { version } from "./help";
import { bytes, padded } from "./text";

/** The result of one check. */
interface Finding {
  readonly name: string;
  /** false: rubricate does not work because of this. */
  readonly ok: boolean;
  readonly text: string;
}

export const doctorCommand: Command = {
  name: "doctor",
  summary: "Checks whether rubricate works on this machine, and reports what it uses.",
  details: "",
  flags: [],
  async run({ terminal }) {
    const findings = [
      nodeVersion(),
      platform(),
      ...addon(),
      memory(),
      ...(await cuda()),
      embeddedModel(),
      await temporaryFolder(),
    ];
    const ok = findings.every((finding) => finding.ok);
    terminal.event({ ok, version: version(), findings });
    terminal.print(`rubricate ${version()}`);
    for (const finding of findings)
      terminal.print(`${finding.ok ? "ok  " : "FAIL"}  ${padded(finding.name, 16)}${finding.text}`);
    return ok ? status.done : status.failed;
  },
};

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

function nodeVersion(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const ok = major > 20 || (major === 20 && minor >= 17);
  return { name: "Node", ok, text: `${process.version}${ok ? "" : "; 20.17 or later is needed"}` };
}

function platform(): Finding {
  const { text, supported } = thisPlatform();
  return {
    name: "platform",
    ok: true,
    text: supported ? text : `${text}: no prebuilt addon; it has to be built from source`,
  };
}

function addon(): Finding[] {
  try {
    const { path, supported, threads } = native().cpu();
    const file = (require("node-gyp-build") as { path(root: string): string }).path(join(__dirname, "..", ".."));
    return [
      { name: "addon", ok: true, text: `${native().version}, ${file}` },
      { name: "kernels", ok: true, text: `${path} (this processor supports ${supported.join(", ")})` },
      { name: "threads", ok: true, text: `${threads} of ${availableParallelism()} processors` },
    ];
  } catch (error) {
    return [{ name: "addon", ok: false, text: messageOf(error) }];
  }
}

function memory(): Finding {
  return { name: "memory", ok: true, text: `${bytes(freemem())} free of ${bytes(totalmem())}` };
}

/** A missing or unusable GPU is not a failure, because rubricate works without one; the reason is reported. */
async function cuda(): Promise<Finding[]> {
  try {
    const { devices, library, driver, runtime } = await cudaDevices();
    return [
      { name: "CUDA", ok: true, text: `${library}, built with CUDA ${runtime}; the driver supports ${driver}` },
      ...devices.flatMap(({ name, capability, freeBytes, memoryBytes, matmul, noCublaslt }, i) => [
        {
          name: `cuda:${i}`,
          ok: true,
          text: `${name}, compute capability ${capability}, ${bytes(freeBytes)} free of ${bytes(memoryBytes)}`,
        },
        {
          name: `cuda:${i} matmul`,
          ok: noCublaslt === undefined || matmul === "own kernels",
          text: noCublaslt === undefined ? matmul : `${matmul}: ${noCublaslt}`,
        },
      ]),
    ];
  } catch (error) {
    return [{ name: "CUDA", ok: true, text: `not used: ${messageOf(error)}` }];
  }
}

function embeddedModel(): Finding {
  const file = join(embeddedModelDir(), "model.safetensors");
  const ok = existsSync(file);
  return {
    name: "embedded model",
    ok,
    text: ok ? embeddedModelDir() : `Expected ${file} but there is none; reinstall`,
  };
}

async function temporaryFolder(): Promise<Finding> {
  try {
    const folder = await mkdtemp(join(tmpdir(), "rubricate-doctor-"));
    await writeFile(join(folder, "probe"), "probe");
    await rm(folder, { recursive: true });
    return { name: "temporary files", ok: true, text: tmpdir() };
  } catch (error) {
    return { name: "temporary files", ok: false, text: `Cannot write in ${tmpdir()}: ${messageOf(error)}` };
  }
}
