// A decoder: weights by canonical name, and one forward for training, prefill and decoding.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapter/base_weights.h"
#include "adapter/parts.h"
#include "architecture/architecture.h"
#include "autograd/tape.h"
#include "autograd/weight.h"
#include "files/mapped_file.h"
#include "files/tensor_source.h"
#include "model/batch.h"
#include "model/block.h"
#include "model/weight_loader.h"
#include "ops/rope/rope.h"
#include "optimizer/parameter.h"

namespace rubricate {

// The dtypes that a model can compute in.
inline constexpr std::array<Named<DType>, 2> kComputeNames{{{DType::f32, "float32"}, {DType::bf16, "bfloat16"}}};

class Model : public BaseWeights {
 public:
  // compute: dtype of activations, f32 or bf16. Weights stay in place in their stored dtype if the kernels support it:
  // f32 and f16 (computed in f32), bf16 (either). Weights stored wider than bf16 are copied for bf16.
  // taken: called with the number of further bytes of the checkpoint that were loaded; what it throws ends the loading.
  // arena: holds the weights that are copied; on a device all are, and tapes that run the model must use its stream.
  // Errors: ERR_TENSOR_MISSING, ERR_SHAPE, ERR_DTYPE, ERR_ARGUMENT, ERR_OUT_OF_MEMORY, ERR_DEVICE_LOST.
  using Taken = WeightLoader::Taken;
  Model(Architecture architecture, const std::map<std::string, TensorSource>& tensors, DType compute,
        const Taken& taken = {}, std::shared_ptr<Arena> arena = std::make_shared<Arena>());
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Architecture& architecture() const { return architecture_; }
  DType compute() const { return compute_; }
  const Weight& linear_weight(int64_t layer, Site site) const override {
    return blocks_.at(static_cast<size_t>(layer)).linear(site).weight;
  }
  const Weight& head() const { return architecture_.tied_embeddings ? embedding_ : head_; }

  // Makes every weight trainable: private copies in the stored dtype, with fp32 masters and gradients. Before the call
  // the weights may be views of a mapped file that other models share. A second call returns the same set.
  std::shared_ptr<ParameterSet> make_trainable();
  bool trainable() const { return full_ != nullptr; }

  // The final norm's output for every row, [T, hidden] in the compute dtype.
  //   adapters: the edits of the batch; may be null. recompute: activation checkpointing of each block.
  //   cache: the pages of all layers for this batch, with the keys and values of earlier positions; inference only; may
  //   be null.
  // The batch must live until the tape has run backward. Errors: ERR_FOREIGN (a batch made for another model),
  // ERR_ABORTED.
  Var forward(Tape& tape, const Batch& batch, const AdapterSet* adapters, bool recompute, const PagedKeys* cache) const;

  // Bytes of this model's own (not mapped) memory, on its device: weights, and the RoPE table, which grows with the
  // longest sequence so far. May be called from any thread.
  int64_t owned_bytes() const;

 private:
  struct FullParameters;
  Var embed(Tape& tape, const Batch& batch) const;
  Var token_rows(Tape& tape, const Batch& batch) const;
  const Norm& norm_after(int64_t layer) const;

  Architecture architecture_;
  DType compute_;
  std::shared_ptr<Arena> arena_;  // holds the weights that are not mapped
  std::optional<RopeTable> rope_;
  std::vector<Block> blocks_;
  Weight embedding_, head_;
  Weight positions_;                              // [context, hidden]; undefined with RoPE
  std::shared_ptr<const MappedFile> table_file_;  // of an embedding that is used in place, and only as the embedding
  Norm norm_;
  std::shared_ptr<FullParameters> full_;
};

}  // namespace rubricate
