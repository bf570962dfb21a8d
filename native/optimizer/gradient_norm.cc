#include "optimizer/gradient_norm.h"

#include <cmath>

#include "base/integers.h"
#include "device/stream.h"
#include "ops/adamw/adamw_kernels.h"
#include "tensor/checks.h"

namespace rubricate {
namespace {

int64_t norm_blocks(const Tensor& grad) { return ceil_div(grad.count(), kNormBlock); }

// Sums of squares of every block of every tensor, in order.
std::vector<double> square_sums_here(const std::vector<Tensor>& grads) {
  int64_t blocks = 0;
  for (const Tensor& grad : grads) blocks += norm_blocks(grad);
  std::vector<double> sums(static_cast<size_t>(blocks));
  double* next = sums.data();
  for (const Tensor& grad : grads) {
    require(grad.stream() == nullptr, "ERR_FOREIGN", "Expected all gradients on one device and stream");
    square_sums_cpu({grad.count(), grad.data<float>(), next});
    next += norm_blocks(grad);
  }
  return sums;
}

// The same on a device, with one launch and one download.
std::vector<double> square_sums_on_device(Stream& stream, const std::vector<Tensor>& grads,
                                          const std::shared_ptr<Arena>& arena) {
  const size_t count = grads.size();
  std::vector<int64_t> table(3 * count);  // addresses, counts, first blocks
  int64_t blocks = 0;
  for (size_t i = 0; i < count; ++i) {
    require(grads[i].stream() == &stream, "ERR_FOREIGN", "Expected all gradients on one device and stream");
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

double global_norm(const std::vector<Tensor>& grads, const std::shared_ptr<Arena>& workspace) {
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

}  // namespace rubricate
