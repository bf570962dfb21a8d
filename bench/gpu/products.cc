#include <cmath>
#include <cstdio>
#include <cstring>

#include "gpu/mma_peak_kernels.h"
#include "gpu/product_checks.h"
#include "gpu/results.h"
#include "gpu/sections.h"
#include "ops/attention/attention.h"
#include "ops/linear/matmul_plan.h"

namespace rubricate::bench {
namespace {

// Operations per second of the loop in registers.
double peak_rate(const Run& run, EventClock& clock, DType dtype) {
  MmaPeakArgs args;
  args.dtype = dtype;
  args.blocks = run.rehearse ? 1 : int64_t{8} * run.device.info().multiprocessors;
  args.steps = run.rehearse ? 2 : 1 << 14;
  const Tensor out = Tensor::empty(run.arena(), {args.blocks, kPeakThreads}, DType::f32);
  args.out = static_cast<float*>(out.raw());
  const double each = dtype == DType::bf16 ? 8 * 2.0 * 16 * 8 * 16 : 16 * 2.0 * 32;  // of a warp and step
  const double operations = static_cast<double>(args.blocks * args.steps * (kPeakThreads / 32)) * each;
  const double seconds = clock.seconds(run.repetitions, [&] { clock.run("mma_peak/1", args); });
  require_written(run, "mma_peak", {out});
  return operations / seconds;
}

struct Told {
  Results& results;
  double peak;
  int64_t& differing;  // products that differ from the sums in double

  void operator()(const std::string& name, const std::string& what, DType dtype, double operations, double seconds,
                  const std::string& provider = "own") const {
    const double rate = operations / seconds;
    std::printf("%-26s %-28s %-8s %-15s %10.3f %9.2f %7.1f%%\n", name.c_str(), what.c_str(), dtype_name(dtype),
                provider.c_str(), 1e3 * seconds, 1e-12 * rate, 100.0 * rate / peak);
    std::fflush(stdout);
    results.add({{"name", name},
                 {"shape", what},
                 {"dtype", std::string(dtype_name(dtype))},
                 {"provider", provider},
                 {"milliseconds", 1e3 * seconds},
                 {"teraflops", 1e-12 * rate},
                 {"peakTeraflops", 1e-12 * peak},
                 {"shareOfPeak", rate / peak}});
  }
};

// Whether a result is right; if not, a row says so and nothing is timed.
template <typename Check>
bool is_right(Results& results, int64_t& differing, const std::string& name, const std::string& what, DType dtype,
              const std::string& provider, const Check& check) {
  try {
    check();
    return true;
  } catch (const Error& error) {
    if (std::strcmp(error.code(), "ERR_INTERNAL") != 0) throw;
    std::printf("%-26s %-28s %-8s %s\n", name.c_str(), what.c_str(), dtype_name(dtype), error.what());
    results.add({{"name", name},
                 {"shape", what},
                 {"dtype", std::string(dtype_name(dtype))},
                 {"provider", provider},
                 {"differs", std::string(error.what())}});
    ++differing;
    return false;
  }
}

struct Layout {
  const char* name;
  bool a_transposed, b_transposed;
};

// One matmul by our own kernels, and by cuBLASLt if it is available and supports it.
void time_providers(const Run& run, EventClock& clock, const Told& tell, const char* name, MatmulArgs args) {
  MatmulPlans& plans = MatmulPlans::of(run.device);
  const MatmulSetting before = matmul_setting();
  for (const MatmulSetting setting : {MatmulSetting::own, MatmulSetting::cublaslt}) {
    force_matmul_setting(MatmulSetting::automatic);
    const int32_t version = plans.cublaslt(*run.stream).version;
    if (setting == MatmulSetting::cublaslt && version == 0) break;
    force_matmul_setting(setting);
    const Tensor c = Tensor::empty(run.arena(), {args.m, args.n}, args.c_dtype);
    args.c = c.raw();
    MatmulArgs planned = plans.planned(*run.stream, args);
    if (setting == MatmulSetting::cublaslt && planned.provider == MatmulProvider::own) break;
    const Tensor workspace = Tensor::empty(run.arena(), {(planned.algorithm.workspace_bytes + 3) / 4}, DType::i32);
    planned.workspace = workspace.raw();
    const std::string what = concat(args.m, " x ", args.n, " x ", args.k);
    const std::string provider =
        setting == MatmulSetting::own ? "own" : concat("cuBLASLt ", cublaslt_version_text(version));
    clock.run("matmul/2", planned);
    clock.wait();
    if (!is_right(tell.results, tell.differing, name, what, args.a_dtype, provider,
                  [&] { check_matmul(run, name, args, c); }))
      continue;
    const double seconds = clock.seconds(run.repetitions, [&] { clock.run("matmul/2", planned); });
    require_written(run, name, {c});
    tell(name, what, args.a_dtype,
         2.0 * static_cast<double>(args.m) * static_cast<double>(args.n) * static_cast<double>(args.k), seconds,
         provider);
  }
  force_matmul_setting(before);
}

struct Sizes {
  int64_t m, n, k;
};

// Of the product [m, n] over k that a layout computes.
Sizes sizes_of(const Layout& layout, const Sizes& of_forward) {
  const auto [m, n, k] = of_forward;
  if (layout.a_transposed) return {n, k, m};
  return layout.b_transposed ? of_forward : Sizes{m, k, n};
}

// m rows of activations, k inputs and n outputs of a weight. By layout: the forward, [m, n] over k; the gradient of the
// input, [m, k] over n; and the gradient of the weight, [n, k] over m.
void time_matmuls(const Run& run, EventClock& clock, const Told& tell, DType dtype) {
  const std::vector<Layout> layouts = {{"matmul forward", false, true},
                                       {"matmul input gradient", false, false},
                                       {"matmul weight gradient", true, false}};
  std::vector<Sizes> all = {
      {4096, 4096, 4096}, {16384, 4096, 4096}, {16384, 11008, 4096}, {16384, 4096, 11008}, {1024, 11008, 4096}};
  if (run.rehearse) all = {{64, 48, 40}};
  for (const Sizes& sizes : all)
    for (const Layout& layout : layouts) {
      if (!run.wants(layout.name)) continue;
      const auto [m, n, k] = sizes_of(layout, sizes);
      const Tensor a = random_on_device(run, {m, k}, dtype, 1), b = random_on_device(run, {n, k}, dtype, 2);
      const DType result = layout.a_transposed ? DType::f32 : dtype;
      MatmulArgs args;
      args.m = m, args.n = n, args.k = k;
      args.a = a.raw(), args.a_dtype = dtype, args.a_transposed = layout.a_transposed;
      args.a_stride = layout.a_transposed ? m : k;
      args.b = b.raw(), args.b_dtype = dtype, args.b_transposed = layout.b_transposed;
      args.b_stride = layout.b_transposed ? k : n;
      args.c_dtype = result, args.c_stride = n;
      time_providers(run, clock, tell, layout.name, args);
    }
}

Var leaf(const Tensor& value) {
  auto slot = std::make_shared<GradSlot>();
  slot->dtype = value.dtype();
  slot->shape = value.shape();
  return {value, std::move(slot)};
}

// Enough rows for any device; the heads of LLaMA-2-7B.
void time_attention(const Run& run, const Told& tell, int64_t length) {
  const int64_t heads = run.rehearse ? 2 : 32, head_dim = run.rehearse ? 16 : 128;
  const int64_t rows = run.rehearse ? 2 * length : 16384, width = heads * head_dim;
  std::vector<int32_t> starts;
  for (int64_t at = 0; at <= rows; at += length) starts.push_back(static_cast<int32_t>(at));
  const int64_t sequences = rows / length;
  const AttentionShape shape{heads, heads, head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim))};
  Tensor in[4];
  for (uint32_t i = 0; i < 4; ++i) in[i] = random_on_device(run, {rows, width}, DType::bf16, i + 1);
  const auto arena = run.arena();
  const double pairs = 0.5 * static_cast<double>(rows) * static_cast<double>(length + 1) * static_cast<double>(width);
  const std::string what = concat(sequences, " x ", length, ", ", heads, " x ", head_dim);
  const AttentionProblem problem{shape, rows, length};

