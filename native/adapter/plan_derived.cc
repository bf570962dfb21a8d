#include "adapter/plan_derived.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "adapter/einsum.h"
#include "adapter/plan.h"
#include "base/error.h"
#include "base/limits.h"

namespace rubricate {
namespace {

constexpr int64_t kMostOperands = 16;       // of an einsum
constexpr int64_t kMostElements = 1 << 26;  // of a derived value
constexpr int64_t kMostProducts = 1 << 26;  // multiplications of two operands: it bounds time and memory

// Their product, or kMostElements + 1 if it is larger.
template <typename List>
int64_t bounded_product(const List& sizes) {
  int64_t product = 1;
  for (const int64_t size : sizes) {
    if (size > kMostElements / product) return kMostElements + 1;
    product *= size;
  }
  return product;
}

// Letters a to z, each once.
std::string parse_axes(const JsonAt& at) {
  const std::string& axes = at.string();
  for (size_t i = 0; i < axes.size(); ++i)
    if (axes[i] < 'a' || axes[i] > 'z' || axes.find(axes[i]) != i) at.reject("letters a to z, each once");
  return axes;
}

PlanDerived::Operand parse_operand(const JsonAt& at, const AdapterPlan& plan, PlanIndices& indices) {
  PlanDerived::Operand operand;
  const JsonAt of = at["of"];
  operand.constant = of.json().is(JsonType::object) && of.has("constant");
  if (operand.constant) {
    of.expect_only({"constant"});
    if (plan.constants.list.empty()) of["constant"].reject("a plan with constants");
    const auto last = static_cast<int64_t>(plan.constants.list.size()) - 1;
    operand.index = static_cast<int32_t>(of["constant"].integer(0, last));
  } else {
    operand.index = indices.shared(of);
    if (operand.index >= static_cast<int32_t>(plan.parameters.size() + plan.derived.size()))
      of.reject("an earlier derived value");
  }
  return operand;
}

// The sizes of the letters, by the operands.
EinsumSizes parse_operands(const JsonAt& list, const AdapterPlan& plan, PlanIndices& indices, PlanDerived& derived) {
  EinsumSizes sizes{};
  if (list.size() < 1 || list.size() > kMostOperands) list.reject(concat("1 to ", kMostOperands, " operands"));
  for (int64_t i = 0; i < list.size(); ++i) {
    const JsonAt at = list.at(i);
    at.expect_only({"of", "axes", "row"});
    PlanDerived::Operand operand = parse_operand(at, plan, indices);
    if (at.has("row")) operand.row = at["row"].integer(0, operand_shape(plan, operand)[0] - 1);
    operand.axes = parse_axes(at["axes"]);
    const Shape shape = operand_shape(plan, operand);
    if (operand.axes.size() != shape.size())
      at["axes"].reject(concat(shape.size(), " letters, one for each axis of shape ", shape_text(shape)));
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      int64_t& size = sizes.of(operand.axes[axis]);
      if (size != 0 && size != shape[axis])
        at["axes"].reject(concat("letters with one size each, ", size, " for ", operand.axes[axis]));
      size = shape[axis];
    }
    derived.operands.push_back(std::move(operand));
  }
  return sizes;
}

// Whether no product of two operands is too large.
bool bounded(const PlanDerived& derived, const EinsumSizes& sizes) {
  std::vector<std::string> terms;
  for (const PlanDerived::Operand& operand : derived.operands) terms.push_back(operand.axes);
  std::string running;
  for (size_t i = 0; i < terms.size(); ++i) {
    std::vector<int64_t> all;
    for (const char letter : joined_axes(running, terms[i])) all.push_back(sizes.of(letter));
    if (bounded_product(all) > kMostProducts) return false;
    running = kept_axes(running, terms, i, derived.axes);
  }
  return true;
}

void parse_einsum(const JsonAt& at, const AdapterPlan& plan, PlanIndices& indices, PlanDerived& derived,
                  int64_t elements) {
  at.expect_only({"name", "kind", "shape", "transposed", "operands", "axes"});
  const EinsumSizes sizes = parse_operands(at["operands"], plan, indices, derived);
  derived.axes = parse_axes(at["axes"]);
  std::vector<int64_t> own;
  for (const char letter : derived.axes) {
    own.push_back(sizes.of(letter));
    if (own.back() == 0) at["axes"].reject(concat("letters of the operands, not ", letter));
  }
  if (bounded_product(own) != elements) at["shape"].reject(concat(bounded_product(own), " elements, as the axes have"));
  if (!bounded(derived, sizes))
    at["operands"].reject(concat("products of two operands of at most ", kMostProducts, " multiplications"));
}

void require_shape(const JsonAt& at, const Shape& shape, const Shape& own) {
  if (shape != own) at["shape"].reject(concat(shape_text(own), ", by the shape of `of`"));
}

void parse_unit(const JsonAt& at, const AdapterPlan& plan, PlanDerived& derived, const Shape& shape) {
  at.expect_only({"name", "kind", "shape", "transposed", "of", "factors"});
  const Shape own = operand_shape(plan, derived.operands[0]);
  require_shape(at, shape, own);
  if (!at.has("factors")) return;
  const JsonAt factors = at["factors"];
  if (own.size() < 2 || factors.size() != own[own.size() - 2])
    factors.reject("a factor for each row of the last axis but one");
  for (int64_t i = 0; i < factors.size(); ++i) {
    derived.factors.push_back(static_cast<float>(factors.at(i).number()));
    if (!std::isfinite(derived.factors.back())) factors.at(i).reject("a finite float32 number");
  }
}

void parse_weight_product(const JsonAt& at, const AdapterPlan& plan, PlanDerived& derived, const Shape& shape) {
  at.expect_only({"name", "kind", "shape", "transposed", "of", "layer", "site", "along"});
  derived.layer = at["layer"].integer(0, limits::kMaxLayers);
  const auto site = value_of(kSiteNames, at["site"].string());
  if (!site || is_norm(*site)) at["site"].reject("a linear layer");
  derived.site = *site;
  const std::string& along = at["along"].string();
  if (along != "inputs" && along != "outputs") at["along"].reject("inputs or outputs");
  derived.along_outputs = along == "outputs";
  const Shape of = operand_shape(plan, derived.operands[0]);
  if (of.size() != 2) at["of"].reject(concat("a matrix, not shape ", shape_text(of)));
  if (shape.size() != 2 || shape[0] != of[0]) at["shape"].reject(concat("a matrix of ", of[0], " rows, as `of` has"));
}

void parse_activation(const JsonAt& at, const AdapterPlan& plan, PlanDerived& derived) {
  at.expect_only({"name", "kind", "shape", "of", "activation"});
  require_shape(at, derived.shape, operand_shape(plan, derived.operands[0]));
  const auto activation = value_of(kActivationNames, at["activation"].string());
  if (!activation) at["activation"].reject("gelu, gelu_tanh, silu, relu or tanh");
  derived.activation = *activation;
}

}  // namespace

