#include "adapter/derived.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "adapter/activations.h"
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

const float* values_of(const Source& from, const PlanDerived::Operand& operand) {
  const AdapterPlan& plan = from.plan;
  const float* begin = nullptr;
  if (operand.constant)
    begin = plan.constants.values->data() + plan.constants.list[static_cast<size_t>(operand.index)].offset;
  else if (is_derived(plan, operand))
    begin = from.derived + (plan.offset(operand.index) - plan.count);
  else
    begin = from.values + plan.offset(operand.index);
  return begin + row_offset(plan, operand);
}

std::vector<double> numbers_of(const Source& from, const PlanDerived::Operand& operand) {
  const float* const begin = values_of(from, operand);
  return {begin, begin + element_count(operand_shape(from.plan, operand))};
}

// Swaps the last two axes; shape: before that.
template <typename T>
std::vector<T> transposed(const std::vector<T>& from, const Shape& shape) {
  const int64_t rows = shape[shape.size() - 2], cols = shape.back();
  std::vector<T> to(from.size());
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

// The shape before the last two axes are swapped.
Shape shape_before(const PlanDerived& own) {
  Shape shape = own.shape;
  if (own.transposed) std::swap(shape[shape.size() - 1], shape[shape.size() - 2]);
  return shape;
}

// Calls body(begin, end) for ranges of elements, on the pool.
template <typename Body>
void for_elements(int64_t count, const Body& body) {
  constexpr int64_t kGrain = 1 << 12;
  parallel_ranges(count, kGrain, body);
}

std::vector<float> product_of(const Source& from, const PlanDerived& own, const WeightProducts& products) {
  std::vector<float> values(static_cast<size_t>(element_count(own.shape)));
  const Shape before = shape_before(own);
  products.product(own, before[0], values_of(from, own.operands[0]), values.data());
  return own.transposed ? transposed(values, before) : values;
}

std::vector<float> activations_of(const Source& from, const PlanDerived& own) {
  const float* const x = values_of(from, own.operands[0]);
  std::vector<float> values(static_cast<size_t>(element_count(own.shape)));
  for_elements(static_cast<int64_t>(values.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      values[static_cast<size_t>(i)] = static_cast<float>(activated(own.activation, static_cast<double>(x[i])));
  });
  return values;
}

// Of an einsum or unit.
std::vector<float> made(const Source& from, const PlanDerived& own) {
  std::vector<double> values;
  if (own.kind == DerivedKind::einsum) {
    EinsumSizes sizes;
    const std::vector<EinsumTerm> terms = terms_of(from, own, sizes);
    values = einsum(terms, own.axes, sizes).values;
  } else {
    values = numbers_of(from, own.operands[0]);
    normalize(own, operand_shape(from.plan, own.operands[0]).back(), values, nullptr);
  }
  if (own.transposed) values = transposed(values, shape_before(own));
  std::vector<float> rounded(values.size());
  std::transform(values.begin(), values.end(), rounded.begin(), [](double value) { return static_cast<float>(value); });
  return rounded;
}

std::vector<double> gradient_of_product(const PlanDerived& own, const std::vector<double>& gradient, int64_t elements,
                                        const WeightProducts& products) {
  const std::vector<float> dp(gradient.begin(), gradient.end());
  std::vector<float> dd(static_cast<size_t>(elements));
  products.backward(own, shape_before(own)[0], dp.data(), dd.data());
  return {dd.begin(), dd.end()};
}

// The gradients of the operands. gradient: that of the value.
std::vector<std::vector<double>> gradients_of(const Source& from, const PlanDerived& own, std::vector<double> gradient,
                                              const WeightProducts& products) {
  if (own.transposed) gradient = transposed(gradient, own.shape);
  if (own.kind == DerivedKind::weight_product)
    return {gradient_of_product(own, gradient, element_count(operand_shape(from.plan, own.operands[0])), products)};
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
    for_elements(static_cast<int64_t>(values.size()), [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
        values[i] = slope(own.activation, values[i]) * gradient[i];
    });
  return {std::move(values)};
}

// Those that are made on the pool beside others, in no order, if there are enough of them: einsum and unit of no derived value. leaves: only
// those of which no other is made.
std::vector<size_t> made_together(const AdapterPlan& plan, bool leaves) {
  std::vector<size_t> together;
  if (plan.derived_count < kParallelElements) return together;
  std::vector<bool> is_operand(plan.derived.size(), false);
  for (size_t i = 0; i < plan.derived.size(); ++i) {
    const PlanDerived& own = plan.derived[i];
    bool alone = own.kind == DerivedKind::einsum || own.kind == DerivedKind::unit;
    for (const PlanDerived::Operand& operand : own.operands) {
      if (!is_derived(plan, operand)) continue;
      is_operand[static_cast<size_t>(operand.index) - plan.parameters.size()] = true;
      alone = false;
    }
    if (alone) together.push_back(i);
  }
  if (leaves) std::erase_if(together, [&](size_t i) { return is_operand[i]; });
  return together;
}

// Calls body(i) for each of these, on the pool.
template <typename Body>
void for_each_together(const std::vector<size_t>& list, const Body& body) {
  parallel_ranges(static_cast<int64_t>(list.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) body(list[static_cast<size_t>(at)]);
  });
}

}  // namespace

