#include <algorithm>

#include "binding/op_arguments.h"
#include "binding/ops.h"
#include "ops/attention/attention.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/edit_add_norm/edit_add_norm.h"
#include "ops/embedding/embedding.h"
#include "ops/rope/rope.h"

namespace rubricate::binding {
namespace {

// Scales, biases, starts and slots, as four arguments from `first` on.
struct Edits {
  EditSlots slots;
  std::vector<int32_t> starts, of_sequence;
  SequenceRows rows;

  Edits(const Napi::CallbackInfo& info, size_t first, int64_t row_count) {
    const Napi::Array scales = array_argument(info[first], "scales"),
                      biases = array_argument(info[first + 1], "biases");
    require(scales.Length() == biases.Length(), "ERR_ARGUMENT", "Expected as many biases as scales (", scales.Length(),
            ") but received ", biases.Length());
    slots.slots.resize(scales.Length() + 1);
    for (uint32_t i = 0; i < scales.Length(); ++i)
      slots.slots[i + 1] = {leaf_or_none_argument(scales.Get(i), "scales"),
                            leaf_or_none_argument(biases.Get(i), "biases")};
    starts = starts_argument(info[first + 2], row_count);
    of_sequence = int32_argument(info[first + 3], "slots");
    require(of_sequence.size() + 1 == starts.size(), "ERR_ARGUMENT", "Expected one slot for each of ",
            starts.size() - 1, " sequences but received ", of_sequence.size());
    for (const int32_t slot : of_sequence)
      require(slot >= 0 && slot < static_cast<int64_t>(slots.slots.size()), "ERR_ARGUMENT", "Expected slots from 0 to ",
              slots.slots.size() - 1, " but received ", slot);
    rows = {row_count, static_cast<int64_t>(of_sequence.size()), starts.data(), of_sequence.data()};
  }
  Edits(const Edits&) = delete;
  Edits& operator=(const Edits&) = delete;

  // Puts the arrays where they stay until backward has run.
  void keep(TapeState& tape) {
    rows.starts = tape.keep(std::move(starts));
    rows.slots = tape.keep(std::move(of_sequence));
  }
};

Napi::Value red_edit_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var h = tensor_argument(info[1], "h");
  Edits edits(info, 2, h.value().rows());
  edits.keep(*tape);
  return TensorHandle::wrap(info.Env(), red_edit(*tape->tape, h, edits.slots, edits.rows));
}

Napi::Value edit_add_norm_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var h = tensor_argument(info[1], "h"), residual = tensor_argument(info[2], "residual");
  Edits edits(info, 3, h.value().rows());
  edits.keep(*tape);
  const SumNorm norm = {leaf_or_none_argument(info[7], "normWeight"), float_argument(info[8], "epsilon")};
  const bool edited = edits.slots.slots.size() > 1;
  const auto [sum, normed] = edit_add_norm(*tape->tape, h, residual, edited ? &edits.slots : nullptr, edits.rows, norm);
  Napi::Array pair = Napi::Array::New(info.Env(), 2);
  pair.Set(uint32_t{0}, TensorHandle::wrap(info.Env(), sum));
  pair.Set(uint32_t{1}, normed.defined() ? Napi::Value(TensorHandle::wrap(info.Env(), normed)) : info.Env().Null());
  return pair;
}

Napi::Value rope_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var x = tensor_argument(info[1], "x");
  const int64_t heads = integer_argument(info[2], "heads", 1, 1 << 20);
  std::vector<int32_t> positions = int32_argument(info[3], "positions");
  require(static_cast<int64_t>(positions.size()) == x.value().rows(), "ERR_SHAPE", "Expected one position for each of ",
          x.value().rows(), " rows but received ", positions.size());
  int32_t last = 0;
  for (const int32_t position : positions) {
    require(position >= 0 && position < 1 << 20, "ERR_ARGUMENT", "Expected positions from 0 to ", (1 << 20) - 1,
            " but received ", position);
    last = std::max(last, position);
  }
  const RopeTable table = RopeTable::make(float32_argument(info[4], "invFreq"), 1.0f, last + 1);
  const int32_t* kept = tape->keep(std::move(positions));
  return TensorHandle::wrap(info.Env(), rope(*tape->tape, x, heads, kept, table, x.value().dtype()));
}

