#include "ops/embedding/embedding.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/integers.h"
#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "ops/embedding/embedding_kernels.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

void check(const Tape& tape, const int32_t* tokens, int64_t count, const Weight& weight, DType out) {
  tape.check_cancelled("embedding");
  require(weight.defined(), "ERR_ARGUMENT", "Expected a matrix for weight but received none");
  require(weight.view.dtype != DType::i32, "ERR_DTYPE",
          "Expected a floating-point matrix for weight but received int32");
  require(out == DType::f32 || out == DType::bf16, "ERR_DTYPE", "Expected float32 or bfloat16 for out but received ",
          dtype_name(out));
  require(count >= 0, "ERR_ARGUMENT", "Expected a count of 0 or more for tokens but received ", count);
  check_tokens(tokens, count, weight.view.rows);
}

// Only one thread works on each part of the vocabulary, so every row of dW adds its tokens in order.
void scatter_add(const int32_t* tokens, const Tensor& grad, float* dweight) {
  const int64_t threads = ThreadPool::instance().size();
  const int64_t chunks = ceil_div(grad.count(), kElementGrain);
  const int64_t parts = threads == 1 ? 1 : std::min(4 * threads, chunks);
  ThreadPool::instance().parallel_for(parts, [&](int64_t part) {
    embedding_backward_cpu({.tokens = tokens,
                            .count = grad.rows(),
                            .cols = grad.cols(),
                            .dtype = grad.dtype(),
                            .grad = grad.raw(),
                            .dweight = dweight,
                            .part = part,
                            .parts = parts});
  });
}

// For each distinct token its rows, in order, in one array: tokens, starts, order.
struct TokenRows {
  TokenRows(const int32_t* tokens, int64_t count) {
    std::vector<int32_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [tokens](int32_t a, int32_t b) { return tokens[a] < tokens[b]; });
    std::vector<int32_t> different, starts;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0 && tokens[order[i]] == tokens[order[i - 1]]) continue;
      different.push_back(tokens[order[i]]);
      starts.push_back(static_cast<int32_t>(i));
    }
    starts.push_back(static_cast<int32_t>(count));
    groups = static_cast<int64_t>(different.size());
    for (const auto* part : {&different, &starts, &order}) array.insert(array.end(), part->begin(), part->end());
  }
  int64_t groups = 0;
  std::vector<int32_t> array;
};

void backward_on_device(Tape& tape, const int32_t* tokens, const Tensor& grad, float* dweight) {
  const TokenRows rows(tokens, grad.rows());
  const Tensor placed = tape.upload(rows.array.data(), static_cast<int64_t>(rows.array.size() * sizeof(int32_t)));
  EmbeddingSumsArgs args;
  args.tokens = placed.data<int32_t>();
  args.starts = args.tokens + rows.groups;
  args.order = args.starts + rows.groups + 1;
  args.dtype = grad.dtype();
  args.grad = grad.raw();
  args.dweight = dweight;
  args.groups = rows.groups;
  args.cols = grad.cols();
  tape.stream()->run("embedding_backward/1", args);
}

void forward(Tape& tape, const int32_t* tokens, int64_t count, const WeightView& weight, const Tensor& y) {
  if (Stream* stream = tape.stream()) {
    const Tensor placed = tape.upload(tokens, count * static_cast<int64_t>(sizeof(int32_t)));
    return stream->run("embedding_forward/1", EmbeddingRowsArgs{.tokens = placed.data<int32_t>(),
                                                                .weight = weight.data,
                                                                .weight_dtype = weight.dtype,
                                                                .dtype = y.dtype(),
                                                                .y = y.raw(),
                                                                .count = count,
                                                                .cols = weight.cols,
                                                                .stride = weight.row_stride});
  }
  parallel_ranges(count, row_grain(weight.cols), [&](int64_t begin, int64_t end) {
    embedding_forward_cpu(
        {.tokens = tokens, .weight = weight, .dtype = y.dtype(), .y = y.raw(), .begin = begin, .end = end});
  });
}

}  // namespace

void check_tokens(const int32_t* tokens, int64_t count, int64_t vocabulary) {
  for (int64_t t = 0; t < count; ++t)
    require(tokens[t] >= 0 && tokens[t] < vocabulary, "ERR_ARGUMENT", "Expected token ids from 0 to ", vocabulary - 1,
            " but received ", tokens[t], " at position ", t);
}

Var embedding(Tape& tape, const int32_t* tokens, int64_t count, const Weight& weight, DType out) {
  check(tape, tokens, count, weight, out);
  require_place(tape, weight.storage, "weight");
  const bool wanted = tape.wants_grad({weight.gradient.get()});
  Tensor y = tape.empty({count, weight.view.cols}, out);
  forward(tape, tokens, count, weight.view, y);
  if (!wanted) return y;
  return tape.record("embedding", std::move(y), [tokens, slot = weight.gradient](Tape& tape, const Tensor& grad) {
    float* const dweight = tape.parameter_grad(slot).data<float>();
    tape.stream() != nullptr ? backward_on_device(tape, tokens, grad, dweight) : scatter_add(tokens, grad, dweight);
  });
}

}  // namespace rubricate
