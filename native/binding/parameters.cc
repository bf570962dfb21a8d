#include <algorithm>
#include <cstring>

#include "binding/adapter.h"
#include "binding/model.h"

namespace rubricate::binding {

Napi::Function ParametersHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeParameters",
      {getter_of<&ParametersHandle::names>("names"), getter_of<&ParametersHandle::shapes>("shapes"),
       method_of<&ParametersHandle::value>("value"), method_of<&ParametersHandle::gradient>("gradient"),
       job_of<&ParametersHandle::read_value>("readValue"), method_of<&ParametersHandle::stage_value>("stageValue"),
       job_of<&ParametersHandle::commit_value>("commitValue")});
}

ParametersHandle::ParametersHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] { state_ = take_made(info); });
}

Napi::Array names_value(Napi::Env env, ParameterSet& set) {
  const auto& parameters = set.parameters();
  Napi::Array names = Napi::Array::New(env, parameters.size());
  for (uint32_t i = 0; i < parameters.size(); ++i) names.Set(i, parameters[i].name);
  return names;
}

Napi::Array shapes_value(Napi::Env env, ParameterSet& set) {
  const auto& parameters = set.parameters();
  Napi::Array shapes = Napi::Array::New(env, parameters.size());
  for (uint32_t i = 0; i < parameters.size(); ++i) shapes.Set(i, shape_value(env, parameters[i].master.shape()));
  return shapes;
}

Napi::Value ParametersHandle::names(const Napi::CallbackInfo& info) { return names_value(info.Env(), *use()->set); }

Napi::Value ParametersHandle::shapes(const Napi::CallbackInfo& info) { return shapes_value(info.Env(), *use()->set); }

size_t ParametersHandle::index_argument(const Napi::Value& index) const {
  const auto count = static_cast<int64_t>(use()->set->parameters().size());
  return static_cast<size_t>(integer_argument(index, "index", 0, count - 1));
}

Parameter& ParametersHandle::parameter(const Napi::Value& index) const {
  const size_t at = index_argument(index);
  require(state_->model->jobs == 0, "ERR_BUSY", "Expected a model that no job runs on");
  return state_->set->parameters()[at];
}

namespace {

Napi::Value tensor_value(Napi::Env env, const Tensor& tensor) {
  const Tensor here = tensor.on_cpu();
  return float32_value(env, here.data<float>(), here.count());
}

}  // namespace

Napi::Value ParametersHandle::value(const Napi::CallbackInfo& info) {
  return tensor_value(info.Env(), parameter(info[0]).master);
}

Napi::Value ParametersHandle::gradient(const Napi::CallbackInfo& info) {
  return tensor_value(info.Env(), parameter(info[0]).grad);
}

// Copying a large table takes tens of milliseconds, rounding it as long; so the model's thread does both.

Napi::Value ParametersHandle::read_value(const Napi::CallbackInfo& info) {
  const auto state = use();
  const size_t index = index_argument(info[0]);
  const int64_t all = state->set->parameters()[index].master.count();
  const int64_t start = integer_argument(info[1], "start", 0, all);
  const int64_t count = integer_argument(info[2], "count", 0, all - start);
  auto work = [set = state->set, index, start, count](const JobControl&, Progress&) -> Settle {
    Buffer buffer(count * static_cast<int64_t>(sizeof(float)));
    copy_elements(buffer.tensor({count}, DType::f32), set->parameters()[index].master.part(start, {count}));
    return [buffer, count](Napi::Env env) mutable {
      return Napi::Float32Array::New(env, static_cast<size_t>(count), buffer.release(env), 0);
    };
  };
  return start_model_job(state->model, JobQueue::Length::extended, std::move(work));
}

Napi::Value ParametersHandle::stage_value(const Napi::CallbackInfo& info) {
  const auto state = use();
  const size_t index = index_argument(info[0]);
  const std::vector<float> piece = float32_argument(info[1], "piece");
  const Parameter& own = state->set->parameters()[index];
  auto& staged = state->staged.try_emplace(index, ParametersState::Staged{Buffer(own.master.bytes())}).first->second;
  require(static_cast<int64_t>(piece.size()) <= own.master.count() - staged.count, "ERR_SHAPE", "Expected at most ",
          own.master.count() - staged.count, " further numbers for ", own.name, " but received ", piece.size());
  std::copy(piece.begin(), piece.end(), static_cast<float*>(staged.data.data()) + staged.count);
  staged.count += static_cast<int64_t>(piece.size());
  return info.Env().Undefined();
}

Napi::Value ParametersHandle::commit_value(const Napi::CallbackInfo& info) {
  const auto state = use();
  const size_t index = index_argument(info[0]);
  const Parameter& own = state->set->parameters()[index];
  const auto found = state->staged.find(index);
  const int64_t count = found == state->staged.end() ? 0 : found->second.count;
  require(count == own.master.count(), "ERR_SHAPE", "Expected ", own.master.count(), " staged numbers for ", own.name,
          " but found ", count);
  const Buffer data = found->second.data;
  state->staged.erase(found);
  auto work = [set = state->set, index, data](const JobControl&, Progress&) -> Settle {
    const Parameter& parameter = set->parameters()[index];
    copy_elements(parameter.master, data.tensor(parameter.master.shape(), DType::f32));
    if (parameter.publish) parameter.publish();
    return [](Napi::Env env) { return env.Undefined(); };
  };
  return start_model_job(state->model, JobQueue::Length::extended, std::move(work));
}

}  // namespace rubricate::binding
