#include "ops/embedding/embedding.h"

#include <algorithm>

#include "device/cpu/thread_pool.h"
#include "ops/checks.h"
#include "ops/embedding/embedding_cpu.h"

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
  for (int64_t t = 0; t < count; ++t)
    require(tokens[t] >= 0 && tokens[t] < weight.view.rows, "ERR_ARGUMENT", "Expected token ids from 0 to ",
            weight.view.rows - 1, " but received ", tokens[t], " at position ", t);
}

// Each part of the vocabulary is one thread's at a time, so that every row of dW sees its tokens in order.
void scatter_add(const int32_t* tokens, const Tensor& grad, float* dweight) {
  const int64_t threads = ThreadPool::instance().size();
  const int64_t chunks = (grad.count() + kElementGrain - 1) / kElementGrain;
  const int64_t parts = threads == 1 ? 1 : std::min(4 * threads, chunks);
  ThreadPool::instance().parallel_for(parts, [&](int64_t part) {
    embedding_backward_cpu({tokens, grad.rows(), grad.cols(), grad.dtype(), grad.raw(), dweight, part, parts});
  });
}

}  // namespace

Var embedding(Tape& tape, const int32_t* tokens, int64_t count, const Weight& weight, DType out) {
  check(tape, tokens, count, weight, out);
  const bool wanted = tape.wants_grad({weight.gradient.get()});
  Tensor y = tape.empty({count, weight.view.cols}, out);
  const EmbeddingArgs all{tokens, weight.view, out, y.raw(), 0, 0};
  parallel_ranges(count, row_grain(weight.view.cols), [&](int64_t begin, int64_t end) {
    EmbeddingArgs args = all;
    args.begin = begin;
    args.end = end;
    embedding_forward_cpu(args);
  });
  if (!wanted) return y;
  return tape.record("embedding", std::move(y), [tokens, slot = weight.gradient](Tape& tape, const Tensor& grad) {
    scatter_add(tokens, grad, tape.parameter_grad(slot).data<float>());
  });
}

}  // namespace rubricate
