#include "ops/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "device/stream.h"
#include "ops/cross_entropy/cross_entropy_kernels.h"
#include "ops/linear/linear.h"
#include "ops/shared/checks.h"

namespace rubricate {
namespace {

void check_head(const Tensor& x, const Weight& head) {
  require_floating(x, "x");
  require(head.defined(), "ERR_ARGUMENT", "Expected a weight for head but received none");
  require(x.rank() == 2 && x.dim(1) == head.view.cols, "ERR_SHAPE", "Expected shape [rows, ", head.view.cols,
          "] for x but received ", shape_text(x.shape()));
  require(head.view.rows >= 1 && head.view.cols >= 1, "ERR_SHAPE",
          "Expected at least one row and column for head but received [", head.view.rows, ", ", head.view.cols, "]");
}

void check_range(int64_t value, int64_t limit, const char* name, int64_t index) {
  require(value >= 0 && value < limit, "ERR_ARGUMENT", "Expected an integer from 0 to ", limit - 1, " for ", name, "[",
          index, "] but received ", value);
}

void check_rows(const LossRows& rows, int64_t all, int64_t vocabulary) {
  require(rows.count >= 0 && rows.count <= all, "ERR_ARGUMENT", "Expected from 0 to ", all,
          " rows that carry loss but received ", rows.count);
  for (int64_t i = 0; i < rows.count; ++i) {
    check_range(rows.rows[i], all, "rows", i);
    check_range(rows.targets[i], vocabulary, "targets", i);
    require(i == 0 || rows.rows[i] > rows.rows[i - 1], "ERR_ARGUMENT", "Expected ascending rows but received ",
            rows.rows[i], " after ", rows.rows[i > 0 ? i - 1 : 0]);
  }
}

// Chosen rows of a matrix, contiguous: the matrix itself if the rows are contiguous already.
class RowBlock {
 public:
  // rows: on the CPU; device_rows: the same on the matrix's device, if it is on one.
  RowBlock(const Tensor& matrix, const int32_t* rows, const int32_t* device_rows, int64_t count)
      : matrix_(matrix),
        rows_(rows),
        device_rows_(device_rows),
        count_(count),
        row_bytes_(matrix.cols() * dtype_size(matrix.dtype())) {}

  bool adjacent() const { return count_ == 0 || rows_[count_ - 1] - rows_[0] == count_ - 1; }
  void* data(const Tensor& scratch) const { return adjacent() ? row(count_ == 0 ? 0 : rows_[0]) : scratch.raw(); }
  void gather(const Tensor& scratch) const {
    if (!adjacent()) copy(scratch, false);
  }
  void scatter(const Tensor& scratch) const {
    if (!adjacent()) copy(scratch, true);
  }
  // The rows may be in any order, and repeated.
  void copy(const Tensor& scratch, bool scatter) const {
    if (Stream* stream = matrix_.stream()) {
      const void* const from = scatter ? scratch.raw() : matrix_.raw();
      void* const to = scatter ? matrix_.raw() : scratch.raw();
      return stream->run("copy_rows/1", CopyRowsArgs{.from = from,
                                                     .to = to,
                                                     .rows = device_rows_,
                                                     .count = count_,
                                                     .row_bytes = row_bytes_,
                                                     .scatter = scatter});
    }
    for (int64_t i = 0; i < count_; ++i) {
      char *const line = static_cast<char*>(scratch.raw()) + i * row_bytes_, *const other = row(rows_[i]);
      std::memcpy(scatter ? other : line, scatter ? line : other, static_cast<size_t>(row_bytes_));
    }
  }

 private:
  char* row(int64_t r) const { return static_cast<char*>(matrix_.raw()) + r * row_bytes_; }

  const Tensor& matrix_;
  const int32_t *rows_, *device_rows_;
  int64_t count_, row_bytes_;
};

// CPU values on the tape's device: the values themselves, or a copy.
template <typename T>
class Placed {
 public:
  Placed(Tape& tape, const T* values, int64_t count) : values_(values) {
    if (tape.stream() == nullptr || count == 0) return;
    copy_ = tape.upload(values, count * static_cast<int64_t>(sizeof(T)));
    values_ = static_cast<const T*>(copy_.raw());
  }
  const T* data() const { return values_; }