void derive(const AdapterPlan& plan, const float* values, float* derived, const WeightProducts& products) {
  const auto make = [&](size_t i) {
    const PlanDerived& own = plan.derived[i];
    const Source from{plan, values, derived};
    const std::vector<float> result = own.kind == DerivedKind::weight_product ? product_of(from, own, products)
                                      : own.kind == DerivedKind::activation   ? activations_of(from, own)
                                                                              : made(from, own);
    std::copy(result.begin(), result.end(), derived + own.offset);
  };
  const std::vector<size_t> together = made_together(plan, false);
  for_each_together(together, make);
  auto next = together.begin();
  for (size_t i = 0; i < plan.derived.size(); ++i) {
    if (next != together.end() && *next == i)
      ++next;
    else
      make(i);
  }
}

void derive_backward(const AdapterPlan& plan, const float* values, const float* derived, const float* derived_gradients,
                     float* gradients, const WeightProducts& products) {
  std::vector<double> above(derived_gradients, derived_gradients + plan.derived_count);
  std::vector<double> sums(static_cast<size_t>(plan.count), 0.0);
  const auto own_gradients = [&](size_t i) {
    const PlanDerived& own = plan.derived[i];
    const auto begin = above.begin() + own.offset;
    return gradients_of({plan, values, derived}, own, {begin, begin + element_count(own.shape)}, products);
  };
  std::vector<std::vector<std::vector<double>>> made_before(plan.derived.size());
  for_each_together(made_together(plan, true), [&](size_t i) { made_before[i] = own_gradients(i); });
  // From the last one on, so that the gradient of one of which others are made is complete.
  for (size_t i = plan.derived.size(); i-- > 0;) {
    const auto of_operands = made_before[i].empty() ? own_gradients(i) : std::move(made_before[i]);
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

DerivedValues::DerivedValues(const Adapter& adapter, const WeightProducts& products,
                             const std::shared_ptr<Arena>& arena, bool gradients) {
  const AdapterPlan& plan = *adapter.plan();
  host_.resize(static_cast<size_t>(plan.derived_count));
  derive(plan, adapter.values().data<float>(), host_.data(), products);
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

void DerivedValues::take_back(const Adapter& adapter, const WeightProducts& products) const {
  const AdapterPlan& plan = *adapter.plan();
  const Tensor host = gradients_.on_cpu();
  derive_backward(plan, adapter.values().data<float>(), host_.data(), host.data<float>(),
                  adapter.gradients().data<float>(), products);
}

}  // namespace rubricate
