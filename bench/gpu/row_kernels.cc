#include <cstdio>
#include <cstring>

#include "gpu/check.h"
#include "gpu/results.h"
#include "gpu/sections.h"
#include "ops/adamw/adamw_kernels.h"
#include "ops/edit_add_norm/edit_add_norm_kernels.h"
#include "ops/red_edit/red_edit_kernels.h"
#include "ops/rms_norm/rms_norm_kernels.h"
#include "ops/rope/rope.h"
#include "ops/rope/rope_kernels.h"
#include "ops/swiglu/swiglu_kernels.h"

namespace rubricate::bench {
namespace {

struct Timed {
  const char* name;
  double arrays;  // number of [rows, cols] arrays read or written: every operand once
  std::function<void()> enqueue;
  std::vector<Tensor> outputs;
  // What the CPU computes for these rows of each output from the operands as they are, as stored.
  std::function<std::vector<std::vector<char>>(RowRange)> expected;
};

// Operands of one shape and dtype, and the kernels on them.
class Rows {
 public:
  Rows(const Run& run, int64_t rows, int64_t cols, DType dtype)
      : run_(run), clock_(run.device), rows_(rows), cols_(cols), dtype_(dtype) {
    for (uint32_t i = 0; i < 4; ++i) in_[i] = random_on_device(run, {rows, cols}, dtype, i + 1);
    for (Tensor& out : out_) out = Tensor::empty(run.arena(), {rows, cols}, dtype);
    for (uint32_t i = 0; i < 3; ++i) vectors_[i] = random_on_device(run, {cols}, DType::f32, i + 11);
    for (Tensor& gradient : gradients_) gradient = Tensor::zeros(run.arena(), {cols}, DType::f32);
    inv_ = Tensor::zeros(run.arena(), {rows}, DType::f32);
    partials_ = Tensor::empty(run.arena(), {tiles(), 2, cols}, DType::f32);
    run.stream->synchronize();
  }

  // Bytes per second of a copy of 1 GiB, which counts as 2 GiB.
  double copy_rate() {
    const int64_t bytes = run_.rehearse ? 1 << 16 : int64_t{1} << 30;
    const Tensor from = Tensor::zeros(run_.arena(), {bytes / 4}, DType::f32);
    const Tensor to = Tensor::empty(run_.arena(), {bytes / 4}, DType::f32);
    run_.stream->synchronize();
    return 2.0 * static_cast<double>(bytes) /
           clock_.seconds(run_.repetitions, [&] { clock_.copy(to.raw(), from.raw(), bytes); });
  }

  std::vector<Timed> kernels() {
    std::vector<Timed> all;
    add_edit_add_norm(all);
    add_edit(all);
    add_others(all);
    run_.stream->synchronize();
    return all;
  }
  double seconds(const Timed& timed) { return clock_.seconds(run_.repetitions, timed.enqueue); }

  // Runs a kernel once and compares it with the CPU. Throws ERR_INTERNAL if it differs.
  void check(const Timed& timed) {
    const std::vector<RowRange> ranges = checked_ranges(rows_);
    std::vector<std::vector<std::vector<char>>> wanted;
    for (const RowRange range : ranges) wanted.push_back(timed.expected(range));
    timed.enqueue();
    clock_.wait();
    for (size_t r = 0; r < ranges.size(); ++r)
      for (size_t i = 0; i < timed.outputs.size(); ++i)
        require_close(run_, timed.name, timed.outputs[i], ranges[r], wanted[r][i]);
  }

 private:
  int64_t tiles() const { return (rows_ + kSumRows - 1) / kSumRows; }
  static float* floats(const Tensor& tensor) { return static_cast<float*>(tensor.raw()); }

  // One sequence with slot 1 (with the vectors) or 0 (without).
  SlotRows slot_rows(int32_t slot, int32_t tile_rows) const {
    SlotRows rows;
    rows.rows = rows_;
    rows.slot = slot;
    rows.tile_rows = tile_rows;
    rows.tile_count = (rows_ + tile_rows - 1) / tile_rows;
    return rows;
  }
  SlotSumsArgs sums(int32_t slot) const {
    SlotSumsArgs sums;
    sums.dtype = dtype_, sums.cols = cols_;
    sums.rows = slot_rows(slot, kSumRows);
    sums.last_sequence = 1;
    sums.last_tile = tiles();
    if (slot == 0) return sums;
    sums.partials = floats(partials_);
    sums.scale.few[1] = floats(vectors_[0]);
    sums.products.few[1] = floats(gradients_[0]);
    sums.plain.few[1] = floats(gradients_[1]);
    return sums;
  }