 private:
  const T* values_;
  Tensor copy_;
};

void row_loss(const Tape& tape, const RowLossArgs& args) {
  if (Stream* stream = tape.stream()) return stream->run("row_loss/1", args);
  row_loss_cpu(args);
}

// The outputs of row_loss for `rows` rows, on the tape's device.
class RowLosses {
 public:
  RowLosses(Tape& tape, int64_t rows)
      : rows_(rows),
        losses_(tape.empty({rows, int64_t{sizeof(double) / 4}}, DType::i32)),
        correct_(tape.empty({(rows + 3) / 4}, DType::i32)) {}

  void set(RowLossArgs& args, int64_t begin) const {
    args.loss = static_cast<double*>(losses_.raw()) + begin;
    args.correct = static_cast<uint8_t*>(correct_.raw()) + begin;
  }
  // Waits for the device.
  std::vector<double> losses() const { return fetched<double>(losses_); }
  std::vector<uint8_t> correct() const { return fetched<uint8_t>(correct_); }

 private:
  template <typename T>
  std::vector<T> fetched(const Tensor& from) const {
    std::vector<T> values(static_cast<size_t>(rows_));
    const size_t bytes = values.size() * sizeof(T);
    if (Stream* stream = from.stream())
      stream->download(values.data(), from.raw(), static_cast<int64_t>(bytes));
    else if (bytes > 0)
      std::memcpy(values.data(), from.raw(), bytes);
    return values;
  }
  int64_t rows_;
  Tensor losses_, correct_;
};

// z = x W^T
void logits_of(const Tape& tape, const void* x, DType dtype, int64_t count, const WeightView& head, float* z) {
  MatmulArgs args;
  args.m = count;
  args.n = head.rows;
  args.k = head.cols;
  args.a = x;
  args.a_dtype = dtype;
  args.a_stride = head.cols;
  args.b = head.data;
  args.b_dtype = head.dtype;
  args.b_stride = head.row_stride;
  args.b_transposed = true;
  args.c = z;
  args.c_stride = head.rows;
  matmul(tape, args);
}

// One pass over the chunks: losses, and dx and dW if they are defined.
class HeadPass {
 public:
  HeadPass(Tape& tape, const Tensor& x, const WeightView& head, const LossRows& rows)
      : tape_(tape),
        x_(x),
        head_(head),
        rows_(rows),
        chunk_(std::min(head_rows_per_chunk(head.rows), rows.count)),
        losses_(tape, rows.count),
        places_(tape, rows.rows, rows.count),
        targets_(tape, rows.targets, rows.count),
        weights_(tape, rows.weights, rows.count) {}

  Tensor dx, dw;

  // Sets all members of the result except its Var, and returns the loss.
  double run(CrossEntropy& result) {
    z_ = tape_.empty({chunk_, head_.rows}, DType::f32);
    gathered_ = tape_.empty({chunk_, head_.cols}, x_.dtype());
    for (int64_t begin = 0; begin < rows_.count; begin += chunk_) {
      tape_.yield();
      chunk(begin, std::min(chunk_, rows_.count - begin));
    }
    const std::vector<double> losses = losses_.losses();
    result.row_loss.assign(losses.begin(), losses.end());
    result.row_correct = losses_.correct();
    double total = 0.0;
    for (size_t i = 0; i < losses.size(); ++i) total += static_cast<double>(rows_.weights[i]) * losses[i];
    return total;
  }

 private:
  RowBlock block_of(const Tensor& matrix, int64_t begin, int64_t count) const {
    return {matrix, rows_.rows + begin, places_.data() + begin, count};
  }

  void chunk(int64_t begin, int64_t count) {
    const RowBlock block = block_of(x_, begin, count);
    block.gather(gathered_);
    const void* x = block.data(gathered_);
    logits_of(tape_, x, x_.dtype(), count, head_, z_.data<float>());
    tape_.yield();

    RowLossArgs args;
    args.rows = count;
    args.vocabulary = head_.rows;
    args.logits = z_.data<float>();
    args.targets = targets_.data() + begin;
    losses_.set(args, begin);
    args.dz = dx.defined() || dw.defined() ? z_.data<float>() : nullptr;
    args.dz_dtype = x_.dtype();
    args.weights = weights_.data() + begin;
    row_loss(tape_, args);
    tape_.yield();
    if (dw.defined()) add_weight_gradient(x, count);
    if (dx.defined()) input_gradient(begin, count);  // last: it may reuse the gathered rows' memory
  }

