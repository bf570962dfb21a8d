#include "ops/adamw/adamw.h"

#include <cmath>

#include "ops/adamw/adamw_cpu.h"
#include "ops/checks.h"

namespace rubricate {
namespace {

void require_f32(const Tensor& tensor, const char* name) {
  require(tensor.defined(), "ERR_ARGUMENT", "Expected a tensor for ", name, " but received none");
  require(tensor.dtype() == DType::f32, "ERR_DTYPE", "Expected float32 for ", name, " but received ",
          dtype_name(tensor.dtype()));
}

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

}  // namespace

void adamw_step(const Tensor& parameters, const Tensor& grad, const Tensor& m, const Tensor& v, int64_t step,
                const AdamWOptions& options, float decay_target, float grad_scale) {
  require_f32(parameters, "parameters");
  require_like(grad, parameters, "grad");
  require_like(m, parameters, "m");
  require_like(v, parameters, "v");
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
  args.one_minus_beta1 = static_cast<float>(1.0 - options.beta1);
  args.beta2 = static_cast<float>(options.beta2);
  args.one_minus_beta2 = static_cast<float>(1.0 - options.beta2);
  args.step_size = static_cast<float>(options.learning_rate / (1.0 - std::pow(options.beta1, steps)));
  args.root_correction = static_cast<float>(std::sqrt(1.0 - std::pow(options.beta2, steps)));
  args.eps = static_cast<float>(options.eps);
  adamw_cpu(args);
}

double gradient_norm(const std::vector<Tensor>& grads) {
  double total = 0.0;
  std::vector<double> sums;
  for (const Tensor& grad : grads) {
    require_f32(grad, "grads");
    sums.assign(static_cast<size_t>((grad.count() + kNormBlock - 1) / kNormBlock), 0.0);
    square_sums_cpu({grad.count(), grad.data<float>(), sums.data()});
    for (const double sum : sums) total += sum;
  }
  return std::sqrt(total);
}

float clip_factor(double norm, double max_norm) {
  require(max_norm > 0.0, "ERR_ARGUMENT", "Expected a number above 0 for maxGradNorm but received ", max_norm);
  const double factor = max_norm / (norm + 1e-6);
  return static_cast<float>(factor >= 1.0 ? 1.0 : factor);
}

void round_to_weight(const Tensor& master, const Tensor& weight) {
  require_f32(master, "master");
  require(weight.defined() && weight.dtype() != DType::i32, "ERR_DTYPE",
          "Expected float32, bfloat16 or float16 for weight");
  require(weight.shape() == master.shape(), "ERR_SHAPE", "Expected shape ", shape_text(master.shape()),
          " for weight but received ", shape_text(weight.shape()));
  round_cpu({master.count(), master.data<float>(), weight.raw(), weight.dtype()});
}

}  // namespace rubricate
