#include <algorithm>

#include "binding/adapter.h"

namespace rubricate::binding {

Napi::Function OptimizerHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeOptimizer",
      {getter_of<&OptimizerHandle::step>("step"), job_of<&OptimizerHandle::prepare>("prepare"),
       method_of<&OptimizerHandle::moments>("moments"), method_of<&OptimizerHandle::set_moments>("setMoments"),
       method_of<&OptimizerHandle::frozen>("frozen"), method_of<&OptimizerHandle::freeze>("freeze"),
       method_of<&OptimizerHandle::add_nuclear_norm>("addNuclearNorm"),
       method_of<&OptimizerHandle::dispose>("dispose")});
}

OptimizerHandle::OptimizerHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] {
    auto state = std::make_shared<NativeOptimizerState>();
    state->environment = shared_environment(info.Env());
    if (ParametersHandle::is(info[0]))
      state->set = ParametersHandle::argument(info[0], "parameters")->set;
    else
      state->set = AdapterHandle::argument(info[0], "parameters")->adapter;
    state->bytes = ExternalBytes(state->environment, 8 * state->set->count());
    state_ = std::move(state);
  });
}

const std::shared_ptr<NativeOptimizerState>& OptimizerHandle::idle() const {
  const auto& state = use();
  require(state->training == 0, "ERR_BUSY", "Expected an optimizer that no running job uses");
  return state;
}

Napi::Value OptimizerHandle::step(const Napi::CallbackInfo& info) {
  const auto& made = idle()->made;
  return Napi::Number::New(info.Env(), static_cast<double>(made ? made->step : 0));
}

namespace {

// For the concatenation of all tensors: calls copy(part of a tensor, floats of `range`) for [start, start + count).
template <typename Copy>
void for_range(const std::vector<Tensor>& tensors, int64_t start, int64_t count, float* range, const Copy& copy) {
  int64_t first = 0;
  for (const Tensor& tensor : tensors) {
    const int64_t from = std::max(start, first), to = std::min(start + count, first + tensor.count());
    if (from < to)
      copy(tensor.part(from - first, {to - from}),
           Tensor::borrow(nullptr, range + (from - start), {to - from}, DType::f32));
    first += tensor.count();
  }
}

Napi::Value range_of(Napi::Env env, const std::vector<Tensor>& tensors, int64_t start, int64_t count) {
  Napi::Float32Array range = Napi::Float32Array::New(env, static_cast<size_t>(count));
  for_range(tensors, start, count, range.Data(),
            [](const Tensor& tensor, const Tensor& here) { copy_elements(here, tensor); });
  return range;
}

}  // namespace

Napi::Value OptimizerHandle::prepare(const Napi::CallbackInfo&) {
  const auto state = use();
  JobSpec spec;
  spec.queue = state->environment->files_queue();
  // The job owns the state, so the JavaScript thread destroys it.
  spec.work = [state](const std::atomic<bool>&, Progress&) -> Settle {
    auto made = std::make_shared<rubricate::OptimizerState>(*state->set);
    return [state, made](Napi::Env env) {
      if (!state->made) state->made = made;
      return env.Undefined();
    };
  };
  return state->environment->jobs().start(std::move(spec));
}

Napi::Value OptimizerHandle::moments(const Napi::CallbackInfo& info) {
  const auto state = idle();
  const int64_t all = state->set->count();
  const int64_t start = is_missing(info[0]) ? 0 : integer_argument(info[0], "start", 0, all);
  const int64_t count = is_missing(info[1]) ? all - start : integer_argument(info[1], "count", 0, all - start);
  require(!state->moments()->half_updated, "ERR_STATE",
          "An error interrupted an update: parameters and moments do not belong to any finished step");
  Napi::Object moments = Napi::Object::New(info.Env());
  moments.Set("m", range_of(info.Env(), state->moments()->m, start, count));
  moments.Set("v", range_of(info.Env(), state->moments()->v, start, count));
  return moments;
}

Napi::Value OptimizerHandle::set_moments(const Napi::CallbackInfo& info) {
  const auto state = idle();
  const int64_t step = integer_argument(info[0], "step", 0, int64_t{1} << 52);
  std::vector<float> m = float32_argument(info[1], "m"), v = float32_argument(info[2], "v");
  const int64_t all = state->set->count();
  const int64_t start = is_missing(info[3]) ? 0 : integer_argument(info[3], "start", 0, all);
  const auto count = static_cast<int64_t>(m.size());
  require(v.size() == m.size() && (is_missing(info[3]) ? count == all : count <= all - start), "ERR_SHAPE", "Expected ",
          all - start, " numbers for m and v but received ", m.size(), " and ", v.size());
  for_range(state->moments()->m, start, count, m.data(), copy_elements);
  for_range(state->moments()->v, start, count, v.data(), copy_elements);
  state->moments()->step = step;
  state->moments()->changed();
  return info.Env().Undefined();
}

Napi::Value OptimizerHandle::frozen(const Napi::CallbackInfo& info) {
  const std::vector<int32_t>& places = idle()->moments()->frozen;
  Napi::Int32Array copy = Napi::Int32Array::New(info.Env(), places.size());
  std::copy(places.begin(), places.end(), copy.Data());
  return copy;
}

Napi::Value OptimizerHandle::freeze(const Napi::CallbackInfo& info) {
  const auto state = idle();
  state->moments()->freeze(int32_argument(info[0], "places"));
  return info.Env().Undefined();
}

Napi::Value OptimizerHandle::add_nuclear_norm(const Napi::CallbackInfo& info) {
  const auto state = idle();
  const double factor = finite_argument(info[0], "factor");
  require(factor >= 0.0, "ERR_ARGUMENT", "Expected a number of 0 or more for factor but received ", factor);
  const int64_t seed = integer_argument(info[1], "seed", 0, (int64_t{1} << 53) - 1);
  std::vector<float> base = float32_argument(info[2], "base");
  require(static_cast<int64_t>(base.size()) == state->set->count(), "ERR_SHAPE", "Expected ", state->set->count(),
          " numbers for base but received ", base.size());
  state->moments()->nuclear = {factor, static_cast<uint64_t>(seed), std::move(base)};
  return info.Env().Undefined();
}

Napi::Value OptimizerHandle::dispose(const Napi::CallbackInfo& info) {
  state_.reset();
  return info.Env().Undefined();
}

}  // namespace rubricate::binding
