#include "adapter/merge.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "base/error.h"
#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "tensor/conversion.h"
#include "tensor/transpose.h"

namespace rubricate {
namespace {

constexpr int64_t kRangeElements = 1 << 16;  // of a matrix, for one thread at a time
constexpr int64_t kBlock = 256;              // rows that steps get at once

const AdapterPlan::SitePlan& site_of(const AdapterPlan& plan, int64_t layer, Site site) {
  const auto found = std::find_if(plan.sites.begin(), plan.sites.end(),
                                  [&](const auto& own) { return own.layer == layer && own.site == site; });
  require(found != plan.sites.end(), "ERR_ARGUMENT", "Expected a site of the adapter but received ",
          site_name(layer, site));
  return *found;
}

void require_linear(const AdapterPlan::SitePlan& site) {
  const std::string where = site_name(site.layer, site.site);
  require(!site.has_norm(), "ERR_MERGE", "Expected only linear steps to merge but ", where, " has a layer norm");
  for (const PlanSteps* steps : {&site.input, &site.branch, &site.output})
    for (const PlanStep& step : *steps)
      require(is_linear(step.kind), "ERR_MERGE", "Expected only linear steps to merge but ", where, " has ",
              name_of(kStepNames, step.kind));
}

// Rows of one sequence, in slot 1.
class RowsOfOne {
 public:
  explicit RowsOfOne(int64_t rows) : rows_(rows), starts_{0, static_cast<int32_t>(rows)} {}
  operator SequenceRows() const { return {rows_, 1, starts_, &slot_}; }  // NOLINT: it is one

 private:
  int64_t rows_;
  int32_t starts_[2];
  int32_t slot_ = 1;
};

void require_not(const std::atomic<bool>& cancelled) {
  require(!cancelled.load(), "ERR_ABORTED", "The operation was aborted");
}

// seed J, where J is the Jacobian of `run`, a linear function of rows of x: [rows, inputs] -> [rows, outputs].
template <typename Run>
Tensor times_jacobian(int64_t inputs, const Tensor& seed, const std::atomic<bool>& cancelled, Run&& run) {
  Tape tape(std::make_shared<Arena>(), Tape::Mode::training);
  tape.set_cancel_flag(&cancelled);
  const Var x = Var::parameter(tape.zeros({seed.dim(0), inputs}, DType::f32));
  tape.backward(run(tape, x, RowsOfOne(seed.dim(0))), seed);
  return x.grad();
}

// y += W x, y [1, outputs], x [1, inputs], W of any dtype.
void add_product(const Tensor& y, const Tensor& w, const Tensor& x) {
  const int64_t inputs = x.count();
  parallel_ranges(y.count(), std::max<int64_t>(1, kRangeElements / inputs), [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(inputs));
    for (int64_t output = begin; output < end; ++output) {
      convert(w.part(output * inputs, {inputs}).raw(), w.dtype(), row.data(), DType::f32, inputs);
      float sum = 0.0f;
      for (int64_t k = 0; k < inputs; ++k) sum += row[static_cast<size_t>(k)] * x.data<float>()[k];
      y.data<float>()[output] += sum;
    }
  });
}

bool all_zero(const Tensor& x) {
  return std::all_of(x.data<float>(), x.data<float>() + x.count(), [](float value) { return value == 0.0f; });
}

// Rows [begin, begin + rows) of the identity.
Tensor identity_rows(int64_t begin, int64_t rows, int64_t width) {
  const Tensor seed = Tensor::zeros(std::make_shared<Arena>(), {rows, width}, DType::f32);
  for (int64_t row = 0; row < rows; ++row) seed.data<float>()[row * width + begin + row] = 1.0f;
  return seed;
}

void add_to(const Tensor& to, const Tensor& addend) {
  float* const into = to.data<float>();
  const float* const from = addend.data<float>();
  for (int64_t i = 0; i < to.count(); ++i) into[i] += from[i];
}

// Columns of `matrix` [rows, cols] through the steps, without what they add to any row: O M.
void apply_to_columns(const Tensor& matrix, const SlotSteps& steps, const std::atomic<bool>& cancelled) {
  const int64_t rows = matrix.dim(0), cols = matrix.dim(1);
  const auto apply = [&](const Tensor& block) {
    Tape tape(std::make_shared<Arena>(), Tape::Mode::inference);
    tape.set_cancel_flag(&cancelled);
    return apply_steps(tape, Var(block), steps, RowsOfOne(block.dim(0))).value();
  };
  const auto arena = std::make_shared<Arena>();
  const Tensor added = apply(Tensor::zeros(arena, {1, rows}, DType::f32));
  for (int64_t begin = 0; begin < cols; begin += kBlock) {
    const int64_t width = std::min(kBlock, cols - begin);
    float* const first = matrix.data<float>() + begin;
    const Tensor block = Tensor::empty(arena, {width, rows}, DType::f32);
    transpose(first, cols, block.raw(), width, rows, sizeof(float));
    const Tensor applied = apply(block);
    const float* const result = applied.data<float>();
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t col = 0; col < width; ++col)
        first[row * cols + col] = result[col * rows + row] - added.data<float>()[row];
  }
}

}  // namespace