  if (run.wants("attention forward")) {
    Tape tape(arena, Tape::Mode::inference);
    Var out;
    const auto forward = [&] { out = attention(tape, in[0], in[1], in[2], shape, sequences, starts.data()); };
    forward();
    run.stream->synchronize();
    if (is_right(tell.results, tell.differing, "attention forward", what, DType::bf16, "own",
                 [&] { check_attention_forward(run, problem, out.value()); })) {
      const double seconds = waited_seconds(
          *run.stream, run.repetitions, [] {}, forward);
      require_written(run, "attention forward", {out.value()});
      tell("attention forward", what, DType::bf16, 4.0 * pairs, seconds);
    }
  }
  if (!run.wants("attention backward")) return;
  Var q, k, v, out;
  std::unique_ptr<Tape> tape;
  const auto prepare = [&] {
    q = leaf(in[0]), k = leaf(in[1]), v = leaf(in[2]);
    tape = std::make_unique<Tape>(arena, Tape::Mode::training);
    out = attention(*tape, q, k, v, shape, sequences, starts.data());
  };
  prepare();
  tape->backward(out, in[3]);
  run.stream->synchronize();
  if (!is_right(tell.results, tell.differing, "attention backward", what, DType::bf16, "own",
                [&] { check_attention_backward(run, problem, q.grad(), k.grad(), v.grad()); }))
    return;
  const double seconds = waited_seconds(*run.stream, run.repetitions, prepare, [&] { tape->backward(out, in[3]); });
  require_written(run, "attention backward", {q.grad(), k.grad(), v.grad()});
  tell("attention backward", what, DType::bf16, 10.0 * pairs, seconds);
}

}  // namespace

void time_products(const Run& run) {
  Results results(run.out);
  int64_t differing = 0;
  EventClock clock(run.device);
  std::printf("%-26s %-28s %-8s %-15s %10s %9s %8s\n", "product", "", "", "", "ms", "TFLOP/s", "of peak");
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const double peak = peak_rate(run, clock, dtype);
    const Told tell{results, peak, differing};
    tell("peak, in registers", dtype == DType::bf16 ? "mma.sync m16n8k16" : "fma", dtype, peak, 1.0);
    time_matmuls(run, clock, tell, dtype);
    if (dtype != DType::bf16) continue;
    for (const int64_t length : run.rehearse ? std::vector<int64_t>{70} : std::vector<int64_t>{1024, 4096})
      time_attention(run, tell, length);
  }
  require(differing == 0, "ERR_INTERNAL", differing, " products differ from the sums in double");
}

}  // namespace rubricate::bench
