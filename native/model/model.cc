#include "model/model.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "device/cpu/thread_pool.h"
#include "model/conversion.h"
#include "ops/attention/attention.h"
#include "ops/close/close.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/swiglu/swiglu.h"

namespace rubricate {
namespace {

const TensorSource& find(const std::map<std::string, TensorSource>& tensors, const std::string& name,
                         const Shape& shape) {
  const auto found = tensors.find(name);
  require(found != tensors.end(), "ERR_TENSOR_MISSING", "Expected a tensor ", name, " of shape ", shape_text(shape),
          " in the checkpoint but there is none");
  const TensorSource& source = found->second;
  require(source.shape == shape, "ERR_SHAPE", "Expected shape ", shape_text(shape), " for ", name,
          " but the checkpoint has ", shape_text(source.shape));
  require(source.dtype != DType::i32, "ERR_DTYPE", "Expected float32, bfloat16 or float16 for ", name,
          " but the checkpoint has int32");
  return source;
}

// The tensor where it lies, which is not written.
Tensor in_place(const TensorSource& source) {
  return Tensor::borrow(source.owner, const_cast<void*>(source.data), source.shape, source.dtype);
}

}  // namespace

Tensor Model::copied(const Intake& intake, const TensorSource& source, DType dtype) {
  Tensor copy = Tensor::empty(arena_, source.shape, dtype);
  convert_elements(copy, in_place(source), intake.taken);
  return copy;
}

Weight Model::matrix(const Intake& intake, const std::string& name) {
  const TensorSource& source = find(intake.tensors, name, shapes_.at(name));
  const DType dtype = compute_ == DType::bf16 ? DType::bf16 : source.dtype;
  if (dtype != source.dtype || arena_->stream() != nullptr) return Weight::of(copied(intake, source, dtype));
  const Tensor mapped = in_place(source);
  if (intake.taken) intake.taken(mapped.bytes());
  return Weight::of(mapped);
}

Var Model::vector(const Intake& intake, const std::string& name) {
  const auto shape = shapes_.find(name);
  if (shape == shapes_.end()) return {};  // this architecture has none
  return copied(intake, find(intake.tensors, name, shape->second), DType::f32);
}

Model::Model(Architecture architecture, const std::map<std::string, TensorSource>& tensors, DType compute,
             const Taken& taken, std::shared_ptr<Arena> arena)
    : architecture_(std::move(architecture)), compute_(compute), arena_(std::move(arena)) {
  require(compute == DType::f32 || compute == DType::bf16, "ERR_ARGUMENT",
          "Expected float32 or bfloat16 for dtype but received ", dtype_name(compute));
  const Intake intake{tensors, taken};
  const auto& stack = architecture_.stack;
  for (TensorSpec& spec : tensor_specs(architecture_)) shapes_.emplace(std::move(spec.name), std::move(spec.shape));
  rope_ = RopeTable::make(stack.position.inv_freq, stack.position.factor, architecture_.context);
  rope_.covering(1);  // so that the first step does not wait for it
  embedding_ = matrix(intake, "embed_tokens.weight");
  if (!architecture_.tied_embeddings) {
    head_ = matrix(intake, "lm_head.weight");
    const TensorSource& table = tensors.at("embed_tokens.weight");
    if (embedding_.view.data == table.data) table_file_ = table.file;
  }
  norm_ = vector(intake, "norm.weight");
  layers_.resize(static_cast<size_t>(stack.layers));
  for (int64_t l = 0; l < stack.layers; ++l) {
    LayerWeights& layer = layers_[static_cast<size_t>(l)];
    const std::string prefix = "layers." + std::to_string(l) + ".";
    layer.input_norm = vector(intake, prefix + "input_layernorm.weight");
    layer.post_norm = vector(intake, prefix + "post_attention_layernorm.weight");
    for (int s = 0; s < kSites; ++s) {
      const std::string name = site_name(l, static_cast<Site>(s));
      layer.projections[s] = matrix(intake, name + ".weight");
      layer.biases[s] = vector(intake, name + ".bias");
    }
  }
}

int64_t Model::owned_bytes() const {
  const auto table = rope_.current();  // made when the model was
  return arena_->stats().used + (arena_->stream() != nullptr ? table->device_bytes() : table->host_bytes());
}

const Var& Model::norm_after(int64_t layer) const {
  return layer + 1 < architecture_.stack.layers ? layers_[static_cast<size_t>(layer + 1)].input_norm : norm_;
}

namespace {

// One of the linear layers that take the same x, and what an adapter does there.
struct Projection {
  const Weight& weight;
  const Var& bias;
  const SiteParts* parts;
  DType out;  // the result's dtype
};

// The layers with everything that an adapter does there but `affine` and `output`: the caller runs edited() on each
// result, or fuses `affine` into the op that follows.
std::vector<Var> project(Tape& tape, const Var& x, const std::vector<Projection>& projections) {
  const auto given = [](const Projection& p, auto part) { return p.parts != nullptr && p.parts->*part; };
  std::vector<Weight> weights;  // those that an adapter made
  weights.reserve(projections.size());
  std::vector<Linear> layers;
  for (const Projection& p : projections) {
    if (given(p, &SiteParts::weight)) weights.push_back(p.parts->weight(tape, p.weight));
    layers.push_back({given(p, &SiteParts::weight) ? weights.back() : p.weight, p.bias, p.out});
  }
  const bool one_x = std::none_of(projections.begin(), projections.end(),
                                  [&](const Projection& p) { return given(p, &SiteParts::input); });
  std::vector<Var> results;
  if (one_x) results = linears(tape, x, layers);
  for (size_t i = 0; i < projections.size(); ++i) {
    const Projection& p = projections[i];
    if (!one_x) {
      const Var input = given(p, &SiteParts::input) ? p.parts->input(tape, x) : x;
      results.push_back(linear(tape, input, layers[i].weight, p.bias, p.out));
    }
    if (given(p, &SiteParts::branch)) results[i] = add(tape, results[i], cast(tape, p.parts->branch(tape, x), p.out));
  }
  return results;
}

Var edited(Tape& tape, Var y, const SiteParts* parts, const SequenceRows& rows) {
  if (parts == nullptr) return y;
  if (parts->has_affine()) y = red_edit(tape, y, parts->affine, rows);
  if (parts->output) y = parts->output(tape, y, rows);
  return y;
}

}  // namespace

Var Model::attend(Tape& tape, int64_t l, const Var& normed, const Batch& batch, const AdapterSet* adapters,
                  KvCache* cache) const {
  const LayerWeights& layer = layers_[static_cast<size_t>(l)];
  const auto& attention_config = architecture_.stack.attention;
  const AttentionShape shape = {attention_config.heads, attention_config.kv_heads, attention_config.head_dim,
                                attention_config.scale};
  const SequenceRows rows = batch.sequence_rows();
  // Whatever the compute dtype, q, k and v are fp32 until edited and turned, and rounded once after that: gradients of
  // edits before the softmax are small differences of large terms, in which each further rounding would show.
  const auto projection = [&](Site site) {
    const SiteParts* parts = adapters != nullptr ? adapters->at(l, site) : nullptr;
    const int s = static_cast<int>(site);
    const DType out = site == Site::v_proj && parts == nullptr ? compute_ : DType::f32;  // v is not turned
    return Projection{layer.projections[s], layer.biases[s], parts, out};
  };
  const Projection each[] = {projection(Site::q_proj), projection(Site::k_proj), projection(Site::v_proj)};
  // Together where rows are few; else one after the other, so that q in fp32 is gone before there is k.
  std::vector<Var> together;
  if (cache != nullptr) together = project(tape, normed, {each[0], each[1], each[2]});
  const auto qkv = [&](size_t i) {
    Var y = cache != nullptr ? std::move(together[i]) : project(tape, normed, {each[i]})[0];
    return edited(tape, std::move(y), each[i].parts, rows);
  };
  const Var q = rope(tape, qkv(0), shape.heads, batch.positions.data(), rope_, compute_);
  const Var k = rope(tape, qkv(1), shape.kv_heads, batch.positions.data(), rope_, compute_);
  const Var v = cast(tape, qkv(2), compute_);
  if (cache != nullptr) {
    const PagedKeys keys = cache->keys(l);
    store_keys(tape, k.value(), v.value(), shape, rows.sequences, rows.starts, keys);
    return attention_paged(tape, q.value(), shape, rows.sequences, rows.starts, keys);
  }
  return attention(tape, q, k, v, shape, rows.sequences, rows.starts);
}

Var Model::feed_forward(Tape& tape, int64_t l, const Var& normed, const Batch& batch,
                        const AdapterSet* adapters) const {
  const LayerWeights& layer = layers_[static_cast<size_t>(l)];
  const SequenceRows rows = batch.sequence_rows();
  const auto projection = [&](Site site) {
    const int s = static_cast<int>(site);
    return Projection{layer.projections[s], layer.biases[s], adapters != nullptr ? adapters->at(l, site) : nullptr,
                      compute_};
  };
  const std::vector<Projection> each = {projection(Site::gate_proj), projection(Site::up_proj)};
  std::vector<Var> both = project(tape, normed, each);
  for (size_t i = 0; i < both.size(); ++i) both[i] = edited(tape, std::move(both[i]), each[i].parts, rows);
  return swiglu(tape, both[0], both[1]);
}

std::pair<Var, Var> Model::block(Tape& tape, int64_t l, const Var& residual, const Var& normed, const Batch& batch,
                                 const AdapterSet* adapters, KvCache* cache) const {
  const LayerWeights& layer = layers_[static_cast<size_t>(l)];
  const SequenceRows rows = batch.sequence_rows();
  const float eps = architecture_.stack.norm.eps;
  // The projection that ends a sub-layer, and the fused close; an `output` part comes between them, unfused.
  const auto close = [&](Site site, Var inner, const Var& stream, const Var& norm) {
    const SiteParts* parts = adapters != nullptr ? adapters->at(l, site) : nullptr;
    const int s = static_cast<int>(site);
    Var h = project(tape, inner, {{layer.projections[s], layer.biases[s], parts, compute_}})[0];
    inner = {};
    const bool fused = parts != nullptr && parts->has_affine() && !parts->output;
    if (!fused) h = edited(tape, std::move(h), parts, rows);
    return close_sublayer(tape, h, stream, fused ? &parts->affine : nullptr, rows, {norm, eps});
  };
  auto [middle, middle_normed] =
      close(Site::o_proj, attend(tape, l, normed, batch, adapters, cache), residual, layer.post_norm);
  Var inner = feed_forward(tape, l, middle_normed, batch, adapters);
  middle_normed = {};
  return close(Site::down_proj, std::move(inner), middle, norm_after(l));
}

// In training the rows of a table that lies in a file are read from the file: of the mapping, a large batch would bring
// most of the table into memory, beside all that a step keeps.
Var Model::embed(Tape& tape, const Batch& batch) const {
  const WeightView& table = embedding_.view;
  if (!table_file_ || !tape.training())
    return rubricate::embedding(tape, batch.tokens.data(), batch.rows(), embedding_, compute_);
  check_tokens(batch.tokens.data(), batch.rows(), table.rows);
  const Tensor rows = tape.empty({batch.rows(), table.cols}, table.dtype);
  const int64_t bytes = table.cols * dtype_size(table.dtype);
  constexpr int64_t kReads = 16;  // a task, about 20 us
  parallel_ranges(batch.rows(), kReads, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      table_file_->read(table.row(batch.tokens[static_cast<size_t>(t)]), bytes,
                        static_cast<char*>(rows.raw()) + t * bytes);
  });
  if (table.dtype == compute_) return rows;
  std::vector<int32_t> order(static_cast<size_t>(batch.rows()));
  std::iota(order.begin(), order.end(), 0);
  return rubricate::embedding(tape, order.data(), batch.rows(), Weight::of(rows), compute_);
}

