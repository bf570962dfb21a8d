#include "model/model.h"

#include <numeric>

#include "device/cpu/thread_pool.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/shared/device_copies.h"

namespace rubricate {

Model::Model(Architecture architecture, const std::map<std::string, TensorSource>& tensors, DType compute,
             const Taken& taken, std::shared_ptr<Arena> arena)
    : architecture_(std::move(architecture)), compute_(compute), arena_(std::move(arena)) {
  require(compute == DType::f32 || compute == DType::bf16, "ERR_ARGUMENT",
          "Expected float32 or bfloat16 for dtype but received ", dtype_name(compute));
  const auto& stack = architecture_.stack;
  const WeightLoader weights(architecture_, tensors, compute_, arena_, taken);
  if (!stack.position.learned()) {
    rope_ = RopeTable::make(stack.position.inv_freq, stack.position.factor, architecture_.context,
                            stack.attention.head_dim);
    rope_->covering(1);  // so that the first step need not compute it
  }
  embedding_ = weights.matrix("embed_tokens.weight");
  if (!architecture_.tied_embeddings) {
    head_ = weights.matrix("lm_head.weight");
    const TensorSource& table = tensors.at("embed_tokens.weight");
    if (embedding_.view.data == table.data) table_file_ = table.file;
  }
  if (stack.position.learned()) positions_ = weights.matrix("embed_positions.weight");
  norm_ = Norm::load(weights, architecture_, "norm");
  for (int64_t l = 0; l < stack.layers; ++l) blocks_.push_back(Block::load(weights, architecture_, l, compute_));
}

int64_t Model::owned_bytes() const {
  const int64_t weights = arena_->stats().used;
  if (!rope_) return weights;
  const auto table = rope_->current();  // already computed when the model was made
  return weights + (arena_->stream() != nullptr ? table->device_bytes() : table->host_bytes());
}

const Norm& Model::norm_after(int64_t layer) const {
  return layer + 1 < architecture_.stack.layers ? blocks_[static_cast<size_t>(layer + 1)].input_norm : norm_;
}

// In training the rows of a mapped table are read from the file: through the mapping, a large batch would bring most of
// the table into memory, in addition to all that a step keeps.
Var Model::token_rows(Tape& tape, const Batch& batch) const {
  const WeightView& table = embedding_.view;
  if (!table_file_ || !tape.training())
    return rubricate::embedding(tape, batch.tokens().data(), batch.rows(), embedding_, compute_);
  const Tensor rows = tape.empty({batch.rows(), table.cols}, table.dtype);
  const int64_t bytes = table.cols * dtype_size(table.dtype);
  constexpr int64_t kReads = 16;  // reads per task, about 20 us
  parallel_ranges(batch.rows(), kReads, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      table_file_->read(table.row(batch.tokens()[static_cast<size_t>(t)]), bytes,
                        static_cast<char*>(rows.raw()) + t * bytes);
  });
  if (table.dtype == compute_) return rows;
  std::vector<int32_t> order(static_cast<size_t>(batch.rows()));
  std::iota(order.begin(), order.end(), 0);
  return rubricate::embedding(tape, order.data(), batch.rows(), Weight::of(rows), compute_);
}

Var Model::embed(Tape& tape, const Batch& batch) const {
  const Var tokens = token_rows(tape, batch);
  if (!positions_.defined()) return tokens;
  return add(tape, tokens, rubricate::embedding(tape, batch.positions().data(), batch.rows(), positions_, compute_));
}

Var Model::forward(Tape& tape, const Batch& batch, const AdapterSet* adapters, bool recompute,
                   const PagedKeys* cache) const {
  batch.require_within(BatchBounds::of(architecture_, static_cast<size_t>(batch.bounds().adapters)));
  require(cache == nullptr || !tape.training(), "ERR_INTERNAL", "A cache serves inference only");
  const auto copies = tape.stream() != nullptr ? std::make_shared<DeviceCopies>() : nullptr;
  Var residual = embed(tape, batch);
  const bool keeps = adapters != nullptr && adapters->mixes_initial();
  const BlockInput in{batch.positions().data(),  batch.sequence_rows(copies),        adapters, cache,
                      rope_ ? &*rope_ : nullptr, keeps ? residual.value() : Tensor()};
  Var normed = EditedNorm{blocks_.front().input_norm, in.parts(0, Site::input_norm)}(tape, residual, in.rows);
  for (int64_t l = 0; l < architecture_.stack.layers; ++l) {
    tape.yield();
    const Block& block = blocks_[static_cast<size_t>(l)];
    const auto run = [&block, &next_norm = norm_after(l), in](Tape& inner, const std::vector<Var>& inputs) {
      return block.forward(inner, inputs[0], inputs[1], next_norm, in);
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