  void add_edit_add_norm(std::vector<Timed>& all) {
    const auto forward = [&](const char* name, double arrays, int32_t slot, bool norm) {
      EditAddNormSlotsArgs args;
      args.all.dtype = dtype_, args.all.cols = cols_, args.all.end = rows_;
      args.all.h = in_[0].raw(), args.all.residual = in_[1].raw();
      args.all.sum = out_[0].raw();
      if (norm) args.all.weight = floats(vectors_[2]), args.all.eps = 1e-5f, args.all.normed = out_[1].raw();
      if (norm) args.all.inv = floats(inv_);
      args.rows = slot_rows(slot, 1);
      args.scale.few[1] = floats(vectors_[0]), args.bias.few[1] = floats(vectors_[1]);
      const auto expected = [this, slot, norm](RowRange range) {
        const Host here(*this, range);
        EditAddNormArgs on_cpu;
        on_cpu.dtype = dtype_, on_cpu.cols = cols_, on_cpu.end = range.count;
        on_cpu.h = here.in[0].data(), on_cpu.residual = here.in[1].data();
        if (slot > 0) on_cpu.scale = here.vectors[0].data(), on_cpu.bias = here.vectors[1].data();
        if (norm) on_cpu.weight = here.vectors[2].data(), on_cpu.eps = 1e-5f;
        std::vector<std::vector<char>> outputs(norm ? 2 : 1, here.empty());
        on_cpu.sum = outputs[0].data();
        if (norm) on_cpu.normed = outputs[1].data();
        edit_add_norm_forward_cpu(on_cpu);
        return outputs;
      };
      all.push_back({name, arrays, [this, args] { clock_.run("edit_add_norm_forward/1", args); },
                     norm ? std::vector<Tensor>{out_[0], out_[1]} : std::vector<Tensor>{out_[0]}, expected});
    };
    const auto backward = [&](const char* name, double arrays, int32_t slot) {
      EditAddNormBackwardSlotsArgs args;
      args.all.dtype = dtype_, args.all.cols = cols_, args.all.end = rows_;
      args.all.sum = in_[0].raw(), args.all.grad_sum = in_[1].raw(), args.all.grad_normed = in_[2].raw();
      args.all.weight = floats(vectors_[2]), args.all.inv = floats(inv_);
      args.all.g = out_[0].raw();
      args.sums = sums(slot);
      args.sums.grad = out_[0].raw();
      if (slot > 0) args.sums.x = in_[3].raw(), args.sums.dh = args.all.dh = out_[1].raw();
      const auto expected = [this, slot](RowRange range) {
        const Host here(*this, range);
        EditAddNormBackwardArgs on_cpu;
        on_cpu.dtype = dtype_, on_cpu.cols = cols_, on_cpu.end = range.count;
        on_cpu.sum = here.in[0].data(), on_cpu.grad_sum = here.in[1].data(), on_cpu.grad_normed = here.in[2].data();
        on_cpu.weight = here.vectors[2].data(), on_cpu.inv = here.inv.data();
        std::vector<std::vector<char>> outputs(slot > 0 ? 2 : 1, here.empty());
        on_cpu.g = outputs[0].data();
        if (slot > 0) on_cpu.scale = here.vectors[0].data(), on_cpu.dh = outputs[1].data();
        edit_add_norm_backward_cpu(on_cpu, nullptr);
        return outputs;
      };
      all.push_back({name, arrays, [this, args] { clock_.run("edit_add_norm_backward/1", args); },
                     slot > 0 ? std::vector<Tensor>{out_[0], out_[1]} : std::vector<Tensor>{out_[0]}, expected});
    };
    forward("edit_add_norm_forward edit residual norm", 4, 1, true);
    forward("edit_add_norm_forward edit residual", 3, 1, false);
    forward("edit_add_norm_forward residual norm", 4, 0, true);
    backward("edit_add_norm_backward edit residual norm", 6, 1);
    backward("edit_add_norm_backward residual norm", 4, 0);
  }

