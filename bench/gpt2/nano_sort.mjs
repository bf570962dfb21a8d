// Compares a small trained GPT-2 with the numbers that PyTorch gave: gpt-nano-sort of the repository bbycroft/llm-viz (MIT), which sorts
// six digits from 0 to 2. The files are not part of this repository:
//
//   node bench/gpt2/nano_sort.mjs public/gpt-nano-sort-model.json public/gpt-nano-sort-t0-partials.json
//
// Writes a Hugging Face folder of the first, compares logits with those of the second, and sorts all 729 inputs.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LanguageModel } from "../../dist/index.mjs";

const [modelFile, activationsFile] = process.argv.slice(2);
if (activationsFile === undefined) throw new Error("Expected two files: the model and its activations");
const parsed = (file) => JSON.parse(readFileSync(file, "utf8"));
const numbers = ({ data }) => {
  const bytes = Buffer.from(data, "base64");
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
};

/** [rows, columns] as [columns, rows]: the file has Linear's layout, transformers' GPT-2 has Conv1D's. */
function transposed({ shape: [rows, columns], ...rest }) {
  const values = numbers(rest);
  const turned = Float32Array.from(
    { length: values.length },
    (_, at) => values[(at % rows) * columns + Math.floor(at / rows)],
  );
  return { shape: [columns, rows], values: turned };
}

function writeFolder(folder, { config, ...tensors }) {
  const header = { __metadata__: { format: "pt" } };
  const parts = [];
  let offset = 0;
  for (const [name, tensor] of Object.entries(tensors)) {
    const { shape, values } = /\.(c_attn|c_proj|c_fc)\.weight$/.test(name)
      ? transposed(tensor)
      : { shape: tensor.shape, values: numbers(tensor) };
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + values.byteLength] };
    parts.push(Buffer.from(values.buffer));
    offset += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(join(folder, "model.safetensors"), Buffer.concat([length, json, ...parts]));
  const { n_layer, n_head, n_embd, vocab_size, block_size: n_positions } = config;
  const sizes = { n_layer, n_head, n_embd, vocab_size, n_positions };
  writeFileSync(
    join(folder, "config.json"),
    JSON.stringify({ model_type: "gpt2", ...sizes, tie_word_embeddings: false }),
  );
}

const folder = mkdtempSync(join(tmpdir(), "rubricate-nano-sort-"));
try {
  writeFolder(folder, parsed(modelFile));
  const model = await LanguageModel.fromPretrained(folder, { device: process.env.RUBRICATE_TEST_DEVICE ?? "cpu" });
  const { idx, lm_head } = parsed(activationsFile);
  const [sequences, tokens] = idx.shape;
  const [ids, wanted] = [numbers(idx), numbers(lm_head)];
  let worst = 0;
  for (let at = 0; at < sequences; at++) {
    const logits = await model.logits(Array.from(ids.slice(at * tokens, (at + 1) * tokens)));
    for (const [place, value] of logits.entries())
      worst = Math.max(worst, Math.abs(value - wanted[at * logits.length + place]));
  }
  const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const relative = worst / largest;
  console.log(
    `logits: at most ${worst.toExponential(2)} from those of PyTorch, ${relative.toExponential(2)} of the largest, in ` +
      `${sequences} sequences of ${tokens}`,
  );

  const digits = 6;
  let sorted = 0;
  for (let number = 0; number < 3 ** digits; number++) {
    const input = Array.from({ length: digits }, (_, place) => Math.floor(number / 3 ** place) % 3);
    // The last digit would be the twelfth token, and the context is eleven: it is the likeliest after the others.
    const { tokenIds } = await model.complete({ tokenIds: input, temperature: 0, maxNewTokens: digits - 1 });
    const last = (await model.logits([...input, ...tokenIds])).slice(-3);
    tokenIds.push(last.indexOf(Math.max(...last)));
    sorted += Number(tokenIds.join() === [...input].sort().join());
  }
  console.log(`sorted: ${sorted} of ${3 ** digits}`);
  process.exitCode = relative <= 1e-6 && sorted === 3 ** digits ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true });
}
