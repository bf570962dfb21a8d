// The steps and constants of a plan (adapter/plan.h): what ops/steps runs, by indices of parameters.
//
//   { "op": "linear", "weight": 3 }, { "op": "linear", "constant": 0 }, { "op": "block_linear", "weight": 4 },
//   { "op": "scale", "by": 2 }, { "op": "affine", "scale": 5, "bias": 6 }, { "op": "residual" },
//   { "op": "activation", "kind": "gelu" }, { "op": "mix_initial", "by": 0.1 }
//
// In place of a parameter's index there may be { "derived": INDEX } (plan_derived.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "ops/steps/steps.h"
#include "tensor/tensor.h"

namespace rubricate {

struct PlanStep {
  StepKind kind = StepKind::residual;
  int32_t weight = -1;            // of the linear ones: a parameter or a derived value, or
  bool constant = false;          // a constant
  int32_t scale = -1, bias = -1;  // of affine
  float by = 1.0f;                // of scale and mix_initial
  Activation activation = Activation::gelu;
  bool operator==(const PlanStep&) const = default;
};
using PlanSteps = std::vector<PlanStep>;
// Whether any of them reads the embedding's output.
bool mixes_initial(const PlanSteps& steps);

// Frozen matrices, with their values.
struct PlanConstants {
  struct Constant {
    std::string name;
    Shape shape;
    int64_t offset = 0;
    bool operator==(const Constant&) const = default;
  };
  std::vector<Constant> list;
  std::shared_ptr<std::vector<float>> values;  // null: none

  // Reads "constants", which may be missing. Errors: ERR_ARGUMENT, ERR_NOT_FINITE.
  static PlanConstants parse(const JsonAt& plan, std::vector<float> values);
  // A constant in host memory, which the tensor keeps alive.
  Tensor tensor(int32_t index) const;
  bool operator==(const PlanConstants& other) const;
};

// Reads indices of parameters, and those of derived values, which follow them. Each may occur once, but in steps and derived values
// more often.
class PlanIndices {
 public:
  PlanIndices(size_t parameters, size_t derived) : parameters_(parameters), used_(parameters + derived, false) {}
  int32_t read(const JsonAt& at) {
    const int32_t index = shared(at, false);
    used_[static_cast<size_t>(index)] = true;
    return index;
  }
  int32_t read_if(const JsonAt& at, const char* key) { return at.has(key) ? read(at[key]) : -1; }
  int32_t shared(const JsonAt& at, bool may_share = true);
  bool all() const;

 private:
  size_t parameters_;
  std::vector<bool> used_, shared_ = std::vector<bool>(used_.size(), false);
};

// One, two or three sizes.
Shape parse_shape(const JsonAt& at);
// The steps of a part; empty if it is missing.
PlanSteps parse_steps(const JsonAt& site, const char* part, PlanIndices& indices, const PlanConstants& constants);
// Whether the steps' shapes fit, from rows of `inputs` to rows of `outputs`. hidden: the embedding's width. where: for messages.
// Errors: ERR_SHAPE.
void require_widths(const PlanSteps& steps, int64_t inputs, int64_t outputs, int64_t hidden, const std::string& where,
                    const std::function<const Shape&(const PlanStep&, int32_t)>& shape_of);
// The steps with their values; null if there are none. parameter, constant: by index.
std::shared_ptr<const SiteSteps> placed_steps(const PlanSteps& steps, const std::function<Var(int32_t)>& parameter,
                                              const std::function<Tensor(int32_t)>& constant);

}  // namespace rubricate
