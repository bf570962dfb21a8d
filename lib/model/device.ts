import { invalid, RubricateError } from "../errors";
import { runJob } from "../job";
import { limits } from "../limits";
import { type NativeCudaDevices, native } from "../native";

export type { MatrixProduct } from "../binding/devices";

/** Where a model is to compute: "auto" is the first CUDA device where there is one, "cuda" is "cuda:0". */
export type DeviceChoice = "auto" | "cpu" | "cuda" | `cuda:${number}`;

/** Where a model computes. */
export interface ModelDevice {
  readonly kind: "cpu" | "cuda";
  /** Of a CUDA device: its number, and what it is called, such as "NVIDIA H200". */
  readonly index?: number;
  readonly name?: string;
  /** Of a CUDA device: who multiplies matrices there: "own kernels", or such as "cuBLASLt 13.1.1, auto". */
  readonly matmul?: string;
  /** With device "auto": why not on a GPU. */
  readonly reason?: string;
}

/** The CUDA devices of this machine. @throws RubricateError ERR_DEVICE with a sentence that says what is missing */
export function cudaDevices(): Promise<NativeCudaDevices> {
  return runJob(() => native().readCudaDevices());
}

/**
 * Limits what this process takes of a CUDA device's memory, for all its models together, from now on. What loading,
 * training or generating would take beyond it is ERR_OUT_OF_MEMORY; what is held already stays, so that a model can still
 * be used or disposed of, and works on once the limit is raised. Memory that is only kept for reuse is given back first.
 * `model.memory().device` has the figures. CUDA's own few hundred MB of a device are not counted.
 * @param device "cuda", which is "cuda:0", or "cuda:1"
 * @param bytes 0: no limit but the device's own
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

/** The number of a CUDA device, as `DeviceChoice` has it; undefined for any other text. */
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
 * Calls `load` with the device that was asked for. With "auto" it is called again with the CPU where the CUDA device
 * cannot be had, has too little memory, or was lost.
 * @throws RubricateError ERR_ARGUMENT, ERR_DEVICE where "cuda" cannot be had, and what `load` throws
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
