// What an adapter is, as data: its parameters, and what each site does with them. A method (lib/adapter/methods/) writes
// a plan; the core runs it and knows no method by name.
//
//   { "parameters": [ { "name": "layers.0.mlp.down_proj.scale", "shape": [24], "start": 1 }, ... ],
//     "sites": [ { "layer": 0, "site": "down_proj", "scale": 0, "bias": 1 },
//                { "layer": 0, "site": "q_proj", "low_rank": { "a": 2, "b": 3, "factor": 2 } },
//                { "layer": 1, "site": "down_proj", "input_scale": 4 },
//                { "layer": 1, "site": "v_proj", "branch": [ { "op": "linear", "weight": 5 }, { "op": "linear", "weight": 6 } ] },
//                { "layer": 1, "site": "o_proj", "sparse": { "values": 9, "index": 0 } },
//                { "layer": 0, "site": "input_layernorm", "own": { "weight": 7, "bias": 8 } }, ... ],
//     "constants": [ { "name": "vera_A", "shape": [8, 24] }, ... ],
//     "derived": [ { "name": "...", "kind": "einsum", ... }, ... ],
//     "indices": [ { "name": "layers.1.self_attn.o_proj.index", "shape": [24, 24], "count": 7 }, ... ] }
//
// `input`, `branch` and `output` are lists of steps (plan_steps.h, ops/steps/steps.h). Constants are frozen matrices for them, which
// the method gives with the plan; they are neither stored nor counted. Derived values (plan_derived.h) are made of parameters. Indices are
// the entries of sparse updates (plan_sparse.h).
//
// Numbers after "input_scale", "scale", "bias", "norm" ("weight", "bias"), "low_rank" ("a", "b"), "sparse" ("values") and "own"
// ("weight", "bias") are indices of parameters, or { "derived": INDEX }. Each parameter and derived value has one place, but steps and
// derived values may share one; each site is named once. A norm of the model has "own" alone, and no other site has it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "adapter/plan_derived.h"
#include "adapter/plan_sparse.h"
#include "adapter/plan_steps.h"
#include "architecture/architecture.h"
#include "architecture/site.h"
#include "tensor/tensor.h"

namespace rubricate {

constexpr float kEditNormEps = 1e-5f;  // of the layer norm after an edit: torch.nn.LayerNorm's default

struct AdapterPlan {
  struct Parameter {
    std::string name;
    Shape shape;         // fp32
    float start = 0.0f;  // each element's first value, and what weight decay pulls it to
    int64_t offset = 0;  // elements from the beginning of the adapter's values
    bool decays = true;  // whether weight decay applies
    bool operator==(const Parameter&) const = default;
  };
  // Indices of parameters, then of derived values; -1: none. In this order: x' = input(input_scale * x); y = W x' + b; y += factor * B (A x);
  // y += S x (sparse); y += branch(x); y = output(y); y = scale * y + bias; y = norm(y). At a norm of the model: y = norm of x with the
  // adapter's own weight and bias.
  struct SitePlan {
    int64_t layer = 0;
    Site site = Site::down_proj;
    int32_t input_scale = -1;                  // [inputs]
    int32_t scale = -1, bias = -1;             // [outputs] each
    int32_t norm_weight = -1, norm_bias = -1;  // [outputs] each: a layer norm, both or none
    int32_t a = -1, b = -1;                    // [rank, inputs], [outputs, rank]: a low-rank update, both or none
    float factor = 0.0f;
    int32_t sparse_values = -1;              // [entries]: a sparse update, with
    int32_t sparse_index = -1;               // the place of its index in `indices`, both or none
    int32_t own_weight = -1, own_bias = -1;  // [width] each: in place of the norm's own, at least one
    PlanSteps input{}, branch{}, output{};   // empty: none
    bool has_steps() const { return !input.empty() || !branch.empty() || !output.empty(); }
    bool scales_input() const { return input_scale >= 0; }
    bool edits() const { return scale >= 0 || bias >= 0; }
    bool has_norm() const { return norm_weight >= 0; }
    bool has_low_rank() const { return a >= 0; }
    bool has_sparse() const { return sparse_index >= 0; }
    bool replaces() const { return own_weight >= 0 || own_bias >= 0; }
    bool operator==(const SitePlan&) const = default;
  };
  std::vector<Parameter> parameters;
  std::vector<SitePlan> sites;
  int64_t count = 0;  // elements of all parameters
  PlanConstants constants{};
  std::vector<PlanDerived> derived{};
  int64_t derived_count = 0;  // elements of all derived values
  std::vector<PlanSparse> indices{};

  // constants, sparse: the elements of all constants, and the indices of all sparse updates, in their order. Errors: ERR_JSON;
  // ERR_ARGUMENT naming the path in the document; ERR_NOT_FINITE (a constant); ERR_SHAPE (a matrix that is too large).
  static AdapterPlan parse(const std::string& json, std::vector<float> constants = {},
                           const std::vector<int32_t>& sparse = {});
  // Whether layers and shapes fit the model. Errors: ERR_ARGUMENT (a layer), ERR_SHAPE.
  void require_fits(const Architecture& architecture) const;
  // Whether a derived value is made of a weight of the base.
  bool reads_weights() const;
  // Whether any site has a layer norm after its edit. Such adapters share a batch only with those of the same plan: their sites round
  // once more than others, so another sequence beside them would lose its bits.
  bool has_norm() const;
  int64_t rank(const SitePlan& site) const { return shape(site.a)[0]; }
  // Of a parameter, or of a derived value, whose indices follow those of the parameters.
  const std::string& name(int32_t index) const;
  const Shape& shape(int32_t index) const;
  int64_t offset(int32_t index) const;  // elements from the beginning of the values, which the derived ones follow
  int64_t total() const { return count + derived_count; }
  bool operator==(const AdapterPlan&) const = default;
};

// The plan itself, or an equal one that is in use: programs have few plans, and often thousands of adapters.
std::shared_ptr<const AdapterPlan> shared_plan(AdapterPlan plan);

}  // namespace rubricate