Var Model::forward(Tape& tape, const Batch& batch, const AdapterSet* adapters, bool recompute, KvCache* cache) const {
  for (const int32_t position : batch.positions)
    require(position < architecture_.context, "ERR_CONTEXT_LENGTH", "Expected at most ", architecture_.context,
            " positions (the model's context) but received a sequence that reaches ", position + 1);
  require(cache == nullptr || !tape.training(), "ERR_INTERNAL", "A cache serves inference only");
  Var residual = embed(tape, batch);
  Var normed = rms_norm(tape, residual, layers_.front().input_norm, architecture_.stack.norm.eps);
  for (int64_t l = 0; l < architecture_.stack.layers; ++l) {
    tape.yield();
    const auto run = [this, l, &batch, adapters, cache](Tape& inner, const std::vector<Var>& inputs) {
      return block(inner, l, inputs[0], inputs[1], batch, adapters, cache);
    };
    std::vector<Var> inputs = {std::move(residual), std::move(normed)};
    const bool trains = trainable() || (adapters != nullptr && adapters->trains(l));
    auto [sum, next] = recompute ? tape.recompute(inputs, run, trains) : run(tape, inputs);
    residual = std::move(sum);
    normed = std::move(next);
  }
  return normed;
}

}  // namespace rubricate