SiteMerge::SiteMerge(const Architecture& architecture, std::shared_ptr<const AdapterVersion> version, int64_t layer,
                     Site site)
    : version_(std::move(version)),
      site_(site_of(version_->plan(), layer, site)),
      inputs_(site_inputs(architecture, site)) {
  require_linear(site_);
  input_ = placed(site_.input);
  branch_ = placed(site_.branch);
  output_ = placed(site_.output);
}

const float* SiteMerge::values(int32_t index) const {
  return index < 0 ? nullptr : version_->values() + version_->plan().offset(index);
}

SlotSteps SiteMerge::placed(const PlanSteps& steps) const {
  if (steps.empty()) return {};
  const AdapterPlan& plan = version_->plan();
  const auto frozen = [&](int32_t index) {
    return Var(version_->tensor().part(plan.offset(index), plan.shape(index)));
  };
  const auto constant = [&](int32_t index) { return plan.constants.tensor(index); };
  return {{nullptr, placed_steps(steps, frozen, constant)}};
}

void SiteMerge::change_row(float* row, int64_t inputs, int64_t output) const {
  if (const float* const scale = values(site_.input_scale))
    for (int64_t k = 0; k < inputs; ++k) row[k] *= scale[k];
  add_entries(row, output);
  if (!site_.has_low_rank()) return;
  const int64_t rank = version_->plan().rank(site_);
  const float *const a = values(site_.a), *const b = values(site_.b);
  for (int64_t r = 0; r < rank; ++r) {
    const float times = site_.factor * b[output * rank + r];
    for (int64_t k = 0; k < inputs; ++k) row[k] += times * a[r * inputs + k];
  }
}

void SiteMerge::add_entries(float* row, int64_t output) const {
  if (!site_.has_sparse()) return;
  const SparseIndex& index = *version_->plan().indices[static_cast<size_t>(site_.sparse_index)].index;
  const float* const own = values(site_.sparse_values);
  for (int32_t at = index.starts()[output]; at < index.starts()[output + 1]; ++at) row[index.columns()[at]] += own[at];
}

void SiteMerge::scale_row(float* row, int64_t inputs, int64_t output) const {
  if (const float* const scale = values(site_.scale))
    for (int64_t k = 0; k < inputs; ++k) row[k] *= scale[output];
}

void SiteMerge::weight(const Tensor& to, const Tensor& from, const std::atomic<bool>& cancelled) const {
  require(from.shape() == to.shape(), "ERR_SHAPE", "Expected shape ", shape_text(to.shape()), " but received ",
          shape_text(from.shape()));
  if (const float* const own = values(site_.own_weight)) {
    convert(own, DType::f32, to.raw(), to.dtype(), to.count());
    return;
  }
  if (is_norm(site_.site)) {
    convert(from.raw(), from.dtype(), to.raw(), to.dtype(), to.count());
    return;
  }
  require(from.rank() == 2, "ERR_SHAPE", "Expected a matrix but received shape ", shape_text(from.shape()));
  if (site_.has_steps()) {
    weight_with_steps(to, from, cancelled);
    return;
  }
  const int64_t outputs = to.dim(0), inputs = to.dim(1);
  const int64_t grain = std::max<int64_t>(1, kRangeElements / std::max<int64_t>(1, inputs));
  parallel_ranges(outputs, grain, [&](int64_t begin, int64_t end) {
    if (cancelled.load()) return;
    std::vector<float> row(static_cast<size_t>(inputs));
    for (int64_t output = begin; output < end; ++output) {
      convert(from.part(output * inputs, {inputs}).raw(), from.dtype(), row.data(), DType::f32, inputs);
      change_row(row.data(), inputs, output);
      scale_row(row.data(), inputs, output);
      convert(row.data(), DType::f32, to.part(output * inputs, {inputs}).raw(), to.dtype(), inputs);
    }
  });
  require_not(cancelled);
}

