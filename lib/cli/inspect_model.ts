import { deviceName, deviceText } from "../model/device";
import type { Invocation } from "./command";
import { loadModel } from "./load";
import { bytes, count, padded } from "./text";

/** Shows a model's properties. */
export async function inspectModel(invocation: Invocation): Promise<void> {
  const { terminal } = invocation;
  const model = await loadModel(invocation);
  try {
    const { architecture, tokenizer } = model;
    const [stack] = architecture.stacks;
    const { attention, feed_forward, norm, position } = stack;
    const { mapped, owned } = model.memory();
    const description = {
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
      tiedEmbeddings: architecture.tied_embeddings,
      qkvBias: attention.qkv_bias,
      outputBias: attention.output_bias,
      feedForwardBias: feed_forward.bias,
      normEps: norm.eps,
      ropeFactor: position.factor,
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
    terminal.event(description);
    const biases = [
      attention.qkv_bias ? "q, k, v" : "",
      attention.output_bias ? "attention's output" : "",
      feed_forward.bias ? "feed-forward" : "",
    ].filter((one) => one !== "");
    const rows: [string, string][] = [
      ["folder", description.dir],
      ["family", `${description.family}, ${count(description.parameters)} parameters`],
      ["layers", `${description.layers}, ${description.hidden} wide, feed-forward of ${description.feedForward}`],
      ["attention", `${description.heads} heads of ${description.headDim}, ${description.kvHeads} for keys and values`],
      ["biases", biases.join(", ") || "none"],
      ["vocabulary", `${count(description.vocabulary)} ids, head ${description.tiedEmbeddings ? "" : "not "}tied`],
      ["context", `${count(description.context)} tokens`],
      ["computes in", `${description.compute} on ${deviceText(model.device)}`],
      ["weights", `${bytes(mapped)} mapped, ${bytes(owned)} allocated`],
      ["tokenizer", tokenizer ? (tokenizer.chatTemplate ? "with a chat template" : "without a chat template") : "none"],
      ["begins with", description.bosTokenId === null ? "nothing" : `token ${description.bosTokenId}`],
      ["ends with", model.eosTokenIds.map((id) => `token ${id}`).join(", ") || "nothing"],
      ["architecture", description.fingerprint.architecture],
      ["fingerprint", description.fingerprint.weights],
    ];
    for (const [name, value] of rows) terminal.print(`${padded(name, 14)}${value}`);
  } finally {
    model.dispose();
  }
}
