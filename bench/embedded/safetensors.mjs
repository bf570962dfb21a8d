/** The part of the safetensors format that the scripts in this folder need: whole files of F32 and BF16 tensors. */

/**
 * @param {{name: string, dtype: "F32" | "BF16", shape: number[], bytes: Buffer}[]} tensors written in the order given
 * @returns {Buffer} the file
 */
export function writeSafetensors(tensors) {
  const header = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...tensors.map(({ bytes }) => bytes)]);
}

/** @returns {{name: string, dtype: string, shape: number[], bytes: Buffer}[]} the tensors of a file, in header order */
export function readSafetensors(file) {
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, start).toString());
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        return { name, dtype, shape, bytes: file.subarray(start + from, start + to) };
      },
    );
}

/** @returns {Buffer} fp32 values rounded to bf16, to nearest, ties to even; values must be finite */
export function toBf16(bytes) {
  const result = Buffer.alloc(bytes.length / 2);
  for (let i = 0; i < result.length / 2; i++) {
    const bits = bytes.readUInt32LE(4 * i);
    if ((bits & 0x7f800000) === 0x7f800000) throw new Error(`value ${i} is not finite`);
    result.writeUInt16LE((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16, 2 * i);
  }
  return result;
}
