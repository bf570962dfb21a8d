/** Tensors that the addon reads from a safetensors file for JavaScript. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { limits } from "../../lib/limits";
import { native } from "../../lib/native";

/** A safetensors file with a number of tensors and bytes in each; each byte is its position. */
function tensorFile(count: number, bytes: number): string {
  const header: Record<string, unknown> = {};
  for (let i = 0; i < count; i++)
    header[`t${i}`] = { dtype: "U8", shape: [bytes], data_offsets: [i * bytes, (i + 1) * bytes] };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(mkdtempSync(join(tmpdir(), "rubricate-tensors-")), "tensors");
  writeFileSync(path, Buffer.concat([length, json, Uint8Array.from({ length: count * bytes }, (_, at) => at % 251)]));
  return path;
}

test("tensors are read with their own bytes, up to the maximum number in a file", async () => {
  const most = tensorFile(limits.maxTensorsRead, 3);
  const { tensors } = await native().readSafetensors(most).promise;
  expect(tensors.size).toBe(limits.maxTensorsRead);
  for (const i of [0, 1, 100, limits.maxTensorsRead - 1]) {
    const { data, shape } = tensors.get(`t${i}`)!;
    expect([[...data], shape]).toEqual([[0, 1, 2].map((j) => (3 * i + j) % 251), [3]]);
    expect(data.byteOffset % 8).toBe(0);
  }
  const more = tensorFile(limits.maxTensorsRead + 1, 0);
  await expect(native().readSafetensors(more).promise).rejects.toMatchObject({
    code: "ERR_SAFETENSORS",
    message: `Expected at most 8192 tensors but received 8193 in ${more}`,
  });
  const names = (suffix: string) => native().readSafetensorsNames(more, ["t7", "none"], suffix).promise;
  expect(await names("t77")).toEqual(["t7", "t77"]);
  expect((await names("7")).length).toBe(
    1 + Array.from({ length: limits.maxTensorsRead + 1 }, (_, i) => i).filter((i) => i % 10 === 7).length,
  );
  expect((await names("")).length).toBe(1 + limits.maxLayers);
  for (const path of [most, more]) rmSync(dirname(path), { recursive: true });
});
