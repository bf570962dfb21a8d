#include "binding/tensor.h"

#include <cstring>

#include "tensor/conversion.h"

namespace rubricate::binding {
namespace {

// A Float32Array for floating-point dtypes, an Int32Array for int32; converts `count` elements.
void fill(const Tensor& tensor, const Napi::Value& data) {
  const auto check = [&](size_t received) {
    require(static_cast<int64_t>(received) == tensor.count(), "ERR_SHAPE", "Expected ", tensor.count(),
            " elements for a tensor of shape ", shape_text(tensor.shape()), " but received ", received);
  };
  if (tensor.dtype() == DType::i32) {
    const std::vector<int32_t> values = int32_argument(data, "data");
    check(values.size());
    if (!values.empty()) std::memcpy(tensor.raw(), values.data(), values.size() * sizeof(int32_t));
  } else {
    const std::vector<float> values = float32_argument(data, "data");
    check(values.size());
    convert(values.data(), DType::f32, tensor.raw(), tensor.dtype(), tensor.count());
  }
}

}  // namespace

const Tensor& TensorState::writable() {
  const Tensor& old = var.value();
  if (!old.sole_owner()) {
    Tensor copy = Tensor::empty(environment->arena(), old.shape(), old.dtype());
    std::memcpy(copy.raw(), old.raw(), static_cast<size_t>(copy.bytes()));
    var = Var(std::move(copy), var.slot());
  }
  return var.value();
}

Napi::Function TensorHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeTensor",
                     {StaticMethod("from", &guarded_function<&TensorHandle::from>),
                      getter_of<&TensorHandle::shape>("shape"), getter_of<&TensorHandle::dtype>("dtype"),
                      getter_of<&TensorHandle::requires_grad>("requiresGrad"), method_of<&TensorHandle::data>("data"),
                      method_of<&TensorHandle::grad>("grad"), method_of<&TensorHandle::zero_grad>("zeroGrad"),
                      method_of<&TensorHandle::set>("set"), method_of<&TensorHandle::dispose>("dispose")});
}

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] { state_ = take_made(info); });
}

Napi::Object TensorHandle::wrap(Napi::Env env, Var var) {
  auto state = std::make_shared<TensorState>();
  state->environment = shared_environment(env);
  state->bytes = ExternalBytes(state->environment, var.value().bytes());
  state->var = std::move(var);
  return make(env, std::move(state));
}

Napi::Value TensorHandle::from(const Napi::CallbackInfo& info) {
  const Shape shape = shape_argument(info[1], "shape");
  const DType dtype = dtype_argument(info[2], "dtype");
  const bool requires_grad = boolean_argument(info[3], "requiresGrad");
  require(!requires_grad || dtype == DType::f32, "ERR_DTYPE",
          "Expected float32 for a tensor that requires a gradient but received ", dtype_name(dtype));
  if (!info[0].IsTypedArray())
    reject_argument("data", dtype == DType::i32 ? "an Int32Array" : "a Float32Array", info[0]);
  const size_t length = info[0].As<Napi::TypedArray>().ElementLength();
  require(element_count(shape) == static_cast<int64_t>(length), "ERR_SHAPE", "Expected ", element_count(shape),
          " elements for data of shape ", shape_text(shape), " but received ", length);
  Tensor tensor = Tensor::empty(Environment::of(info.Env()).arena(), shape, dtype);
  fill(tensor, info[0]);
  return wrap(info.Env(), requires_grad ? Var::parameter(std::move(tensor)) : Var(std::move(tensor)));
}

Napi::Value TensorHandle::shape(const Napi::CallbackInfo& info) {
  return shape_value(info.Env(), use()->var.value().shape());
}

Napi::Value TensorHandle::dtype(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), dtype_name(use()->var.value().dtype()));
}

Napi::Value TensorHandle::requires_grad(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), use()->var.requires_grad());
}