  void add_edit(std::vector<Timed>& all) {
    EditArgs args;
    args.dtype = dtype_, args.cols = cols_, args.h = in_[0].raw(), args.y = out_[0].raw();
    args.rows = slot_rows(1, 1);
    args.scale.few[1] = floats(vectors_[0]), args.bias.few[1] = floats(vectors_[1]);
    // y = scale * x + bias; dh = scale * grad.
    const auto edited = [this](int input, bool bias) {
      return [this, input, bias](RowRange range) {
        const Host here(*this, range);
        EditRowsArgs on_cpu;
        on_cpu.dtype = dtype_, on_cpu.cols = cols_, on_cpu.end = range.count, on_cpu.h = here.in[input].data();
        on_cpu.scale = here.vectors[0].data(), on_cpu.bias = bias ? here.vectors[1].data() : nullptr;
        std::vector<std::vector<char>> outputs(1, here.empty());
        on_cpu.y = outputs[0].data();
        red_edit_rows_cpu(on_cpu);
        return outputs;
      };
    };
    all.push_back({"red_edit", 2, [this, args] { clock_.run("red_edit/1", args); }, {out_[0]}, edited(0, true)});
    SlotSumsArgs back = sums(1);
    back.x = in_[0].raw(), back.grad = in_[1].raw(), back.dh = out_[0].raw();
    all.push_back({"row_sums (red_edit backward)",
                   3,
                   [this, back] { clock_.run("row_sums/1", back); },
                   {out_[0]},
                   edited(1, false)});
  }

  void add_others(std::vector<Timed>& all) {
    RmsNormArgs norm;
    norm.dtype = dtype_, norm.cols = cols_, norm.end = rows_, norm.x = in_[0].raw(), norm.weight = floats(vectors_[2]);
    norm.eps = 1e-5f, norm.inv = floats(inv_), norm.y = out_[0].raw(), norm.grad = in_[1].raw();
    norm.dx = out_[0].raw();
    const auto normed = [this](bool backward) {
      return [this, backward](RowRange range) {
        Host here(*this, range);
        std::vector<std::vector<char>> outputs(1, here.empty());
        RmsNormArgs on_cpu;
        on_cpu.dtype = dtype_, on_cpu.cols = cols_, on_cpu.end = range.count, on_cpu.eps = 1e-5f;
        on_cpu.x = here.in[0].data(), on_cpu.weight = here.vectors[2].data(), on_cpu.inv = here.inv.data();
        on_cpu.y = on_cpu.dx = outputs[0].data(), on_cpu.grad = here.in[1].data();
        backward ? rms_norm_backward_cpu(on_cpu) : rms_norm_forward_cpu(on_cpu);
        return outputs;
      };
    };
    all.push_back(
        {"rms_norm_forward", 2, [this, norm] { clock_.run("rms_norm_forward/1", norm); }, {out_[0]}, normed(false)});
    all.push_back(
        {"rms_norm_backward", 3, [this, norm] { clock_.run("rms_norm_backward/1", norm); }, {out_[0]}, normed(true)});
    add_rope(all);
    add_swiglu(all);
    if (dtype_ == DType::f32) add_adamw(all);
  }

