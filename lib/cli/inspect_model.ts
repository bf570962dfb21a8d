import { deviceName, deviceText } from "../model/device";
import type { LanguageModel } from "../model/model";
import type { Invocation } from "./command";
import { loadModel } from "./load";
import { bytes, count, padded } from "./text";

const layersOf = ({ layers }: { readonly layers: number }) => [...Array(layers).keys()];

/** A model's properties, as `inspect --json` writes them. */
async function describe(model: LanguageModel) {
  const { architecture, tokenizer } = model;
  const [stack] = architecture.stacks;
  const { attention, feed_forward, norm, position } = stack;
  const { mapped, owned } = model.memory();
  return {
    dir: model.dir,
    family: architecture.family,
    parameters: model.parameterCount,
    layers: stack.layers,
    hidden: architecture.hidden,
    heads: attention.heads,
    kvHeads: attention.kv_heads,
    headDim: attention.head_dim,
    feedForward: feed_forward.size,
    vocabulary: architecture.vocabulary,
    context: architecture.context,
    slidingWindow: model.slidingWindow ?? null,
    slidingWindowLayers: attention.window === undefined ? [] : (attention.window_layers ?? layersOf(stack)),
    tiedEmbeddings: architecture.tied_embeddings,
    qkvBias: attention.qkv_bias,
    outputBias: attention.output_bias,
    feedForwardBias: feed_forward.bias,
    normEps: norm.eps,
    ropeFactor: position.kind === "rope" ? position.factor : null,
    compute: model.dtype,
    device: deviceName(model.device),
    mappedBytes: mapped,
    ownedBytes: owned,
    tokenizer: tokenizer !== undefined,
    chatTemplate: tokenizer?.chatTemplate !== undefined,
    bosTokenId: model.bosTokenId ?? null,
    eosTokenIds: model.eosTokenIds,
    fingerprint: await model.fingerprint(),
    notices: model.notices,
  };
}

function windowRow({
  layers,
  slidingWindow,
  slidingWindowLayers: { length },
}: Pick<Awaited<ReturnType<typeof describe>>, "layers" | "slidingWindow" | "slidingWindowLayers">): [string, string][] {
  if (slidingWindow === null) return [];
  const where = length === layers ? "all layers" : `${length} of ${layers} layers`;
  return [["window", `${count(slidingWindow)} tokens, in ${where}`]];
}

/** The same for people. */
function rowsOf(model: LanguageModel, description: Awaited<ReturnType<typeof describe>>): [string, string][] {
  const { tokenizer } = model;
  const biases = [
    description.qkvBias ? "q, k, v" : "",
    description.outputBias ? "attention's output" : "",
    description.feedForwardBias ? "feed-forward" : "",
  ].filter((one) => one !== "");
  return [
    ["folder", description.dir],
    ["family", `${description.family}, ${count(description.parameters)} parameters`],
    ["layers", `${description.layers}, ${description.hidden} wide, feed-forward of ${description.feedForward}`],
    ["attention", `${description.heads} heads of ${description.headDim}, ${description.kvHeads} for keys and values`],
    ["biases", biases.join(", ") || "none"],
    ["vocabulary", `${count(description.vocabulary)} ids, head ${description.tiedEmbeddings ? "" : "not "}tied`],
    ["context", `${count(description.context)} tokens`],
    ...windowRow(description),
    ["computes in", `${description.compute} on ${deviceText(model.device)}`],
    ["weights", `${bytes(description.mappedBytes)} mapped, ${bytes(description.ownedBytes)} allocated`],
    ["tokenizer", tokenizer ? (tokenizer.chatTemplate ? "with a chat template" : "without a chat template") : "none"],
    ["begins with", description.bosTokenId === null ? "nothing" : `token ${description.bosTokenId}`],
    [
      "ends with",
      model.eosTokenIds.map((id) => `token ${id}`).join(", ") ||
        "nothing: generation goes on to its limit, and training puts no end token behind texts",
    ],
    ["architecture", description.fingerprint.architecture],
    ["fingerprint", description.fingerprint.weights],
  ];
}

/** Shows a model's properties. */
export async function inspectModel(invocation: Invocation): Promise<void> {
  const { terminal } = invocation;
  const model = await loadModel(invocation);
  try {
    const description = await describe(model);
    terminal.event(description);
    const rows = rowsOf(model, description);
    for (const [name, value] of rows) terminal.print(`${padded(name, 14)}${value}`);
  } finally {
    model.dispose();
  }
}
