#include <cstring>

#include "binding/adapter.h"

namespace rubricate::binding {

Napi::Function OptimizerHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeOptimizer",
      {getter_of<&OptimizerHandle::step>("step"), method_of<&OptimizerHandle::moments>("moments"),
       method_of<&OptimizerHandle::set_moments>("setMoments"), method_of<&OptimizerHandle::dispose>("dispose")});
}

OptimizerHandle::OptimizerHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] {
    auto state = std::make_shared<OptimizerState>();
    state->environment = shared_environment(info.Env());
    if (ParametersHandle::is(info[0]))
      state->set = ParametersHandle::argument(info[0], "parameters")->set;
    else
      state->set = AdapterHandle::argument(info[0], "parameters")->adapter;
    state->state = std::make_shared<rubricate::OptimizerState>(*state->set);
    state->bytes = ExternalBytes(state->environment, 8 * state->set->count());
    state_ = std::move(state);
  });
}

const std::shared_ptr<OptimizerState>& OptimizerHandle::idle() const {
  const auto& state = use();
  require(state->training == 0, "ERR_BUSY", "Expected an optimizer that no running job uses");
  return state;
}

Napi::Value OptimizerHandle::step(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(idle()->state->step));
}

namespace {

Napi::Value joined(Napi::Env env, const std::vector<Tensor>& tensors, int64_t count) {
  Napi::Float32Array all = Napi::Float32Array::New(env, static_cast<size_t>(count));
  float* to = all.Data();
  for (const Tensor& tensor : tensors) {
    std::memcpy(to, tensor.raw(), static_cast<size_t>(tensor.bytes()));
    to += tensor.count();
  }
  return all;
}

void split(const std::vector<float>& all, const std::vector<Tensor>& tensors) {
  const float* from = all.data();
  for (const Tensor& tensor : tensors) {
    std::memcpy(tensor.raw(), from, static_cast<size_t>(tensor.bytes()));
    from += tensor.count();
  }
}

}  // namespace

Napi::Value OptimizerHandle::moments(const Napi::CallbackInfo& info) {
  const auto state = idle();
  const int64_t count = state->set->count();
  Napi::Object moments = Napi::Object::New(info.Env());
  moments.Set("m", joined(info.Env(), state->state->m, count));
  moments.Set("v", joined(info.Env(), state->state->v, count));
  return moments;
}

Napi::Value OptimizerHandle::set_moments(const Napi::CallbackInfo& info) {
  const auto state = idle();
  const int64_t step = integer_argument(info[0], "step", 0, int64_t{1} << 52);
  const std::vector<float> m = float32_argument(info[1], "m"), v = float32_argument(info[2], "v");
  const int64_t count = state->set->count();
  require(static_cast<int64_t>(m.size()) == count && static_cast<int64_t>(v.size()) == count, "ERR_SHAPE", "Expected ",
          count, " numbers for m and v but received ", m.size(), " and ", v.size());
  split(m, state->state->m);
  split(v, state->state->v);
  state->state->step = step;
  return info.Env().Undefined();
}

Napi::Value OptimizerHandle::dispose(const Napi::CallbackInfo& info) {
  state_.reset();
  return info.Env().Undefined();
}

}  // namespace rubricate::binding
