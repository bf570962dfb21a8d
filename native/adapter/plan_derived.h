// The derived values of a plan (adapter/plan.h): what adapter/derived.h makes of parameters once a step. They stand where
// parameters stand.
//
//   einsum       a product of tensors, summed over the letters that are missing in "axes", by rows in "shape":
//                { "name": "m", "kind": "einsum", "operands": [ { "of": 0, "axes": "hr" }, { "of": 1, "axes": "r", "row": 3 },
//                  { "of": 2, "axes": "rj" } ], "axes": "hjr", "shape": [24, 2] }
//   unit         v / |v| along the last axis, times a factor for each row of the axis before; a vector of zeros stays:
//                { "name": "u", "kind": "unit", "of": 3, "factors": [-1, 1], "shape": [4, 12, 2], "transposed": true }
//   weight_product  a matrix [rows, inputs] times the transpose of a weight W [outputs, inputs] of the base, or along outputs a matrix
//                [rows, outputs] times W: { "name": "p", "kind": "weight_product", "of": 4, "layer": 1, "site": "q_proj", "along":
//                "inputs", "shape": [24, 2], "transposed": true }
//   activation   f of each element: { "name": "t", "kind": "activation", "of": { "derived": 1 }, "activation": "relu", "shape": [8] }
//
// "of" is the index of a parameter, { "derived": INDEX } of an earlier derived value, or { "constant": INDEX }; with "row" it is that
// row of its first axis. "transposed": the last two axes are swapped at the end; "shape" is the shape after that.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "adapter/plan_steps.h"
#include "architecture/architecture.h"
#include "architecture/site.h"
#include "base/named.h"

namespace rubricate {

struct AdapterPlan;

enum class DerivedKind : int32_t { einsum = 0, unit, weight_product, activation };
inline constexpr std::array<Named<DerivedKind>, 4> kDerivedNames{{{DerivedKind::einsum, "einsum"},
                                                                  {DerivedKind::unit, "unit"},
                                                                  {DerivedKind::weight_product, "weight_product"},
                                                                  {DerivedKind::activation, "activation"}}};

struct PlanDerived {
  struct Operand {
    int32_t index = -1;     // of a parameter or an earlier derived value, or
    bool constant = false;  // of a constant
    int64_t row = -1;       // of its first axis; -1: the whole
    std::string axes{};     // of einsum: a letter for each axis
    bool operator==(const Operand&) const = default;
  };
  std::string name;
  DerivedKind kind = DerivedKind::einsum;
  std::vector<Operand> operands;  // several of einsum, else one
  std::string axes{};             // of einsum
  std::vector<float> factors{};   // of unit; empty: 1
  int64_t layer = 0;              // of weight_product: whose weight,
  Site site = Site::q_proj;
  bool along_outputs = false;  // and the axis of it that is summed
  Activation activation = Activation::gelu;
  bool transposed = false;
  Shape shape;
  int64_t offset = 0;  // elements from the beginning of the derived values
  bool operator==(const PlanDerived&) const = default;
};

// Reads the next derived value of a plan whose parameters, constants and earlier derived values are known. Errors: ERR_ARGUMENT.
PlanDerived parse_derived(const JsonAt& at, const AdapterPlan& plan, PlanIndices& indices);

// Whether the layer and the sizes of a weight_product fit the model. Errors: ERR_ARGUMENT, ERR_SHAPE.
void require_weight_fits(const AdapterPlan& plan, const PlanDerived& derived, const Architecture& architecture);

// Of an operand, without the axis of its row.
Shape operand_shape(const AdapterPlan& plan, const PlanDerived::Operand& operand);

}  // namespace rubricate
