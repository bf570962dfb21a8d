// Row kernels compared with a plain copy: GB/s of edit_add_norm and of the RED edit, forward and backward.
//
//   bench_rows [repetitions [cpu]]    RUBRICATE_NUM_THREADS and RUBRICATE_CPU_PATH choose threads and instruction set
//
// "cpu" measures the process's CPU time instead of elapsed time: for one thread, on a machine that others use.
//
// Bytes count each array once: reads and writes of [T, d] arrays. The copy is memcpy on arrays of the same size, by the
// same threads. Times are the best of all repetitions.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "base/random.h"
#include "device/cpu/cpu_path.h"
#include "device/cpu/thread_pool.h"
#include "ops/edit_add_norm/edit_add_norm.h"
#include "ops/red_edit/red_edit.h"

using namespace rubricate;

namespace {

struct Work {
  std::shared_ptr<Arena> arena = std::make_shared<Arena>();
  int64_t rows, cols;
  DType dtype;
  int repetitions;

  Tensor random(Shape shape, DType type, uint64_t seed) const {
    Tensor x = Tensor::empty(arena, std::move(shape), type);
    for (int64_t i = 0; i < x.count(); ++i) {
      const auto v = static_cast<float>(philox_uniform(seed, 0, static_cast<uint64_t>(i % 65536)) - 0.5);
      type == DType::bf16 ? x.data<bf16>()[i] = from_float<bf16>(v), void() : (x.data<float>()[i] = v, void());
    }
    return x;
  }
  Tensor matrix(uint64_t seed) const { return random({rows, cols}, dtype, seed); }
  int64_t bytes() const { return rows * cols * dtype_size(dtype); }
};

bool count_cpu_time = false;

double now() {
  timespec time{};
  clock_gettime(count_cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double best_seconds(int repetitions, const std::function<std::function<void()>()>& prepare) {
  double best = 1e30;
  for (int i = 0; i < repetitions; ++i) {
    const std::function<void()> body = prepare();
    const double begin = now();
    body();
    best = std::min(best, now() - begin);
  }
  return best;
}

void report(const char* name, double seconds, int64_t bytes, double copy) {
  const double rate = static_cast<double>(bytes) / seconds * 1e-9;
  std::printf("  %-38s %9.1f us %7.2f GB/s %5.0f %% of copy\n", name, seconds * 1e6, rate, 100.0 * rate / copy);
}

std::shared_ptr<GradSlot> leaf_slot(const Tensor& value) {
  auto slot = std::make_shared<GradSlot>();
  slot->dtype = value.dtype();
  slot->shape = value.shape();
  return slot;
}

void run(const Work& w) {
  std::printf("[%lld, %lld] %s\n", static_cast<long long>(w.rows), static_cast<long long>(w.cols), dtype_name(w.dtype));
  const Tensor h = w.matrix(1), residual = w.matrix(2), grad_sum = w.matrix(3), grad_normed = w.matrix(4);
  const Var weight = w.random({w.cols}, DType::f32, 5);
  const int32_t sequences = 4, rows_each = static_cast<int32_t>(w.rows / sequences);
  std::vector<int32_t> starts, slots(sequences, 1);
  for (int32_t s = 0; s <= sequences; ++s) starts.push_back(s * rows_each);
  const SequenceRows rows{w.rows, sequences, starts.data(), slots.data()};
  const SlotVectors edit{
      {{}, {Var::parameter(w.random({w.cols}, DType::f32, 6)), Var::parameter(w.random({w.cols}, DType::f32, 7))}}};
  const SlotVectors no_edit{{{}, {}}};
  const SumNorm norm{weight, 1e-5f};

  // In chunks, on every thread, like the ops.
  const Tensor target = w.matrix(8);
  const double copy_seconds = best_seconds(w.repetitions, [&] {
    return [&] {
      const int64_t grain = 1 << 17;
      parallel_ranges(w.bytes(), grain, [&](int64_t begin, int64_t end) {
        std::memcpy(static_cast<char*>(target.raw()) + begin, static_cast<const char*>(h.raw()) + begin,
                    static_cast<size_t>(end - begin));
      });
    };
  });
  const double copy = 2.0 * static_cast<double>(w.bytes()) / copy_seconds * 1e-9;
  std::printf("  %-38s %9.1f us %7.2f GB/s\n", "copy", copy_seconds * 1e6, copy);

  const auto forward = [&](const SlotVectors* slots, const SumNorm& norm) {
    return best_seconds(w.repetitions, [&, slots] {
      return [&, slots] {
        Tape tape(w.arena, Tape::Mode::inference);
        edit_add_norm(tape, h, residual, slots, rows, norm);
      };
    });
  };
  report("edit_add_norm forward, edit and norm", forward(&edit, norm), 4 * w.bytes(), copy);
  report("edit_add_norm forward, norm only", forward(nullptr, norm), 4 * w.bytes(), copy);

  const auto backward = [&](const SlotVectors& slots) {
    return best_seconds(w.repetitions, [&] {
      auto tape = std::make_shared<Tape>(w.arena, Tape::Mode::training);
      const Var a(h, leaf_slot(h)), b(residual, leaf_slot(residual));
      auto [sum, normed] = edit_add_norm(*tape, a, b, &slots, rows, norm);
      tape->accumulate(normed.slot(), grad_normed);
      return [&, tape, sum = sum] { tape->backward(sum, grad_sum); };
    });
  };
  // With an edit: reads h, sum and two gradients, writes g and dh; without one: no h and no separate dh.
  report("edit_add_norm backward, edit and norm", backward(edit), 6 * w.bytes(), copy);
  report("edit_add_norm backward, norm only", backward(no_edit), 4 * w.bytes(), copy);

  report("red_edit forward",
         best_seconds(w.repetitions,
                      [&] {
                        return [&] {
                          Tape tape(w.arena, Tape::Mode::inference);
                          red_edit(tape, h, edit, rows);
                        };
                      }),
         2 * w.bytes(), copy);
  report("red_edit backward",
         best_seconds(w.repetitions,
                      [&] {
                        auto tape = std::make_shared<Tape>(w.arena, Tape::Mode::training);
                        const Var y = red_edit(*tape, Var(h, leaf_slot(h)), edit, rows);
                        return [&, tape, y] { tape->backward(y, grad_sum); };
                      }),
         3 * w.bytes(), copy);
  report("red_edit gradients alone",
         best_seconds(w.repetitions,
                      [&] {
                        return [&] {
                          Tape tape(w.arena, Tape::Mode::training);
                          red_edit_accumulate(tape, edit, rows, h, grad_sum);
                        };
                      }),
         2 * w.bytes(), copy);
}

}  // namespace

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::atoi(argv[1]) : 50;
  count_cpu_time = argc > 2 && std::strcmp(argv[2], "cpu") == 0;
  std::printf("%s, %d threads, best of %d by %s\n", cpu_path_name(cpu_path()), ThreadPool::instance().size(),
              repetitions, count_cpu_time ? "CPU time" : "the clock");
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{2048, 768}, {4096, 4096}})
      run({std::make_shared<Arena>(), rows, cols, dtype, repetitions});
}
