#include "ops/adamw/adamw.h"

#include <cmath>

#include "device/stream.h"
#include "ops/adamw/adamw_kernels.h"
#include "ops/shared/checks.h"
#include "tensor/elementwise_args.h"

namespace rubricate {
namespace {

void check_options(const AdamWOptions& options) {
  const auto positive = [](double value, const char* name) {
    require(value >= 0.0 && std::isfinite(value), "ERR_ARGUMENT", "Expected a finite number of 0 or more for ", name,
            " but received ", value);
  };
  positive(options.learning_rate, "learningRate");
  positive(options.eps, "eps");
  positive(options.weight_decay, "weightDecay");
  for (const double beta : {options.beta1, options.beta2})
    require(beta >= 0.0 && beta < 1.0, "ERR_ARGUMENT", "Expected a number from 0 up to 1 for betas but received ",
            beta);
}

// All tensors must be on the same device, which computes the update.
void require_together(const Tensor& tensor, const Tensor& other, const char* name) {
  require(tensor.stream() == other.stream(), "ERR_FOREIGN", "Expected ", name,
          " in the memory of the same place as the parameters");
}

}  // namespace

void adamw_step(const Tensor& parameters, const Tensor& grad, const Tensor& m, const Tensor& v, int64_t step,
                const AdamWOptions& options, float decay_target, float grad_scale, const Tensor& decay_targets) {
  require_f32(parameters, "parameters");
  require_like(grad, parameters, "grad");
  require_like(m, parameters, "m");
  require_like(v, parameters, "v");
  require_together(grad, parameters, "grad");
  require_together(m, parameters, "m");
  require_together(v, parameters, "v");
  if (decay_targets.defined()) {
    require_like(decay_targets, parameters, "decayTargets");
    require_together(decay_targets, parameters, "decayTargets");
  }
  require(step >= 1, "ERR_ARGUMENT", "Expected a step of 1 or more but received ", step);
  check_options(options);
  const auto steps = static_cast<double>(step);
  AdamWArgs args;
  args.count = parameters.count();
  args.parameters = parameters.data<float>();
  args.grad = grad.data<float>();
  args.m = m.data<float>();
  args.v = v.data<float>();
  args.grad_scale = grad_scale;
  args.decay = static_cast<float>(options.learning_rate * options.weight_decay);
  args.decay_target = decay_target;
  args.decay_targets = decay_targets.defined() ? decay_targets.data<float>() : nullptr;
  args.one_minus_beta1 = static_cast<float>(1.0 - options.beta1);
  args.beta2 = static_cast<float>(options.beta2);
  args.one_minus_beta2 = static_cast<float>(1.0 - options.beta2);
  args.step_size = static_cast<float>(options.learning_rate / (1.0 - std::pow(options.beta1, steps)));
  args.root_correction = static_cast<float>(std::sqrt(1.0 - std::pow(options.beta2, steps)));
  args.eps = static_cast<float>(options.eps);
  if (Stream* stream = parameters.stream()) return stream->run("adamw/2", args);
  adamw_cpu(args);
}

void round_to_weight(const Tensor& master, const Tensor& weight) {
  require_f32(master, "master");
  require(weight.defined() && weight.dtype() != DType::i32, "ERR_DTYPE",
          "Expected float32, bfloat16 or float16 for weight");
  require(weight.shape() == master.shape(), "ERR_SHAPE", "Expected shape ", shape_text(master.shape()),
          " for weight but received ", shape_text(weight.shape()));
  require(master.stream() == weight.stream(), "ERR_FOREIGN", "Expected master and weight in the memory of one place");
  if (Stream* stream = master.stream())
    return stream->run(
        "cast/1",
        CastArgs{
            .a = master.raw(), .from = DType::f32, .out = weight.raw(), .to = weight.dtype(), .end = master.count()});
  round_cpu({.count = master.count(), .master = master.data<float>(), .weight = weight.raw(), .dtype = weight.dtype()});
}

}  // namespace rubricate
