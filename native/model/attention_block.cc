#include "model/attention_block.h"

#include <string>

#include "ops/elementwise/elementwise.h"
#include "ops/rms_norm/rms_norm.h"

namespace rubricate {

AttentionBlock AttentionBlock::load(const WeightLoader& weights, const Architecture& architecture, int64_t layer,
                                    DType compute) {
  const auto& attention = architecture.stack.attention;
  AttentionBlock block;
  block.layer = layer;
  const auto divisor = static_cast<float>(attention.scale_by_layer ? layer + 1 : 1);
  block.shape = {attention.heads, attention.kv_heads, attention.head_dim, attention.scale / divisor,
                 attention.window_of(layer)};
  block.compute = compute;
  block.q_proj = weights.linear(layer, Site::q_proj);
  block.k_proj = weights.linear(layer, Site::k_proj);
  block.v_proj = weights.linear(layer, Site::v_proj);
  block.o_proj = weights.linear(layer, Site::o_proj);
  const std::string prefix = "layers." + std::to_string(layer) + ".self_attn.";
  block.q_norm = weights.vector(prefix + "q_norm.weight");
  block.k_norm = weights.vector(prefix + "k_norm.weight");
  block.eps = architecture.stack.norm.eps;
  return block;
}

Var AttentionBlock::attend(Tape& tape, const Var& normed, const BlockInput& in) const {
  const SequenceRows& rows = in.rows;
  // q, k and v stay fp32 in every compute dtype until the edit and RoPE have been applied, and are then rounded once.
  // Gradients of edits before the softmax are small differences of large terms, so each further rounding would show.
  const DType v_out = in.parts(layer, Site::v_proj) == nullptr ? compute : DType::f32;  // RoPE does not apply to v
  const auto rotated_layer = [&](const LinearLayer& linear, const Var& norm, Site site) {
    const SiteParts* const parts = in.parts(layer, site);
    const bool plain = parts == nullptr && !norm.defined() && in.rope == nullptr;
    return in.edited(linear, layer, site, plain ? compute : DType::f32);
  };
  const EditedLayer q_layer = rotated_layer(q_proj, q_norm, Site::q_proj);
  const EditedLayer k_layer = rotated_layer(k_proj, k_norm, Site::k_proj);
  const EditedLayer v_layer = in.edited(v_proj, layer, Site::v_proj, v_out);
  const auto rotated = [&](const Var& x, const Var& norm, int64_t heads) {
    const Var normed_heads = norm.defined() ? head_norm(tape, x, norm, eps) : x;
    if (in.rope == nullptr) return cast(tape, normed_heads, compute);
    return rope(tape, normed_heads, heads, in.positions, *in.rope, compute, rows.copies);
  };
  if (in.cache != nullptr) {  // there are few rows, so their matmuls run together
    const std::vector<Var> qkv = edited_linears(tape, normed, {q_layer, k_layer, v_layer}, rows);
    const Var q = rotated(qkv[0], q_norm, shape.heads);
    const Var k = rotated(qkv[1], k_norm, shape.kv_heads);
    const Var v = cast(tape, qkv[2], compute);
    PagedKeys keys = *in.cache;
    keys.layer = layer;
    keys.copies = rows.copies;
    store_keys(tape, k.value(), v.value(), shape, rows.sequences, rows.starts, keys);
    return attention_paged(tape, q.value(), shape, rows.sequences, rows.starts, keys);
  }
  // One after the other, so that the fp32 q is freed before k is allocated.
  const Var q = rotated(edited_linear(tape, normed, q_layer, rows), q_norm, shape.heads);
  const Var k = rotated(edited_linear(tape, normed, k_layer, rows), k_norm, shape.kv_heads);
  const Var v = cast(tape, edited_linear(tape, normed, v_layer, rows), compute);
  return attention(tape, q, k, v, shape, rows.sequences, rows.starts, rows.copies);
}

std::pair<Var, Var> AttentionBlock::forward(Tape& tape, const Var& residual, const Var& normed, const EditedNorm& next,
                                            const BlockInput& in) const {
  return closing_linear(tape, attend(tape, normed, in), in.edited(o_proj, layer, Site::o_proj, compute), residual, next,
                        in.rows);
}

}  // namespace rubricate