PlanDerived parse_derived(const JsonAt& at, const AdapterPlan& plan, PlanIndices& indices) {
  PlanDerived derived;
  const auto kind = value_of(kDerivedNames, at["kind"].string());
  if (!kind) at["kind"].reject("einsum, unit, weight_product or activation");
  derived.kind = *kind;
  derived.name = at["name"].string();
  derived.shape = parse_shape(at["shape"]);
  const int64_t elements = bounded_product(derived.shape);
  if (elements > kMostElements) at["shape"].reject(concat("at most ", kMostElements, " elements"));
  if (at.has("transposed")) derived.transposed = at["transposed"].boolean();
  Shape before = derived.shape;
  if (derived.transposed) {
    if (before.size() < 2) at["shape"].reject("two axes or more to transpose");
    std::swap(before[before.size() - 1], before[before.size() - 2]);
  }
  if (derived.kind != DerivedKind::einsum) derived.operands.push_back(parse_operand(at, plan, indices));
  switch (derived.kind) {
    case DerivedKind::einsum:
      parse_einsum(at, plan, indices, derived, elements);
      break;
    case DerivedKind::unit:
      parse_unit(at, plan, derived, before);
      break;
    case DerivedKind::weight_product:
      parse_weight_product(at, plan, derived, before);
      break;
    case DerivedKind::activation:
      parse_activation(at, plan, derived);
      break;
  }
  return derived;
}

void require_weight_fits(const AdapterPlan& plan, const PlanDerived& derived, const Architecture& architecture) {
  require(derived.layer < architecture.stack.layers, "ERR_ARGUMENT", "The adapter reads the weight of layer ",
          derived.layer, " for ", derived.name, " but the model has ", architecture.stack.layers);
  require(has_site(architecture, derived.site), "ERR_ARGUMENT", "The adapter reads the weight of ",
          name_of(kSiteNames, derived.site), " for ", derived.name, " but the model's feed-forward has no gate");
  const int64_t inputs = site_inputs(architecture, derived.site), outputs = site_width(architecture, derived.site);
  const Shape of = operand_shape(plan, derived.operands[0]);
  Shape expected{of[0], derived.along_outputs ? inputs : outputs};
  if (derived.transposed) std::swap(expected[0], expected[1]);
  require(of[1] == (derived.along_outputs ? outputs : inputs) && derived.shape == expected, "ERR_SHAPE",
          "Expected a matrix [rows, ", derived.along_outputs ? outputs : inputs, "] of which ", derived.name,
          " is made, and shape ", shape_text(expected), " for it, but received ", shape_text(of), " and ",
          shape_text(derived.shape));
}

Shape operand_shape(const AdapterPlan& plan, const PlanDerived::Operand& operand) {
  const auto index = static_cast<size_t>(operand.index);
  const Shape& shape = operand.constant ? plan.constants.list[index].shape : plan.shape(operand.index);
  return operand.row < 0 ? shape : Shape(shape.begin() + 1, shape.end());
}

}  // namespace rubricate
