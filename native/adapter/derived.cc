#include "adapter/derived.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "adapter/einsum.h"
#include "base/error.h"
#include "device/cpu/thread_pool.h"

namespace rubricate {
namespace {

// Below so many elements of derived values the pool is not worth its turn.
constexpr int64_t kParallelElements = 1 << 16;

// Where operands have their values. derived: those before the value that is made.
struct Source {
  const AdapterPlan& plan;
  const float *values, *derived;
};

bool is_derived(const AdapterPlan& plan, const PlanDerived::Operand& operand) {
  return !operand.constant && operand.index >= static_cast<int32_t>(plan.parameters.size());
}

// Elements before an operand's row.
int64_t row_offset(const AdapterPlan& plan, const PlanDerived::Operand& operand) {
  return operand.row < 0 ? 0 : operand.row * element_count(operand_shape(plan, operand));
}

std::vector<double> numbers_of(const Source& from, const PlanDerived::Operand& operand) {
  const AdapterPlan& plan = from.plan;
  const float* begin = nullptr;
  if (operand.constant)
    begin = plan.constants.values->data() + plan.constants.list[static_cast<size_t>(operand.index)].offset;
  else if (is_derived(plan, operand))
    begin = from.derived + (plan.offset(operand.index) - plan.count);
  else
    begin = from.values + plan.offset(operand.index);
  begin += row_offset(plan, operand);
  return {begin, begin + element_count(operand_shape(plan, operand))};
}

// Swaps the last two axes; shape: before that.
std::vector<double> transposed(const std::vector<double>& from, const Shape& shape) {
  const int64_t rows = shape[shape.size() - 2], cols = shape.back();
  std::vector<double> to(from.size());
  for (size_t block = 0; block < from.size(); block += static_cast<size_t>(rows * cols))
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t col = 0; col < cols; ++col)
        to[block + static_cast<size_t>(col * rows + row)] = from[block + static_cast<size_t>(row * cols + col)];
  return to;
}

std::vector<EinsumTerm> terms_of(const Source& from, const PlanDerived& own, EinsumSizes& sizes) {
  std::vector<EinsumTerm> terms;
  for (const PlanDerived::Operand& operand : own.operands) {
    const Shape shape = operand_shape(from.plan, operand);
    for (size_t axis = 0; axis < shape.size(); ++axis) sizes.of(operand.axes[axis]) = shape[axis];
    terms.push_back({operand.axes, numbers_of(from, operand)});
  }
  return terms;
}

double factor_of(const PlanDerived& own, int64_t row) {
  const auto rows = static_cast<int64_t>(own.factors.size());
  return rows == 0 ? 1.0 : static_cast<double>(own.factors[static_cast<size_t>(row % rows)]);
}

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// v to f v / |v| by rows, or with a gradient du to dv.
void normalize(const PlanDerived& own, int64_t width, std::vector<double>& v, const std::vector<double>* gradient) {
  for (int64_t row = 0; row < static_cast<int64_t>(v.size()) / width; ++row) {
    double* const at = v.data() + row * width;
    const double length = std::sqrt(dot(at, at, width));
    if (length == 0.0) {
      std::fill_n(at, width, 0.0);
      continue;
    }
    const double factor = factor_of(own, row) / length;
    if (gradient == nullptr) {
      for (int64_t i = 0; i < width; ++i) at[i] *= factor;
      continue;
    }
    const double* const du = gradient->data() + row * width;
    const double along = dot(at, du, width) / (length * length);
    for (int64_t i = 0; i < width; ++i) at[i] = factor * (du[i] - along * at[i]);
  }
}

double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case Activation::gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::silu:
      return x / (1.0 + std::exp(-x));
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::tanh:
      return std::tanh(x);
  }
  fail("ERR_INTERNAL", "No such activation");
}

double slope(Activation activation, double x) {
  switch (activation) {
    case Activation::gelu:
      return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
    case Activation::gelu_tanh: {
      const double scale = std::sqrt(2.0 / std::numbers::pi), t = std::tanh(scale * (x + 0.044715 * x * x * x));
      return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * scale * (1.0 + 3.0 * 0.044715 * x * x);
    }
    case Activation::silu: {
      const double s = 1.0 / (1.0 + std::exp(-x));
      return s * (1.0 + x * (1.0 - s));
    }
    case Activation::relu:
      return x > 0.0 ? 1.0 : 0.0;
    case Activation::tanh:
      return 1.0 - std::tanh(x) * std::tanh(x);
  }
  fail("ERR_INTERNAL", "No such activation");
}

std::vector<double> made(const Source& from, const PlanDerived& own) {
  std::vector<double> values;
  if (own.kind == DerivedKind::einsum) {
    EinsumSizes sizes;
    const std::vector<EinsumTerm> terms = terms_of(from, own, sizes);
    values = einsum(terms, own.axes, sizes).values;
  } else {
    values = numbers_of(from, own.operands[0]);
    if (own.kind == DerivedKind::unit)
      normalize(own, operand_shape(from.plan, own.operands[0]).back(), values, nullptr);
    if (own.kind == DerivedKind::activation)
      for (double& value : values) value = activated(own.activation, value);
  }
  if (!own.transposed) return values;
  Shape shape = own.shape;
  std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
  return transposed(values, shape);
}

