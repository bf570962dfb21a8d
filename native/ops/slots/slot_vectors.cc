#include "ops/slots/slot_vectors.h"

#include <algorithm>

#include "ops/shared/checks.h"

namespace rubricate {
namespace {

const float* vector_data(const Var& vector, int64_t width, const char* name) {
  if (!vector.defined()) return nullptr;
  require_vector(vector.value(), width, name);
  return vector.value().data<float>();
}

}  // namespace

bool SlotVectors::trains() const {
  return std::any_of(slots.begin(), slots.end(),
                     [](const Vectors& v) { return v.scale.requires_grad() || v.bias.requires_grad(); });
}

SlotPointers slot_pointers(const SlotVectors& slots, int64_t width, const SequenceRows& rows) {
  check_starts(rows.starts, rows.sequences, rows.rows, 0);
  check_slots(rows.slots, rows.sequences, static_cast<int64_t>(slots.slots.size()) - 1);
  SlotPointers table;
  table.scale.reserve(slots.slots.size());
  table.bias.reserve(slots.slots.size());
  for (const auto& [scale, bias] : slots.slots) {
    require(!table.scale.empty() || (!scale.defined() && !bias.defined()), "ERR_ARGUMENT",
            "Expected no vectors for slot 0, which means no edit");
    table.scale.push_back(vector_data(scale, width, "scale"));
    table.bias.push_back(vector_data(bias, width, "bias"));
  }
  return table;
}

SlotPointers norm_pointers(const SlotVectors& slots, const Var& weight, const Var& bias, int64_t width,
                           const SequenceRows& rows) {
  SlotPointers table = slot_pointers(slots, width, rows);
  require(!weight.requires_grad() && !bias.requires_grad(), "ERR_ARGUMENT",
          "Expected a norm that does not train where slots have their own vectors");
  for (size_t s = 0; s < table.bias.size(); ++s)
    require(table.bias[s] == nullptr || bias.defined(), "ERR_ARGUMENT", "Expected no bias for slot ", s,
            ": the norm has none");
  return table;
}

bool slots_want_grad(const Tape& tape, const SlotVectors& slots) {
  bool wanted = false;
  for (const auto& [scale, bias] : slots.slots) {
    require_place(tape, scale.value(), "scale");
    require_place(tape, bias.value(), "bias");
    wanted = tape.wants_grad(scale, bias) || wanted;
  }
  return wanted;
}

bool any_row_has(const float* const* vectors, const SequenceRows& rows) {
  if (vectors == nullptr) return false;
  for (int64_t s = 0; s < rows.sequences; ++s)
    if (vectors[rows.slots[s]] != nullptr && rows.starts[s] < rows.starts[s + 1]) return true;
  return false;
}

void require_view(const EditView& view, int64_t width, const SequenceRows& rows) {
  require(view.width == width, "ERR_SHAPE", "Expected vectors of ", width, " numbers but received ", view.width);
  check_slots(rows.slots, rows.sequences, view.slots - 1);
}

bool any_scale_trains(const SlotVectors& slots) {
  return std::any_of(slots.slots.begin(), slots.slots.end(),
                     [](const SlotVectors::Vectors& v) { return v.scale.requires_grad(); });
}

}  // namespace rubricate