  void add_rope(std::vector<Timed>& all) {
    const int64_t head_dim = cols_ % 128 == 0 ? 128 : 2, length = std::min<int64_t>(rows_, 1024);
    const RopeTable table = RopeTable::make(std::vector<float>(static_cast<size_t>(head_dim / 2), 0.5f), 1.0f, length);
    std::vector<int32_t> at(static_cast<size_t>(rows_));
    for (size_t i = 0; i < at.size(); ++i) at[i] = static_cast<int32_t>(i) % static_cast<int32_t>(length);
    positions_ = Tensor::from_host(run_.arena(), {rows_}, DType::i32, at.data());
    cos_ = Tensor::from_host(run_.arena(), {length, head_dim / 2}, DType::f32, table.covering(length)->cos.data());
    sin_ = Tensor::from_host(run_.arena(), {length, head_dim / 2}, DType::f32, table.covering(length)->sin.data());
    RopeArgs rope;
    rope.x_dtype = rope.y_dtype = dtype_, rope.x = in_[0].raw(), rope.y = out_[0].raw();
    rope.positions = static_cast<const int32_t*>(positions_.raw()), rope.cos = floats(cos_), rope.sin = floats(sin_);
    rope.rows = rows_, rope.heads = cols_ / head_dim, rope.half = head_dim / 2, rope.head_dim = head_dim;
    const auto expected = [this, rope, table, at, length](RowRange range) {
      const Host here(*this, range);
      std::vector<std::vector<char>> outputs(1, here.empty());
      RopeArgs on_cpu = rope;
      on_cpu.x = here.in[0].data(), on_cpu.y = outputs[0].data(), on_cpu.rows = range.count;
      on_cpu.positions = at.data() + range.begin;
      const auto angles = table.covering(length);
      on_cpu.cos = angles->cos.data(), on_cpu.sin = angles->sin.data();
      rope_cpu(on_cpu);
      return outputs;
    };
    all.push_back({"rope", 2, [this, rope] { clock_.run("rope/2", rope); }, {out_[0]}, expected});
  }

  void add_swiglu(std::vector<Timed>& all) {
    SwigluArgs swiglu;
    swiglu.dtype = dtype_, swiglu.gate = in_[0].raw(), swiglu.up = in_[1].raw(), swiglu.y = out_[0].raw();
    swiglu.grad = in_[2].raw(), swiglu.dgate = out_[0].raw(), swiglu.dup = out_[1].raw(), swiglu.end = rows_ * cols_;
    const auto gated = [this, swiglu](bool backward) {
      return [this, swiglu, backward](RowRange range) {
        const Host here(*this, range);
        std::vector<std::vector<char>> outputs(backward ? 2 : 1, here.empty());
        SwigluArgs on_cpu = swiglu;
        on_cpu.gate = here.in[0].data(), on_cpu.up = here.in[1].data(), on_cpu.grad = here.in[2].data();
        on_cpu.y = on_cpu.dgate = outputs[0].data(), on_cpu.dup = outputs.back().data();
        on_cpu.end = range.count * cols_;
        backward ? swiglu_backward_cpu(on_cpu) : swiglu_forward_cpu(on_cpu);
        return outputs;
      };
    };
    all.push_back(
        {"swiglu_forward", 3, [this, swiglu] { clock_.run("swiglu_forward/1", swiglu); }, {out_[0]}, gated(false)});
    all.push_back({"swiglu_backward",
                   5,
                   [this, swiglu] { clock_.run("swiglu_backward/1", swiglu); },
                   {out_[0], out_[1]},
                   gated(true)});
  }

  void add_adamw(std::vector<Timed>& all) {
    for (Tensor& state : states_) state = Tensor::zeros(run_.arena(), {rows_, cols_}, DType::f32);
    AdamWArgs adamw;
    adamw.count = rows_ * cols_, adamw.parameters = floats(states_[0]), adamw.grad = floats(in_[0]);
    adamw.m = floats(states_[1]), adamw.v = floats(states_[2]);
    adamw.one_minus_beta1 = 0.1f, adamw.beta2 = 0.999f, adamw.one_minus_beta2 = 0.001f;
    adamw.step_size = 1e-3f, adamw.eps = 1e-8f;
    const auto expected = [this, adamw](RowRange range) {
      const Host here(*this, range);
      std::vector<std::vector<char>> states;
      for (const Tensor& state : states_) states.push_back(rows_of(run_, state, range));
      const auto numbers = [](std::vector<char>& stored) { return reinterpret_cast<float*>(stored.data()); };
      AdamWArgs on_cpu = adamw;
      on_cpu.count = range.count * cols_, on_cpu.grad = reinterpret_cast<const float*>(here.in[0].data());
      on_cpu.parameters = numbers(states[0]), on_cpu.m = numbers(states[1]), on_cpu.v = numbers(states[2]);
      adamw_cpu(on_cpu);
      return states;
    };
    all.push_back(
        {"adamw", 7, [this, adamw] { clock_.run("adamw/2", adamw); }, {states_[0], states_[1], states_[2]}, expected});
  }

