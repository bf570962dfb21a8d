#include "train/sensitivity.h"

#include <cmath>
#include <map>
#include <memory>
#include <utility>

#include "adapter/parts.h"
#include "base/error.h"
#include "device/cpu/thread_pool.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace rubricate {
namespace {

// Gives matrices of the model a gradient for the length of a batch.
class Probe : public AdapterSet {
 public:
  Probe(const Architecture& architecture, const std::vector<MatrixSite>& sites, const std::shared_ptr<Arena>& arena) {
    for (const auto& [layer, site] : sites) {
      require(!is_norm(site) && has_site(architecture, site) && layer >= 0 && layer < site_layers(architecture, site),
              "ERR_ARGUMENT", "Expected a linear layer of the model but received ", site_name(layer, site));
      auto slot = std::make_shared<GradSlot>();
      slot->shape = {site_width(architecture, site), site_inputs(architecture, site)};
      slot->grad = Tensor::zeros(arena, slot->shape, DType::f32);
      slot->in_place = true;
      SiteParts& parts = parts_[{layer, site}];
      require(!parts.weight, "ERR_ARGUMENT", "Expected each linear layer once but received ", site_name(layer, site),
              " twice");
      parts.trains = true;
      parts.weight = [slot](Tape&, const Weight& weight) { return Weight{weight.view, weight.storage, slot}; };
      gradients_.push_back(slot->grad);
    }
  }
  const SiteParts* at(int64_t layer, Site site) const override {
    const auto found = parts_.find({layer, site});
    return found == parts_.end() ? nullptr : &found->second;
  }
  const std::vector<Tensor>& gradients() const { return gradients_; }

 private:
  std::map<std::pair<int64_t, Site>, SiteParts> parts_;
  std::vector<Tensor> gradients_;
};

// The gradients of a step's loss.
void add_gradients(const Model& model, const Probe& probe, const std::vector<MicroBatch>& step,
                   const JobControl& control) {
  const int64_t supervised = count_supervised(step, BatchBounds::of(model.architecture(), 0)).front();
  require(supervised > 0, "ERR_DATA", "Expected at least one supervised token in the step's micro-batches");
  for (const MicroBatch& micro : step) {
    const Supervised rows = supervised_rows(micro, {1.0 / static_cast<double>(supervised)});
    if (rows.rows.empty()) continue;
    Tape tape(control, Tape::Mode::training);
    const Var hidden = model.forward(tape, micro.batch(), &probe, false, nullptr);
    CrossEntropy result = head_cross_entropy(tape, hidden, model.head(), rows.loss_rows());
    SlotSums sums(1);
    sums.add(rows, result);
    require(std::isfinite(sums.nats.front()), "ERR_NOT_FINITE", "The loss is not finite");
    tape.backward(result.loss);
    if (control.yield) control.yield();
  }
}

void add_squares(const Tensor& sum, const Tensor& gradient) {
  const Tensor here = gradient.on_cpu();
  const float* const from = here.data<float>();
  float* const to = sum.data<float>();
  parallel_ranges(sum.count(), kElementGrain, [from, to](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += from[i] * from[i];
  });
}

bool all_finite(const Tensor& tensor) {
  const float* const values = tensor.data<float>();
  for (int64_t i = 0; i < tensor.count(); ++i)
    if (!std::isfinite(values[i])) return false;
  return true;
}

}  // namespace

std::vector<Tensor> squared_gradients(const Model& model, const std::vector<MatrixSite>& sites,
                                      const std::vector<std::vector<MicroBatch>>& steps,
                                      const std::function<Tensor(const Shape&)>& new_sum, const JobControl& control) {
  const Probe probe(model.architecture(), sites, control.arena);
  std::vector<Tensor> sums;
  for (const Tensor& gradient : probe.gradients()) {
    sums.push_back(new_sum(gradient.shape()));
    set_zero(sums.back());
  }
  for (const std::vector<MicroBatch>& step : steps) {
    add_gradients(model, probe, step, control);
    for (size_t i = 0; i < sums.size(); ++i) {
      add_squares(sums[i], probe.gradients()[i]);
      set_zero(probe.gradients()[i]);
    }
  }
  for (size_t i = 0; i < sums.size(); ++i)
    require(all_finite(sums[i]), "ERR_NOT_FINITE", "The squared gradient of ", site_name(sites[i].layer, sites[i].site),
            ".weight is not finite");
  return sums;
}

}  // namespace rubricate
