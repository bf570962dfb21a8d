#include "train/nuclear_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "tensor/transpose.h"

namespace rubricate {
namespace {

constexpr uint64_t kStream = 0x6E75636C;  // distinguishes these random numbers from others of the same seed
constexpr int kQuintic = 10, kCubic = 5;

// x = x (first + second g + third g^2), g = x x^T, for a wide matrix and its transpose.
void iterate(Tape& tape, Var& wide, Var& tall, float first, float second, float third) {
  const auto times = [&](const Var& a, const Var& b) { return linear(tape, a, Weight::of(b.value()), {}, DType::f32); };
  const Var gram = times(wide, wide);
  Var factor = scale_by(tape, gram, second);
  if (third != 0.0f) factor = add(tape, factor, scale_by(tape, times(gram, gram), third));
  const Var next = add(tape, scale_by(tape, wide, first), times(factor, tall));
  tall = add(tape, scale_by(tape, tall, first), times(tall, factor));  // the factor is symmetric
  wide = next;
}

struct Update {
  const SparseIndex* index;
  int64_t offset;  // of its values among the adapter's
};

std::vector<Update> updates_of(const AdapterPlan& plan) {
  std::vector<Update> updates;
  for (const AdapterPlan::SitePlan& site : plan.sites)
    if (site.has_sparse() && site.sparse_values < static_cast<int32_t>(plan.parameters.size()))
      updates.push_back({plan.indices[static_cast<size_t>(site.sparse_index)].index.get(),
                         plan.parameters[static_cast<size_t>(site.sparse_values)].offset});
  return updates;
}

}  // namespace

Tensor polar_factor(const Tensor& matrix, const JobControl& control) {
  const int64_t rows = matrix.dim(0), cols = matrix.dim(1);
  double squares = 0.0;
  for (int64_t i = 0; i < matrix.count(); ++i) squares += std::pow(static_cast<double>(matrix.data<float>()[i]), 2.0);
  const auto host = std::make_shared<Arena>();
  if (squares == 0.0) return Tensor::zeros(host, matrix.shape(), DType::f32);
  const Tensor scaled = Tensor::empty(host, matrix.shape(), DType::f32);
  const double norm = std::sqrt(squares);
  for (int64_t i = 0; i < matrix.count(); ++i)
    scaled.data<float>()[i] = static_cast<float>(matrix.data<float>()[i] / norm);
  const Tensor transposed = Tensor::empty(host, {cols, rows}, DType::f32);
  transpose(scaled.raw(), cols, transposed.raw(), cols, rows, sizeof(float));
  const bool is_wide = rows <= cols;
  Tape tape(control, Tape::Mode::inference);
  Var wide = (is_wide ? scaled : transposed).copied_to(control.arena);
  Var tall = (is_wide ? transposed : scaled).copied_to(control.arena);
  for (int i = 0; i < kQuintic; ++i) iterate(tape, wide, tall, 3.4445f, -4.7750f, 2.0315f);
  for (int i = 0; i < kCubic; ++i) iterate(tape, wide, tall, 1.5f, -0.5f, 0.0f);
  return (is_wide ? wide : tall).value().on_cpu();
}

void add_nuclear_gradient(Adapter& adapter, const OptimizerState& state, const JobControl& control) {
  const auto& [factor, seed, base] = state.nuclear;
  const std::vector<Update> updates = updates_of(*adapter.plan());
  if (factor == 0.0 || updates.empty()) return;
  const double random = philox_uniform(seed, kStream, static_cast<uint64_t>(state.step));
  const auto& [index, offset] = updates[static_cast<size_t>(random * static_cast<double>(updates.size()))];
  const std::vector<int32_t> places = index->indices();
  const Tensor matrix = Tensor::zeros(std::make_shared<Arena>(), {index->outputs(), index->inputs()}, DType::f32);
  const float* const values = adapter.values().data<float>() + offset;
  for (size_t i = 0; i < places.size(); ++i)
    if (!std::binary_search(state.frozen.begin(), state.frozen.end(),
                            static_cast<int32_t>(offset + static_cast<int64_t>(i))))
      matrix.data<float>()[places[i]] = base[static_cast<size_t>(offset) + i] + values[i];
  const Tensor polar = polar_factor(matrix, control);
  float* const gradient = adapter.gradients().data<float>() + offset;
  for (size_t i = 0; i < places.size(); ++i) gradient[i] += static_cast<float>(factor * polar.data<float>()[places[i]]);
}

}  // namespace rubricate