// The gradients of the operands. gradient: that of the value.
std::vector<std::vector<double>> gradients_of(const Source& from, const PlanDerived& own,
                                              std::vector<double> gradient) {
  if (own.transposed) gradient = transposed(gradient, own.shape);
  if (own.kind == DerivedKind::einsum) {
    EinsumSizes sizes;
    const std::vector<EinsumTerm> terms = terms_of(from, own, sizes);
    std::vector<std::vector<double>> gradients;
    for (EinsumTerm& term : einsum_backward(terms, {own.axes, std::move(gradient)}, sizes))
      gradients.push_back(std::move(term.values));
    return gradients;
  }
  std::vector<double> values = numbers_of(from, own.operands[0]);
  if (own.kind == DerivedKind::unit)
    normalize(own, operand_shape(from.plan, own.operands[0]).back(), values, &gradient);
  else
    for (size_t i = 0; i < values.size(); ++i) values[i] = slope(own.activation, values[i]) * gradient[i];
  return {std::move(values)};
}

// Calls body(i) for each derived value, on the pool if they are large and none is made of another.
template <typename Body>
void for_each_alone(const AdapterPlan& plan, const Body& body) {
  const auto count = static_cast<int64_t>(plan.derived.size());
  parallel_ranges(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(static_cast<size_t>(i));
  });
}

bool parallel(const AdapterPlan& plan) {
  if (plan.derived_count < kParallelElements) return false;
  for (const PlanDerived& own : plan.derived)
    for (const PlanDerived::Operand& operand : own.operands)
      if (is_derived(plan, operand)) return false;
  return true;
}

}  // namespace

void derive(const AdapterPlan& plan, const float* values, float* derived) {
  const auto make = [&](size_t i) {
    const PlanDerived& own = plan.derived[i];
    const std::vector<double> result = made({plan, values, derived}, own);
    std::transform(result.begin(), result.end(), derived + own.offset,
                   [](double value) { return static_cast<float>(value); });
  };
  if (parallel(plan)) return for_each_alone(plan, make);
  for (size_t i = 0; i < plan.derived.size(); ++i) make(i);
}

void derive_backward(const AdapterPlan& plan, const float* values, const float* derived, const float* derived_gradients,
                     float* gradients) {
  std::vector<double> above(derived_gradients, derived_gradients + plan.derived_count);
  std::vector<double> sums(static_cast<size_t>(plan.count), 0.0);
  const auto own_gradients = [&](size_t i) {
    const PlanDerived& own = plan.derived[i];
    const auto begin = above.begin() + own.offset;
    return gradients_of({plan, values, derived}, own, {begin, begin + element_count(own.shape)});
  };
  std::vector<std::vector<std::vector<double>>> made_before;
  if (parallel(plan)) {
    made_before.resize(plan.derived.size());
    for_each_alone(plan, [&](size_t i) { made_before[i] = own_gradients(i); });
  }
  // From the last one on, so that the gradient of one of which others are made is complete.
  for (size_t i = plan.derived.size(); i-- > 0;) {
    const auto of_operands = made_before.empty() ? own_gradients(i) : std::move(made_before[i]);
    for (size_t k = 0; k < of_operands.size(); ++k) {
      const PlanDerived::Operand& operand = plan.derived[i].operands[k];
      if (operand.constant) continue;
      const int64_t offset = plan.offset(operand.index) + row_offset(plan, operand);
      double* const to = is_derived(plan, operand) ? above.data() + (offset - plan.count) : sums.data() + offset;
      for (size_t n = 0; n < of_operands[k].size(); ++n) to[n] += of_operands[k][n];
    }
  }
  for (int64_t i = 0; i < plan.count; ++i)
    if (sums[static_cast<size_t>(i)] != 0.0)
      gradients[i] = static_cast<float>(static_cast<double>(gradients[i]) + sums[static_cast<size_t>(i)]);
}

DerivedValues::DerivedValues(const Adapter& adapter, const std::shared_ptr<Arena>& arena, bool gradients) {
  const AdapterPlan& plan = *adapter.plan();
  host_.resize(static_cast<size_t>(plan.derived_count));
  derive(plan, adapter.values().data<float>(), host_.data());
  values_ = Tensor::from_host(arena, {plan.derived_count}, DType::f32, host_.data());
  if (gradients) gradients_ = Tensor::zeros(arena, {plan.derived_count}, DType::f32);
  for (const PlanDerived& own : plan.derived) {
    Var var = Var::parameter(values_.part(own.offset, own.shape));
    if (gradients) {
      var.slot()->grad = gradients_.part(own.offset, own.shape);
      var.slot()->in_place = true;
    }
    vars_.push_back(std::move(var));
  }
}

void DerivedValues::take_back(const Adapter& adapter) const {
  const AdapterPlan& plan = *adapter.plan();
  const Tensor host = gradients_.on_cpu();
  derive_backward(plan, adapter.values().data<float>(), host_.data(), host.data<float>(),
                  adapter.gradients().data<float>());
}

}  // namespace rubricate
