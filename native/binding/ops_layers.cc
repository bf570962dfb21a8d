// The ops of a model's layers.
#include <algorithm>

#include "binding/op_arguments.h"
#include "binding/ops.h"
#include "ops/attention/attention.h"
#include "ops/edit_add_norm/edit_add_norm.h"
#include "ops/embedding/embedding.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"

namespace rubricate::binding {
namespace {

// Each slot's vectors and each sequence's rows, from an object with scales, biases, starts and slots.
struct Edits {
  SlotVectors slots;
  SequenceRows rows;  // arrays that the tape keeps until the backward has run

  Edits(TapeState& tape, const Napi::Object& given, int64_t row_count) {
    const Napi::Array scales = array_argument(given.Get("scales"), "scales"),
                      biases = array_argument(given.Get("biases"), "biases");
    require(scales.Length() == biases.Length(), "ERR_ARGUMENT", "Expected as many biases as scales (", scales.Length(),
            ") but received ", biases.Length());
    slots.slots.resize(scales.Length() + 1);
    for (uint32_t i = 0; i < scales.Length(); ++i)
      slots.slots[i + 1] = {leaf_or_none_argument(scales.Get(i), "scales"),
                            leaf_or_none_argument(biases.Get(i), "biases")};
    std::vector<int32_t> starts = starts_argument(given.Get("starts"), row_count);
    std::vector<int32_t> of_sequence = int32_argument(given.Get("slots"), "slots");
    const auto sequences = static_cast<int64_t>(starts.size()) - 1;
    check_slot_count(static_cast<int64_t>(of_sequence.size()), sequences);
    check_slots(of_sequence.data(), sequences, scales.Length());
    rows = {row_count, sequences, tape.keep(std::move(starts)), tape.keep(std::move(of_sequence))};
  }
};

Napi::Value linear_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var x = tensor_argument(info[1], "x");
  const Weight weight = weight_argument(info[2], "weight");
  const Var bias = leaf_or_none_argument(info[3], "bias");
  return TensorHandle::wrap(info.Env(), linear(*tape->tape, x, weight, bias, x.value().dtype()));
}

Napi::Value rms_norm_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var x = tensor_argument(info[1], "x"), weight = leaf_argument(info[2], "weight");
  return TensorHandle::wrap(info.Env(), rms_norm(*tape->tape, x, weight, float_argument(info[3], "epsilon")));
}

// One weight and bias for all rows: slot 1, in a batch of one sequence.
Napi::Value layer_norm_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Var x = tensor_argument(info[1], "x");
  SlotVectors slots;
  slots.slots.resize(2);
  slots.slots[1] = {leaf_argument(info[2], "weight"), leaf_argument(info[3], "bias")};
  const int64_t rows = x.value().rows();
  require(rows <= INT32_MAX, "ERR_SHAPE", "Expected fewer than 2^31 rows for x but received ", rows);
  const SequenceRows sequence = {rows, 1, tape->keep(std::vector<int32_t>{0, static_cast<int32_t>(rows)}),
                                 tape->keep(std::vector<int32_t>{1})};
  return TensorHandle::wrap(info.Env(),
                            layer_norm(*tape->tape, x, slots, sequence, float_argument(info[4], "epsilon")));
}

Napi::Value swiglu_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  return TensorHandle::wrap(info.Env(),
                            swiglu(*tape->tape, tensor_argument(info[1], "gate"), tensor_argument(info[2], "up")));
}

Napi::Value red_edit_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Napi::Object given = object_argument(info[1], "arguments");
  const Var h = tensor_argument(given.Get("h"), "h");
  const Edits edits(*tape, given, h.value().rows());
  return TensorHandle::wrap(info.Env(), red_edit(*tape->tape, h, edits.slots, edits.rows));
}

Napi::Value edit_add_norm_op(const Napi::CallbackInfo& info) {
  const auto tape = tape_argument(info[0]);
  const Napi::Object given = object_argument(info[1], "arguments");
  const Var h = tensor_argument(given.Get("h"), "h"), residual = tensor_argument(given.Get("residual"), "residual");
  const Edits edits(*tape, given, h.value().rows());
  const SumNorm norm = {leaf_or_none_argument(given.Get("normWeight"), "normWeight"),
                        float_argument(given.Get("epsilon"), "epsilon")};
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
  const Napi::Object given = object_argument(info[1], "arguments");
  const Var q = tensor_argument(given.Get("q"), "q"), k = tensor_argument(given.Get("k"), "k"),
            v = tensor_argument(given.Get("v"), "v");
  AttentionShape shape;
  shape.heads = integer_argument(given.Get("heads"), "heads", 1, 1 << 20);
  shape.kv_heads = integer_argument(given.Get("kvHeads"), "kvHeads", 1, 1 << 20);
  require(q.value().cols() % shape.heads == 0 && shape.heads % shape.kv_heads == 0, "ERR_SHAPE",
          "Expected heads that divide q's columns (", q.value().cols(), ") and kvHeads that divide heads but received ",
          shape.heads, " and ", shape.kv_heads);
  shape.head_dim = q.value().cols() / shape.heads;
  shape.scale = float_argument(given.Get("scale"), "scale");
  std::vector<int32_t> starts = starts_argument(given.Get("starts"), q.value().rows());
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

}  // namespace

void define_layers(Napi::Env env, Napi::Object ops) {
  set_op(env, ops, "linear", &guarded_function<&linear_op>);
  set_op(env, ops, "rmsNorm", &guarded_function<&rms_norm_op>);
  set_op(env, ops, "layerNorm", &guarded_function<&layer_norm_op>);
  set_op(env, ops, "swiglu", &guarded_function<&swiglu_op>);
  set_op(env, ops, "redEdit", &guarded_function<&red_edit_op>);
  set_op(env, ops, "editAddNorm", &guarded_function<&edit_add_norm_op>);
  set_op(env, ops, "rope", &guarded_function<&rope_op>);
  set_op(env, ops, "attention", &guarded_function<&attention_op>);
  set_op(env, ops, "embedding", &guarded_function<&embedding_op>);
}

}  // namespace rubricate::binding
