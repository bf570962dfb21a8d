#include "adapter/weight_products.h"

#include <cstring>

#include "ops/linear/linear.h"

namespace rubricate {

void WeightProducts::product(const PlanDerived& own, int64_t rows, const float* d, float* p) const {
  Tape tape(control_, Tape::Mode::inference);
  multiply(tape, own, rows, d, !own.along_outputs, p);
}

void WeightProducts::backward(const PlanDerived& own, int64_t rows, const float* dp, float* dd) const {
  Tape tape(control_, Tape::Mode::inference);
  tape.set_cancel_flag(nullptr);
  multiply(tape, own, rows, dp, own.along_outputs, dd);
}

// Along inputs W is a weight's usual layout for the matmul, else it is read as [K, N].
void WeightProducts::multiply(Tape& tape, const PlanDerived& own, int64_t rows, const float* from, bool along_inputs,
                              float* to) const {
  require(weights_ != nullptr, "ERR_INTERNAL", "Expected the base's weights for ", own.name);
  tape.yield();
  const WeightView& w = weights_->linear_weight(own.layer, own.site).view;
  const bool on_device = tape.stream() != nullptr;
  MatmulArgs args;
  args.m = rows;
  args.n = along_inputs ? w.rows : w.cols;
  args.k = along_inputs ? w.cols : w.rows;
  args.b = w.data;
  args.b_dtype = w.dtype;
  args.b_stride = w.row_stride;
  args.b_transposed = along_inputs;
  Tensor a, c;
  if (on_device) {
    a = Tensor::from_host(tape.arena(), {rows, args.k}, DType::f32, from);
    c = tape.empty({rows, args.n}, DType::f32);
  }
  args.a = on_device ? a.raw() : from;
  args.a_stride = args.k;
  args.c = on_device ? c.raw() : to;
  args.c_stride = args.n;
  matmul(tape, args);
  if (on_device) std::memcpy(to, c.on_cpu().raw(), static_cast<size_t>(c.bytes()));
}

}  // namespace rubricate
