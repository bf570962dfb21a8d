import { invalid, RubricateError } from "../errors";
import { runJob } from "../job";
import { limits } from "../limits";
import { type NativeCudaDevices, native } from "../native";

export type { MatmulRecord } from "../binding/devices";

/** Device for a model: "auto" is the first CUDA device if there is one, else the CPU; "cuda" is "cuda:0". */
export type DeviceChoice = "auto" | "cpu" | "cuda" | `cuda:${number}`;

/** The device of a model. */
export interface ModelDevice {
  readonly kind: "cpu" | "cuda";
  /** For a CUDA device: its number, and its name, such as "NVIDIA H200". */
  readonly index?: number;
  readonly name?: string;
  /** For a CUDA device: provider of matmuls: "own kernels", or for example "cuBLASLt 13.1.1, auto". */
  readonly matmul?: string;
  /** With device "auto": why no GPU is used. */
  readonly reason?: string;
}

/** The CUDA devices of this machine. @throws RubricateError ERR_DEVICE naming what is missing */
export function cudaDevices(): Promise<NativeCudaDevices> {
  return runJob(() => native().readCudaDevices());
}

/**
 * Limits this process's memory on a CUDA device, for all its models together, from now on. Allocations of loading, training
 * or generating beyond it fail with ERR_OUT_OF_MEMORY; existing allocations stay, so that a model can still be used or
 * disposed of, and works again once the limit is raised. Memory kept for reuse is released first. `model.memory().device`
 * has the figures. The few hundred MB that CUDA itself uses are not counted.
 * @param device "cuda", which is "cuda:0", or "cuda:1"
 * @param bytes 0: no limit other than the device's memory
 * @throws RubricateError ERR_ARGUMENT, ERR_DEVICE, ERR_DEVICE_LOST
 */
export async function setDeviceMemoryLimit(device: "cuda" | `cuda:${number}`, bytes: number): Promise<void> {
  const index = cudaIndex(device);
  if (index === undefined) throw invalid("device", '"cuda" or "cuda:N"', device);
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > limits.deviceMemoryBytes)
    throw invalid("bytes", `an integer from 0 to ${limits.deviceMemoryBytes}`, bytes);
  await cudaDevice(index, device);
  await runJob(() => native().setDeviceMemoryLimit(index, bytes));
}

/** The number of a CUDA device in a `DeviceChoice`; undefined for any other text. */
export function cudaIndex(device: unknown): number | undefined {
  if (device === "cuda") return 0;
  const digits = typeof device === "string" ? /^cuda:(\d{1,9})$/.exec(device)?.[1] : undefined;
  return digits === undefined || Number(digits) > limits.deviceNumber ? undefined : Number(digits);
}

/** "cpu", or "cuda:0". */
export function deviceName({ kind, index }: ModelDevice): string {
  return kind === "cpu" ? kind : `cuda:${index}`;
}

/** "the CPU", or "cuda:0 (NVIDIA H200)". */
export function deviceText(device: ModelDevice): string {
  return device.kind === "cpu" ? "the CPU" : `${deviceName(device)} (${device.name})`;
}

/**
 * Calls `load` with the requested device. With "auto" it is called again with the CPU if the CUDA device is not available,
 * has too little memory, or was lost.
 * @throws RubricateError ERR_ARGUMENT, ERR_DEVICE if "cuda" is not available, and errors of `load`
 */
export async function onDevice<T>(device: unknown, load: (device: ModelDevice) => Promise<T>): Promise<T> {
  if (device === "cpu") return load({ kind: "cpu" });
  const index = cudaIndex(device === "auto" ? "cuda" : device);
  if (index === undefined) throw invalid("device", '"auto", "cpu", "cuda" or "cuda:N"', device);
  try {
    return await load(await cudaDevice(index, device));
  } catch (error) {
    if (device !== "auto" || !(error instanceof RubricateError) || !reasonsForTheCpu.has(error.code)) throw error;
    return load({ kind: "cpu", reason: error.message });
  }
}

const reasonsForTheCpu: ReadonlySet<string> = new Set(["ERR_DEVICE", "ERR_DEVICE_LOST", "ERR_OUT_OF_MEMORY"]);

async function cudaDevice(index: number, asked: unknown): Promise<ModelDevice> {
  const { devices } = await cudaDevices().catch((error: unknown) => {
    if (asked === "auto" || !(error instanceof RubricateError) || error.code !== "ERR_DEVICE") throw error;
    throw new RubricateError(
      "ERR_DEVICE",
      `Expected a CUDA device for device "${asked}" but cannot use one: ${error.message}`,
      { cause: error },
    );
  });
  const found = devices[index];
  if (found) return { kind: "cuda", index, name: found.name, matmul: found.matmul };
  const there = devices.map(({ name }, at) => `cuda:${at} (${name})`).join(", ");
  throw new RubricateError("ERR_DEVICE", `Expected a CUDA device for device "${asked}" but there is only ${there}`);
}