  // Copies of some rows of the operands.
  struct Host {
    Host(const Rows& rows, RowRange range) : bytes_(range.count * rows.cols_ * dtype_size(rows.dtype_)) {
      for (int i = 0; i < 4; ++i) in[i] = rows_of(rows.run_, rows.in_[i], range);
      for (int i = 0; i < 3; ++i) vectors[i] = floats_of(rows.run_, rows.vectors_[i], {0, rows.cols_});
      inv = floats_of(rows.run_, rows.inv_, range);
    }
    std::vector<char> empty() const { return std::vector<char>(static_cast<size_t>(bytes_)); }
    static std::vector<float> floats_of(const Run& run, const Tensor& tensor, RowRange range) {
      const std::vector<char> stored = rows_of(run, tensor, range);
      std::vector<float> numbers(stored.size() / sizeof(float));
      std::memcpy(numbers.data(), stored.data(), stored.size());
      return numbers;
    }
    std::vector<char> in[4];
    std::vector<float> vectors[3], inv;

   private:
    int64_t bytes_;
  };

  const Run& run_;
  EventClock clock_;
  const int64_t rows_, cols_;
  const DType dtype_;
  Tensor in_[4], out_[2], vectors_[3], gradients_[2], inv_, partials_, positions_, cos_, sin_;
  Tensor states_[3];  // of AdamW
};

// Returns how many kernels differ from the CPU; these are not timed.
int64_t time_shape(const Run& run, Results& results, int64_t rows, int64_t cols, DType dtype) {
  Rows work(run, rows, cols, dtype);
  const double copy = work.copy_rate();
  int64_t differing = 0;
  const auto tell = [&](const char* name, double seconds, double rate) {
    std::printf("%-34s %-8s %6ld %6ld %9.1f %9.1f %7.1f%%\n", name, dtype_name(dtype), static_cast<long>(rows),
                static_cast<long>(cols), 1e6 * seconds, 1e-9 * rate, 100.0 * rate / copy);
    std::fflush(stdout);
    results.add({{"name", std::string(name)},
                 {"dtype", std::string(dtype_name(dtype))},
                 {"rows", rows},
                 {"cols", cols},
                 {"microseconds", 1e6 * seconds},
                 {"gigabytesPerSecond", 1e-9 * rate},
                 {"copyGigabytesPerSecond", 1e-9 * copy},
                 {"shareOfCopy", rate / copy}});
  };
  for (const Timed& timed : work.kernels()) {
    if (!run.wants(timed.name)) continue;
    try {
      work.check(timed);
    } catch (const Error& error) {
      if (std::strcmp(error.code(), "ERR_INTERNAL") != 0) throw;
      std::printf("%-34s %-8s %6ld %6ld %s\n", timed.name, dtype_name(dtype), static_cast<long>(rows),
                  static_cast<long>(cols), error.what());
      results.add({{"name", std::string(timed.name)},
                   {"dtype", std::string(dtype_name(dtype))},
                   {"rows", rows},
                   {"cols", cols},
                   {"differs", std::string(error.what())}});
      ++differing;
      continue;
    }
    const double seconds = work.seconds(timed);
    require_written(run, timed.name, timed.outputs);
    tell(timed.name, seconds, timed.arrays * static_cast<double>(rows * cols * dtype_size(dtype)) / seconds);
  }
  return differing;
}

}  // namespace

void time_row_kernels(const Run& run) {
  Results results(run.out);
  std::printf("%-34s %-8s %6s %6s %9s %9s %8s\n", "kernel (events of the device)", "", "rows", "cols", "us", "GB/s",
              "of copy");
  std::vector<std::pair<int64_t, int64_t>> shapes = {{16384, 4096}};
  if (!run.only.empty())  // a workbench of one kernel: more and fewer rows than resident blocks; odd columns
    shapes.insert(
        shapes.end(),
        {{256, 4096}, {2048, 4096}, {65536, 4096}, {16384, 2048}, {16384, 5120}, {16384, 8192}, {16384, 4100}});
  if (run.rehearse) shapes = {{80, 128}, {5, 36}};
  int64_t differing = 0;
  for (const auto& [rows, cols] : shapes)
    for (const DType dtype : {DType::bf16, DType::f32}) differing += time_shape(run, results, rows, cols, dtype);
  require(differing == 0, "ERR_INTERNAL", differing, " kernels differ from the CPU");
}

}  // namespace rubricate::bench
