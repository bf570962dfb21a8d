/** Runs command lines in this process, and makes small models for them. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { Interrupts } from "../../lib/cli/interrupts";
import { run } from "../../lib/cli/main";
import { embeddedModelDir } from "../../lib/embedded";
import { bytesOf, float32Tensor, safetensorsPieces } from "../../lib/files/safetensors";

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Situation {
  readonly stdin?: string;
  /** Columns of the terminal on stdout and stderr; missing: they are not terminals. */
  readonly columns?: number;
  readonly interrupts?: Interrupts;
  /** Called with each piece of output. */
  readonly onOutput?: (text: string) => void;
}

/** Runs a command line in this process. */
export async function runCli(argv: readonly string[], situation: Situation = {}): Promise<Outcome> {
  const { columns, onOutput, interrupts = new Interrupts() } = situation;
  const written = { stdout: "", stderr: "" };
  const stream = (name: keyof typeof written) => {
    const writable = new Writable({
      write(chunk, _, done) {
        written[name] += chunk;
        onOutput?.(String(chunk));
        done();
      },
    });
    return columns === undefined ? writable : Object.assign(writable, { isTTY: true, columns });
  };
  const stdin = Readable.from(situation.stdin === undefined ? [] : [Buffer.from(situation.stdin)]);
  const streams = { stdin, stdout: stream("stdout"), stderr: stream("stderr"), env: {} };
  const status = await run(argv, streams, interrupts);
  return { status, ...written };
}

const root = join(__dirname, "..", "..");
/** Arguments of node for a command line in its own process, from the sources. */
export const nodeArguments = [
  "--require",
  join(root, "test/runtime/typescript.cjs"),
  join(root, "lib/cli/main.ts"),
] as const;

/** Runs a command line in its own process. */
export function spawnCli(argv: readonly string[], env: Record<string, string> = {}): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...nodeArguments, ...argv], {
    encoding: "utf8",
    env: { ...process.env, ...env },
    timeout: 50_000,
  });
  return { status, stdout, stderr };
}

/** The values of lines of JSON. */
export const jsonLines = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

export const hidden = 16;
export const layers = 2;
export const context = 96;
const vocabulary = 2048;
const feedForward = 24;

export const config = {
  model_type: "llama",
  hidden_size: hidden,
  num_attention_heads: 2,
  num_hidden_layers: layers,
  intermediate_size: feedForward,
  vocab_size: vocabulary,
  max_position_embeddings: context,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 1,
};

/** Small deterministic numbers. */
function weights(count: number, offset: number): Float32Array {
  return Float32Array.from({ length: count }, (_, at) => Math.sin((at + offset) * 12.9898) * 0.3);
}

/** Names and shapes of all tensors. */
function shapes(): [string, number[]][] {
  const square = [hidden, hidden];
  const blocks = Array.from({ length: layers }, (_, layer): [string, number[]][] => [
    [`model.layers.${layer}.input_layernorm.weight`, [hidden]],
    [`model.layers.${layer}.self_attn.q_proj.weight`, square],
    [`model.layers.${layer}.self_attn.k_proj.weight`, square],
    [`model.layers.${layer}.self_attn.v_proj.weight`, square],
    [`model.layers.${layer}.self_attn.o_proj.weight`, square],
    [`model.layers.${layer}.post_attention_layernorm.weight`, [hidden]],
    [`model.layers.${layer}.mlp.gate_proj.weight`, [feedForward, hidden]],
    [`model.layers.${layer}.mlp.up_proj.weight`, [feedForward, hidden]],
    [`model.layers.${layer}.mlp.down_proj.weight`, [hidden, feedForward]],
  ]);
  return [["model.embed_tokens.weight", [vocabulary, hidden]], ...blocks.flat(), ["model.norm.weight", [hidden]]];
}

export interface ModelChanges {
  /** Added to the seed of the weights: another base. */
  readonly offset?: number;
  /** Overwrites a tensor's numbers. */
  readonly values?: (name: string, values: Float32Array) => void;
  readonly tokenizer?: boolean;
}

/** Writes a small model with the embedded model's tokenizer, which has a chat template. */
export async function writeModel(folder: string, { offset = 0, values, tokenizer = true }: ModelChanges = {}) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const tensors = shapes().map(([name, shape], at) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const numbers = shape.length === 1 ? new Float32Array(count).fill(1) : weights(count, offset + at * 1000);
    values?.(name, numbers);
    return float32Tensor(name, shape, numbers);
  });
  const pieces: Uint8Array[] = [];
  for await (const piece of safetensorsPieces(tensors)) pieces.push(piece);
  writeFileSync(join(folder, "model.safetensors"), Buffer.concat(pieces));
  if (tokenizer)
    for (const name of ["tokenizer.json", "tokenizer_config.json"])
      cpSync(join(embeddedModelDir(), name), join(folder, name));
}

export interface TensorEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Changes the header of a safetensors file, as an object or as text. */
export function rewriteHeader(path: string, change: (header: Record<string, TensorEntry>) => unknown): void {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString("utf8"));
  const changed = change(header) ?? header;
  const text = Buffer.from(typeof changed === "string" ? changed : JSON.stringify(changed));
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, " ");
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  text.copy(padded, 8);
  writeFileSync(path, Buffer.concat([padded, bytes.subarray(8 + length)]));
}

/** Appends a tensor of two numbers. */
export function appendTensor(path: string, name: string): void {
  rewriteHeader(path, (header) => {
    const end = Math.max(...Object.values(header).map(({ data_offsets }) => data_offsets[1]));
    header[name] = { dtype: "F32", shape: [2], data_offsets: [end, end + 8] };
  });
  writeFileSync(path, Buffer.concat([readFileSync(path), bytesOf(Float32Array.of(1, 2))]));
}

/** Rows of the prompt shape. */
export function rowsOf(count: number): string {
  return Array.from(
    { length: count },
    (_, at) => `${JSON.stringify({ prompt: `What of number ${at}? `, completion: `Let number ${at} be praised.` })}\n`,
  ).join("");
}