Napi::Value attention_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var q = tensor_argument(info[1], "q"), k = tensor_argument(info[2], "k"), v = tensor_argument(info[3], "v");
  AttentionShape shape;
  shape.heads = integer_argument(info[4], "heads", 1, 1 << 20);
  shape.kv_heads = integer_argument(info[5], "kvHeads", 1, 1 << 20);
  require(q.value().cols() % shape.heads == 0 && shape.heads % shape.kv_heads == 0, "ERR_SHAPE",
          "Expected heads that divide q's columns (", q.value().cols(), ") and kvHeads that divide heads but received ",
          shape.heads, " and ", shape.kv_heads);
  shape.head_dim = q.value().cols() / shape.heads;
  shape.scale = float_argument(info[6], "scale");
  std::vector<int32_t> starts = starts_argument(info[7], q.value().rows());
  const auto sequences = static_cast<int64_t>(starts.size()) - 1;
  return TensorHandle::wrap(info.Env(),
                            attention(*tape->tape, q, k, v, shape, sequences, tape->keep(std::move(starts))));
}

Napi::Value embedding_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  std::vector<int32_t> tokens = int32_argument(info[1], "tokenIds");
  const auto count = static_cast<int64_t>(tokens.size());
  const Weight weight = weight_argument(info[2], "weight");
  const DType out = weight.view.dtype == DType::bf16 ? DType::bf16 : DType::f32;
  return TensorHandle::wrap(info.Env(), embedding(*tape->tape, tape->keep(std::move(tokens)), count, weight, out));
}

Napi::Value head_cross_entropy_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var x = tensor_argument(info[1], "x");
  const Weight head = weight_argument(info[2], "head");
  std::vector<int32_t> rows = int32_argument(info[3], "rows"), targets = int32_argument(info[4], "targets");
  std::vector<float> weights = float32_argument(info[5], "weights");
  require(rows.size() == targets.size() && rows.size() == weights.size(), "ERR_ARGUMENT",
          "Expected as many targets and weights as rows (", rows.size(), ") but received ", targets.size(), " and ",
          weights.size());
  LossRows loss_rows;
  loss_rows.count = static_cast<int64_t>(rows.size());
  loss_rows.rows = tape->keep(std::move(rows));
  loss_rows.targets = tape->keep(std::move(targets));
  loss_rows.weights = tape->keep(std::move(weights));
  return TensorHandle::wrap(info.Env(), head_cross_entropy(*tape->tape, x, head, loss_rows).loss);
}

Napi::Value cross_entropy_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var logits = tensor_argument(info[1], "logits");
  std::vector<int32_t> targets = int32_argument(info[2], "targets");
  require(static_cast<int64_t>(targets.size()) == logits.value().rows(), "ERR_ARGUMENT",
          "Expected one target for each of ", logits.value().rows(), " rows but received ", targets.size());
  return TensorHandle::wrap(info.Env(), cross_entropy(*tape->tape, logits, tape->keep(std::move(targets))));
}

}  // namespace

void define_row_ops(Napi::Env env, Napi::Object ops) {
  set_op(env, ops, "redEdit", &guarded_function<&red_edit_op>);
  set_op(env, ops, "editAddNorm", &guarded_function<&edit_add_norm_op>);
  set_op(env, ops, "rope", &guarded_function<&rope_op>);
  set_op(env, ops, "attention", &guarded_function<&attention_op>);
  set_op(env, ops, "embedding", &guarded_function<&embedding_op>);
  set_op(env, ops, "headCrossEntropy", &guarded_function<&head_cross_entropy_op>);
  set_op(env, ops, "crossEntropy", &guarded_function<&cross_entropy_op>);
}

}  // namespace rubricate::binding