  MatmulArgs from_dz() const {
    MatmulArgs args;
    args.a = z_.raw();
    args.a_dtype = x_.dtype();
    args.a_stride = head_.rows * 4 / dtype_size(x_.dtype());  // a bf16 row fills half of its logits' memory
    return args;
  }

  void input_gradient(int64_t begin, int64_t count) {  // dx = dz W
    const RowBlock block = block_of(dx, begin, count);
    MatmulArgs args = from_dz();
    args.m = count;
    args.n = head_.cols;
    args.k = head_.rows;
    args.b = head_.data;
    args.b_dtype = head_.dtype;
    args.b_stride = head_.row_stride;
    args.c = block.data(gathered_);
    args.c_dtype = dx.dtype();
    args.c_stride = head_.cols;
    matmul(tape_, args);
    block.scatter(gathered_);
  }

  void add_weight_gradient(const void* x, int64_t count) {  // dW += dz^T x
    MatmulArgs args = from_dz();
    args.a_transposed = true;
    args.m = head_.rows;
    args.n = head_.cols;
    args.k = count;
    args.b = x;
    args.b_dtype = x_.dtype();
    args.b_stride = head_.cols;
    args.c = dw.raw();
    args.c_stride = head_.cols;
    args.accumulate = true;
    matmul(tape_, args);
  }