void SiteMerge::weight_with_steps(const Tensor& to, const Tensor& from, const std::atomic<bool>& cancelled) const {
  const int64_t outputs = to.dim(0), inputs = to.dim(1);
  const Tensor whole = Tensor::empty(std::make_shared<Arena>(), to.shape(), DType::f32);
  convert(from.raw(), from.dtype(), whole.raw(), DType::f32, whole.count());
  for (int64_t begin = 0; begin < outputs; begin += kBlock) {
    const int64_t rows = std::min(kBlock, outputs - begin);
    const Tensor block = whole.part(begin * inputs, {rows, inputs});
    if (input_.any()) {
      const Tensor seed = block.copied_to(std::make_shared<Arena>());  // the tape adds to its seed
      const Tensor changed = times_jacobian(
          inputs, seed, cancelled,
          [&](Tape& tape, const Var& x, const SequenceRows& of) { return apply_steps(tape, x, input_, of); });
      copy_elements(block, changed);
    }
    for (int64_t row = 0; row < rows; ++row) change_row(block.data<float>() + row * inputs, inputs, begin + row);
    if (branch_.any())
      add_to(block, times_jacobian(inputs, identity_rows(begin, rows, outputs), cancelled,
                                   [&](Tape& tape, const Var& x, const SequenceRows& of) {
                                     Var y = tape.zeros({of.rows, outputs}, DType::f32);
                                     return add_steps(tape, std::move(y), x, branch_, of);
                                   }));
  }
  if (output_.any()) apply_to_columns(whole, output_, cancelled);
  for (int64_t output = 0; output < outputs; ++output) scale_row(whole.data<float>() + output * inputs, inputs, output);
  convert(whole.raw(), DType::f32, to.raw(), to.dtype(), to.count());
}

void SiteMerge::bias(const Tensor& to, const Tensor* from, const std::function<Tensor()>& layer_weight,
                     const std::atomic<bool>& cancelled) const {
  require(to.rank() == 1 && (!from || from->shape() == to.shape()), "ERR_SHAPE", "Expected a vector of ", to.count(),
          " but received shape ", shape_text(from ? from->shape() : to.shape()));
  if (const float* const own = values(site_.own_bias)) {
    convert(own, DType::f32, to.raw(), to.dtype(), to.count());
    return;
  }
  require_not(cancelled);
  const int64_t outputs = to.count();
  const RowsOfOne one(1);
  Tape tape(std::make_shared<Arena>(), Tape::Mode::inference);
  tape.set_cancel_flag(&cancelled);
  const Tensor x = tape.zeros({1, inputs_}, DType::f32);
  Tensor y = tape.zeros({1, outputs}, DType::f32);
  if (from) convert(from->raw(), from->dtype(), y.raw(), DType::f32, outputs);
  if (input_.any())
    if (const Tensor shift = apply_steps(tape, x, input_, one).value(); !all_zero(shift))
      add_product(y, layer_weight(), shift);
  if (branch_.any()) y = add_steps(tape, std::move(y), x, branch_, one).value();
  if (output_.any()) y = apply_steps(tape, y, output_, one).value();
  const float *const scale = values(site_.scale), *const bias = values(site_.bias);
  for (int64_t i = 0; i < outputs; ++i) {
    float& own = y.data<float>()[i];
    if (scale != nullptr) own *= scale[i];
    if (bias != nullptr) own += bias[i];
  }
  convert(y.raw(), DType::f32, to.raw(), to.dtype(), outputs);
}

}  // namespace rubricate
