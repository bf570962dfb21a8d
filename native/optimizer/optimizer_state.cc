#include "optimizer/optimizer_state.h"

#include <utility>

#include "base/error.h"

namespace rubricate {

OptimizerState::OptimizerState(ParameterSet& parameters)
    : arena(std::make_shared<Arena>(parameters.parameters().front().master.shared_stream())) {
  if (const Parameter all = parameters.whole(); all.master.defined()) {
    const Shape& shape = all.master.shape();
    std::vector<float> targets;
    for (const Parameter& parameter : parameters.parameters())
      targets.insert(targets.end(), static_cast<size_t>(parameter.master.count()), parameter.decay_target);
    whole = {Tensor::zeros(arena, shape, DType::f32), Tensor::zeros(arena, shape, DType::f32),
             Tensor::from_host(arena, shape, DType::f32, targets.data())};
  }
  int64_t begin = 0;
  for (const Parameter& parameter : parameters.parameters()) {
    const Shape& shape = parameter.master.shape();
    m.push_back(whole.defined() ? whole.m.part(begin, shape) : Tensor::zeros(arena, shape, DType::f32));
    v.push_back(whole.defined() ? whole.v.part(begin, shape) : Tensor::zeros(arena, shape, DType::f32));
    begin += parameter.master.count();
  }
}

OptimizerState::Whole OptimizerState::Whole::copied_to(const std::shared_ptr<Arena>& there) const {
  return {m.copied_to(there), v.copied_to(there), decay_targets.copied_to(there)};
}

const OptimizerState::Whole& OptimizerState::placed(const std::shared_ptr<Stream>& stream) {
  if (!whole.defined() || whole.m.stream() == stream.get()) {
    placed_ = {};
    return whole;
  }
  if (!placed_is_whole_ || placed_.m.stream() != stream.get())
    placed_ = whole.copied_to(std::make_shared<Arena>(stream));
  placed_is_whole_ = true;
  return placed_;
}

void OptimizerState::freeze(std::vector<int32_t> places) {
  require(whole.defined(), "ERR_ARGUMENT", "Expected an adapter's parameters to freeze elements of");
  int64_t before = -1;
  for (const int32_t place : places) {
    require(place > before && place < whole.m.count(), "ERR_ARGUMENT", "Expected ascending places below ",
            whole.m.count(), " to freeze but received ", place, " after ", before);
    before = place;
  }
  for (const int32_t place : places) whole.m.data<float>()[place] = whole.v.data<float>()[place] = 0.0f;
  frozen = std::move(places);
  changed();
}

void OptimizerState::fetch() {
  if (placed_.defined()) {
    copy_elements(whole.m, placed_.m);
    copy_elements(whole.v, placed_.v);
  }
  placed_is_whole_ = placed_.defined();
}

}  // namespace rubricate