  Tape& tape_;
  const Tensor& x_;
  const WeightView& head_;
  const LossRows& rows_;
  const int64_t chunk_;
  RowLosses losses_;
  Tensor z_, gathered_;
  const Placed<int32_t> places_, targets_;  // of rows_, on the tape's device
  const Placed<float> weights_;
};

// factor: a scalar on the tape's device.
void scale_and_accumulate(Tape& tape, const std::shared_ptr<GradSlot>& slot, Tensor grad, const Tensor& factor) {
  if (!grad.defined()) return;
  ScaleArgs args{.count = grad.count(), .values = grad.raw(), .dtype = grad.dtype()};
  if (Stream* stream = tape.stream()) {
    args.factor_at = factor.data<float>();
    stream->run("scale_in_place/1", args);
  } else {
    args.factor = *factor.data<float>();
    if (args.factor != 1.0f) scale_in_place_cpu(args);
  }
  tape.accumulate(slot, std::move(grad));
}

float scalar_of(const Tensor& scalar) {
  float value = 0.0f;
  if (Stream* stream = scalar.stream())
    stream->download(&value, scalar.raw(), sizeof value);
  else
    value = *scalar.data<float>();
  return value;
}

}  // namespace

// Each chunk packs the head again, which costs about 15 multiply-adds per weight: 6 % of 256 rows, 12 % of 128. So a
// chunk has 32 MiB of logits, or up to 64 MiB if 32 MiB hold fewer than 128 rows. It depends only on the vocabulary, so
// that dW's sums over rows are always split at the same rows.
int64_t head_rows_per_chunk(int64_t vocabulary) {
  constexpr int64_t kElements = int64_t{8} << 20;
  const int64_t rows = std::max(kElements / vocabulary, std::min<int64_t>(2 * kElements / vocabulary, 128));
  return std::clamp<int64_t>(rows / 16 * 16, 16, 1024);
}

CrossEntropy head_cross_entropy(Tape& tape, const Var& x, const Weight& head, const LossRows& rows) {
  tape.check_cancelled("head_cross_entropy");
  check_head(x.value(), head);
  require_place(tape, x.value(), "x");
  require_place(tape, head.storage, "head");
  check_rows(rows, x.value().dim(0), head.view.rows);
  const bool wants_grad = tape.wants_grad({x.slot().get(), head.gradient.get()});

  HeadPass pass(tape, x.value(), head.view, rows);
  if (wants_grad && x.requires_grad()) pass.dx = tape.zeros(x.value().shape(), x.value().dtype());
  if (wants_grad && head.gradient) pass.dw = tape.zeros({head.view.rows, head.view.cols}, DType::f32);
  CrossEntropy result;
  const float total = static_cast<float>(pass.run(result));
  const Tensor loss = Tensor::from_host(tape.arena(), {1}, DType::f32, &total);
  if (!wants_grad) {
    result.loss = loss;
    return result;
  }
  result.loss = tape.record(
      "head_cross_entropy", loss,
      [dx = pass.dx, dw = pass.dw, x_slot = x.slot(), w_slot = head.gradient](Tape& tape, const Tensor& grad) mutable {
        scale_and_accumulate(tape, x_slot, std::move(dx), grad);
        scale_and_accumulate(tape, w_slot, std::move(dw), grad);
      });
  return result;
}

Tensor head_logits(Tape& tape, const Tensor& x, const Weight& head, int64_t count, const int32_t* rows) {
  tape.check_cancelled("head_logits");
  check_head(x, head);
  require_place(tape, x, "x");
  require_place(tape, head.storage, "head");
  require(count >= 0, "ERR_ARGUMENT", "Expected 0 or more rows for logits but received ", count);
  for (int64_t i = 0; i < count; ++i) check_range(rows[i], x.dim(0), "rows", i);
  Tensor logits = tape.empty({count, head.view.rows}, DType::f32);
  Tensor gathered = tape.empty({count, head.view.cols}, x.dtype());
  const Placed places(tape, rows, count);
  RowBlock(x, rows, places.data(), count).copy(gathered, false);
  if (count > 0) logits_of(tape, gathered.raw(), x.dtype(), count, head.view, logits.data<float>());
  return logits;
}

Var cross_entropy(Tape& tape, const Var& logits, const int32_t* targets) {
  tape.check_cancelled("cross_entropy");
  require(logits.defined(), "ERR_ARGUMENT", "Expected a value for logits but received none");
  const Tensor& z = logits.value();
  require_place(tape, z, "logits");
  require(z.dtype() == DType::f32, "ERR_DTYPE", "Expected float32 for logits but received ", dtype_name(z.dtype()));
  require(z.rank() == 2 && z.dim(0) >= 1 && z.dim(1) >= 1, "ERR_SHAPE",
          "Expected shape [rows, vocabulary] with at least one of each for logits but received ",
          shape_text(z.shape()));
  for (int64_t i = 0; i < z.dim(0); ++i) check_range(targets[i], z.dim(1), "targets", i);
  const bool wants_grad = tape.wants_grad(logits);

  const RowLosses rows(tape, z.dim(0));
  const Placed placed_targets(tape, targets, z.dim(0));
  RowLossArgs args;
  args.rows = z.dim(0);
  args.vocabulary = z.dim(1);
  args.logits = z.data<float>();
  args.targets = placed_targets.data();
  rows.set(args, 0);
  row_loss(tape, args);
  double total = 0.0;
  for (const double loss : rows.losses()) total += loss;
  const float mean = static_cast<float>(total / static_cast<double>(z.dim(0)));
  const Tensor loss = Tensor::from_host(tape.arena(), {1}, DType::f32, &mean);
  if (!wants_grad) return loss;

  return tape.record("cross_entropy", loss,
                     [z, slot = logits.slot(), targets = std::vector<int32_t>(targets, targets + z.dim(0))](
                         Tape& tape, const Tensor& grad) {
                       const size_t count = targets.size();
                       const std::vector<float> weights(count, scalar_of(grad) / static_cast<float>(count));
                       const RowLosses rows(tape, z.dim(0));
                       const Placed placed_targets(tape, targets.data(), z.dim(0));
                       const Placed placed_weights(tape, weights.data(), z.dim(0));
                       Tensor dz = tape.empty(z.shape(), DType::f32);
                       RowLossArgs args;
                       args.rows = z.dim(0);
                       args.vocabulary = z.dim(1);
                       args.logits = z.data<float>();
                       args.targets = placed_targets.data();
                       rows.set(args, 0);
                       args.dz = dz.data<float>();
                       args.weights = placed_weights.data();
                       row_loss(tape, args);
                       tape.accumulate(slot, std::move(dz));
                     });
}

}  // namespace rubricate
