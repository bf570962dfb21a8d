#include "ops/adamw/adamw.h"

#include <cmath>

#include "device/stream.h"
#include "ops/adamw/adamw_cpu.h"
#include "ops/checks.h"
#include "ops/elementwise/elementwise_kernels.h"

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

// The tensors lie in the memory of one place, which computes the update.
void require_together(const Tensor& tensor, const Tensor& other, const char* name) {
  require(tensor.stream() == other.stream(), "ERR_FOREIGN", "Expected ", name,
          " in the memory of the same place as the parameters");
}

int64_t norm_blocks(const Tensor& grad) { return (grad.count() + kNormBlock - 1) / kNormBlock; }

// Sums of squares of every block of every tensor, in order.
std::vector<double> square_sums_here(const std::vector<Tensor>& grads) {
  int64_t blocks = 0;
  for (const Tensor& grad : grads) blocks += norm_blocks(grad);
  std::vector<double> sums(static_cast<size_t>(blocks));
  double* next = sums.data();
  for (const Tensor& grad : grads) {
    require(grad.stream() == nullptr, "ERR_FOREIGN", "Expected all gradients in the memory of one place");
    square_sums_cpu({grad.count(), grad.data<float>(), next});
    next += norm_blocks(grad);
  }
  return sums;
}

// The same of a device, in one launch and one copy.
std::vector<double> square_sums_on_device(Stream& stream, const std::vector<Tensor>& grads,
                                          const std::shared_ptr<Arena>& arena) {
  const size_t count = grads.size();
  std::vector<int64_t> table(3 * count);  // addresses, counts, first blocks
  int64_t blocks = 0;
  for (size_t i = 0; i < count; ++i) {
    require(grads[i].stream() == &stream, "ERR_FOREIGN", "Expected all gradients in the memory of one place");
    table[i] = reinterpret_cast<intptr_t>(grads[i].raw());
    table[count + i] = grads[i].count();
    table[2 * count + i] = blocks;
    blocks += norm_blocks(grads[i]);
  }
  std::vector<double> sums(static_cast<size_t>(blocks));
  if (blocks == 0) return sums;
  const auto table_bytes = static_cast<int64_t>(table.size() * sizeof(int64_t)), sum_bytes = blocks * 8;
  const Tensor memory = Tensor::empty(arena, {(table_bytes + sum_bytes) / 4}, DType::i32);
  auto* const there = static_cast<int64_t*>(memory.raw());
  stream.upload(there, table.data(), table_bytes);
  SquareSumsArgs args;
  args.values = reinterpret_cast<const float* const*>(there);
  args.counts = there + count;
  args.first_blocks = there + 2 * count;
  args.arrays = static_cast<int64_t>(count);
  args.blocks = blocks;
  args.sums = reinterpret_cast<double*>(there + table.size());
  stream.run("square_sums/1", args);
  stream.download(sums.data(), args.sums, sum_bytes);
  return sums;
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

double gradient_norm(const std::vector<Tensor>& grads, const std::shared_ptr<Arena>& workspace) {
  return gradient_norms({grads}, workspace).front();
}

std::vector<double> gradient_norms(const std::vector<std::vector<Tensor>>& sets,
                                   const std::shared_ptr<Arena>& workspace) {
  std::vector<Tensor> all;
  for (const std::vector<Tensor>& grads : sets) all.insert(all.end(), grads.begin(), grads.end());
  for (const Tensor& grad : all) require_f32(grad, "grads");
  std::vector<double> sums;
  if (Stream* stream = all.empty() ? nullptr : all.front().stream())
    sums = square_sums_on_device(*stream, all,
                                 workspace ? workspace : std::make_shared<Arena>(all.front().shared_stream()));
  else
    sums = square_sums_here(all);
  std::vector<double> norms;
  auto sum = sums.begin();
  for (const std::vector<Tensor>& grads : sets) {
    double total = 0.0;
    for (const Tensor& grad : grads)
      for (int64_t block = 0; block < norm_blocks(grad); ++block) total += *sum++;
    norms.push_back(std::sqrt(total));
  }
  return norms;
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
  require(master.stream() == weight.stream(), "ERR_FOREIGN", "Expected master and weight in the memory of one place");
  if (Stream* stream = master.stream())
    return stream->run("cast/1", CastArgs{master.raw(), DType::f32, weight.raw(), weight.dtype(), 0, master.count()});
  round_cpu({master.count(), master.data<float>(), weight.raw(), weight.dtype()});
}

}  // namespace rubricate
