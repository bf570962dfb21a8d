import { invalid, RubricateError } from "../errors";
import { runJob } from "../job";
import { type NativeCudaDevices, native } from "../native";

/** Where a model computes. */
export interface ModelDevice {
  readonly kind: "cpu";
  /** With device "auto": why not on a GPU. */
  readonly reason?: string;
}

/** The CUDA devices of this machine. @throws RubricateError ERR_DEVICE with a sentence that says what is missing */
export function cudaDevices(): Promise<NativeCudaDevices> {
  return runJob(() => native().readCudaDevices());
}

/** @throws RubricateError ERR_ARGUMENT, and ERR_DEVICE where "cuda" cannot be had */
export async function chooseDevice(device: unknown): Promise<ModelDevice> {
  if (device === "cpu") return { kind: "cpu" };
  if (device !== "auto" && device !== "cuda") throw invalid("device", '"auto", "cpu" or "cuda"', device);
  const reason = await whyNotCuda();
  if (device === "auto") return { kind: "cpu", reason };
  throw new RubricateError("ERR_DEVICE", `Expected a CUDA device for device "cuda" but cannot use one: ${reason}`);
}

async function whyNotCuda(): Promise<string> {
  try {
    const { devices } = await cudaDevices();
    const names = devices.map(({ name }) => name).join(", ");
    return `models of this version compute on the CPU alone, though there is a CUDA device (${names})`;
  } catch (error) {
    if (error instanceof RubricateError && error.code === "ERR_DEVICE") return error.message;
    throw error;
  }
}