Napi::Value TensorHandle::data(const Napi::CallbackInfo& info) {
  const Tensor& tensor = use()->var.value();
  const auto count = static_cast<size_t>(tensor.count());
  if (tensor.dtype() == DType::i32) {
    Napi::Int32Array array = Napi::Int32Array::New(info.Env(), count);
    if (count > 0) std::memcpy(array.Data(), tensor.raw(), count * sizeof(int32_t));
    return array;
  }
  Napi::Float32Array array = Napi::Float32Array::New(info.Env(), count);
  if (count > 0) convert(tensor.raw(), tensor.dtype(), array.Data(), DType::f32, tensor.count());
  return array;
}

Napi::Value TensorHandle::grad(const Napi::CallbackInfo& info) {
  const Var& var = use()->var;
  if (!var.grad().defined() || var.slot()->tape != 0) return info.Env().Null();
  Tensor copy = Tensor::empty(state_->environment->arena(), var.grad().shape(), DType::f32);
  std::memcpy(copy.raw(), var.grad().raw(), static_cast<size_t>(copy.bytes()));
  return wrap(info.Env(), std::move(copy));
}

Napi::Value TensorHandle::zero_grad(const Napi::CallbackInfo& info) {
  const Var& var = use()->var;
  require(var.requires_grad() && var.slot()->tape == 0, "ERR_STATE",
          "Expected a tensor that was made with requiresGrad for zeroGrad");
  var.slot()->grad = {};
  return info.Env().Undefined();
}

Napi::Value TensorHandle::set(const Napi::CallbackInfo& info) {
  const auto state = use();
  require(!state->var.requires_grad() || state->var.slot()->tape == 0, "ERR_STATE",
          "Expected a tensor that no tape recorded for set");
  fill(state->writable(), info[0]);
  return info.Env().Undefined();
}

Napi::Value TensorHandle::dispose(const Napi::CallbackInfo& info) {
  state_.reset();
  return info.Env().Undefined();
}

Napi::Function TapeHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeTape",
                     {method_of<&TapeHandle::backward>("backward"), method_of<&TapeHandle::clear>("clear"),
                      getter_of<&TapeHandle::recorded>("recorded"), method_of<&TapeHandle::dispose>("dispose")});
}

TapeHandle::TapeHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] {
    auto state = std::make_shared<TapeState>();
    state->environment = shared_environment(info.Env());
    state->tape = std::make_unique<Tape>(state->environment->arena(), Tape::Mode::training);
    state_ = std::move(state);
  });
}

Napi::Value TapeHandle::backward(const Napi::CallbackInfo& info) {
  const auto state = use();
  const auto loss = TensorHandle::argument(info[0], "loss");
  const auto seed = TensorHandle::argument_or_null(info[1], "seed");
  Tensor start;
  if (seed) {
    const Tensor& like = loss->var.value();
    const Tensor& given = seed->var.value();
    require(given.shape() == like.shape(), "ERR_SHAPE", "Expected shape ", shape_text(like.shape()),
            " for seed but received ", shape_text(given.shape()));
    require(given.dtype() == like.dtype(), "ERR_DTYPE", "Expected ", dtype_name(like.dtype()),
            " for seed but received ", dtype_name(given.dtype()));
    start = given;
  }
  try {
    state->tape->backward(loss->var, start);
  } catch (...) {
    state->tape->clear();
    state->kept.clear();
    throw;
  }
  state->kept.clear();
  state->environment->arena()->end_job();
  return info.Env().Undefined();
}

Napi::Value TapeHandle::clear(const Napi::CallbackInfo& info) {
  const auto state = use();
  state->tape->clear();
  state->kept.clear();
  state->environment->arena()->end_job();
  return info.Env().Undefined();
}

Napi::Value TapeHandle::recorded(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(use()->tape->recorded()));
}

Napi::Value TapeHandle::dispose(const Napi::CallbackInfo& info) {
  state_.reset();
  return info.Env().Undefined();
}

}  // namespace rubricate::binding
