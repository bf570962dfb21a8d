// Matmuls by cuBLASLt, if the test's device has it. The emulated device has a fake
// (device/cuda/emulated/fake_cublaslt.cc), which refuses everything that breaks cuBLASLt's rules.
#include <cstdlib>

#include "ops/linear/linear.h"
#include "ops/linear/matmul_plan.h"
#include "tests/test_support.h"

using namespace rubricate;
using namespace rubricate::testing;

namespace {

class SettingScope {
 public:
  explicit SettingScope(MatmulSetting setting) : before_(matmul_setting()) { force_matmul_setting(setting); }
  ~SettingScope() { force_matmul_setting(before_); }
  SettingScope(const SettingScope&) = delete;
  SettingScope& operator=(const SettingScope&) = delete;

 private:
  MatmulSetting before_;
};

class FakeScope {  // makes calls of the fake library fail
 public:
  explicit FakeScope(const char* what) { setenv("RUBRICATE_EMULATION_CUBLASLT", what, 1); }
  ~FakeScope() { unsetenv("RUBRICATE_EMULATION_CUBLASLT"); }
  FakeScope(const FakeScope&) = delete;
  FakeScope& operator=(const FakeScope&) = delete;
};

class DeviceScope {
 public:
  DeviceScope() { present_device() = test_stream(); }
  ~DeviceScope() { present_device() = nullptr; }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
};

MatmulPlans& plans() { return MatmulPlans::of(test_stream()->device()); }

// Whether there is cuBLASLt; prints why not.
bool have_cublaslt() {
  if (!test_stream()) {
    MESSAGE("not tested: RUBRICATE_CUDA_LIBRARY names no plug-in");
    return false;
  }
  const SettingScope scope(MatmulSetting::automatic);
  const CublasltArgs::Found found = plans().cublaslt(*test_stream());
  if (found.version == 0) MESSAGE("not tested: " << found.why);
  return found.version > 0;
}
bool have_fake() {
  if (!have_cublaslt()) return false;
  if (!test_stream()->device().emulated()) MESSAGE("not tested: the device is not an emulated one");
  return test_stream()->device().emulated();
}

// Below compute capability 8.0 cuBLASLt is not used for bf16.
bool takes(DType dtype) { return dtype == DType::f32 || test_stream()->device().info().capability >= 80; }

int64_t done_by(MatmulProvider provider, bool refused = false) {
  int64_t count = 0;
  for (const MatmulRecord& record : plans().records())
    if (record.product.provider == provider && record.product.refused == refused) count += record.count;
  return count;
}

// The product in double, and as a plain loop in fp32; `start` is the initial value of C.
template <typename Left, typename Right>
void check_product(const Tensor& got, int64_t terms, Left&& left, Right&& right, double start = 0.0) {
  Doubles expected, naive;
  for (int64_t i = 0; i < got.dim(0); ++i)
    for (int64_t j = 0; j < got.dim(1); ++j) {
      double exact = start;
      float sum = static_cast<float>(start);
      for (int64_t k = 0; k < terms; ++k) {
        exact += left(i, k) * right(k, j);
        sum += static_cast<float>(left(i, k)) * static_cast<float>(right(k, j));
      }
      expected.push_back(exact);
      naive.push_back(static_cast<double>(sum));
    }
  check_precision(got, expected, naive);
}

struct Kind {
  DType in, out;
};
constexpr Kind kKinds[] = {{DType::f32, DType::f32}, {DType::bf16, DType::bf16}, {DType::bf16, DType::f32}};

// The results of linear, forward and backward; gradients are added to twice.
std::vector<Tensor> linear_both_ways(const Tensor& x, const Tensor& w, const Tensor& dy, DType out) {
  const Var input = Var::parameter(placed(x));
  Weight weight = Weight::of(placed(w));
  weight.gradient = Var::parameter(weight.storage).slot();
  std::vector<Tensor> results;
  for (int turn = 0; turn < 2; ++turn) {
    Tape tape(device_arena(), Tape::Mode::training);
    const Var y = linear(tape, input, weight, {}, out);
    tape.backward(y, placed(dy));
    results = {y.value()};
  }
  results.push_back(input.grad());
  results.push_back(weight.gradient->grad);
  return results;
}

// The product of contiguous matrices of these sizes, forward, on the test's device; in bf16 if the device supports it.
Tensor multiplied(int64_t m, int64_t n, int64_t k) {
  const auto here = test_arena();
  const DType dtype = takes(DType::bf16) ? DType::bf16 : DType::f32;
  const Tensor x = random_tensor(here, {m, k}, dtype, 1), w = random_tensor(here, {n, k}, dtype, 2);
  Tape tape(device_arena(), Tape::Mode::inference);
  return linear(tape, placed(x), Weight::of(placed(w)), {}, dtype).value();
}

}  // namespace

TEST_CASE("cuBLASLt multiplies in all three layouts, forward and backward, with the same bits each time") {
  if (!have_cublaslt()) return;
  const DeviceScope device;
  const SettingScope setting(MatmulSetting::cublaslt);
  const auto here = test_arena();
  struct Sizes {
    int64_t t, n, k;
  };
  for (const Kind& kind : kKinds)
    for (const auto& [t, n, k] : {Sizes{80, 72, 64}, Sizes{96, 64, 136}, Sizes{33, 128, 8}}) {
      if (!takes(kind.in)) continue;
      CAPTURE(dtype_name(kind.in));
      CAPTURE(dtype_name(kind.out));
      CAPTURE(t);
      const int64_t before = done_by(MatmulProvider::cublaslt);
      const Tensor x = random_tensor(here, {t, k}, kind.in, 1), w = random_tensor(here, {n, k}, kind.in, 2);
      const Tensor dy = random_tensor(here, {t, n}, kind.out, 3);
      const std::vector<Tensor> results = linear_both_ways(x, w, dy, kind.out);
      CHECK(done_by(MatmulProvider::cublaslt) == before + 6);
      // As the matmuls of the backward see it.
      const Tensor factor = from_doubles(here, {t, n}, kind.in, to_doubles(dy));
      const auto at = [](const Tensor& matrix) {
        return [&matrix](int64_t i, int64_t j) { return element(matrix, i * matrix.dim(1) + j); };
      };
      const auto transposed = [](const Tensor& matrix) {
        return [&matrix](int64_t i, int64_t j) { return element(matrix, j * matrix.dim(1) + i); };
      };
      check_product(results[0], k, at(x), transposed(w));
      // Twice: what is added to is the same again.
      check_product(
          results[2], 2 * t, [&, t = t](int64_t i, int64_t row) { return transposed(factor)(i, row % t); },
          [&, t = t](int64_t row, int64_t j) { return at(x)(row % t, j); });
      const std::vector<Tensor> again = linear_both_ways(x, w, dy, kind.out);
      for (size_t i = 0; i < results.size(); ++i) CHECK(same_bits(again[i], results[i]));
      Tape tape(device_arena(), Tape::Mode::training);
      const Var input = Var::parameter(placed(x));
      tape.backward(linear(tape, input, Weight::of(placed(w)), {}, kind.out), placed(dy));
      check_product(input.grad(), n, at(factor), at(w));
    }
}

TEST_CASE("cuBLASLt reads and writes rows with any stride and offset that is a multiple of 16 bytes") {
  if (!have_cublaslt()) return;
  const DeviceScope device;
  const SettingScope setting(MatmulSetting::cublaslt);
  const auto here = test_arena(), there = device_arena();
  const int64_t m = 72, n = 40, k = 24;
  for (const DType dtype : {DType::f32, DType::bf16})
    for (int at = 0; at < 6 && takes(dtype); ++at) {
      const int64_t layout = at % 3, gap = at < 3 ? 0 : 8;
      CAPTURE(dtype_name(dtype));
      CAPTURE(layout);
      CAPTURE(gap);
      MatmulArgs args;
      args.m = m, args.n = n, args.k = k;
      args.a_transposed = layout == 2, args.b_transposed = layout == 0, args.accumulate = layout == 2;
      args.a_dtype = args.b_dtype = dtype;
      args.c_dtype = args.accumulate ? DType::f32 : dtype;
      const int64_t a_cols = args.a_transposed ? m : k, b_cols = args.b_transposed ? k : n;
      args.a_stride = a_cols + gap, args.b_stride = b_cols + 2 * gap, args.c_stride = n + gap;
      // The matrices begin 16 bytes after the start of their memory.
      const int64_t first = 16 / dtype_size(dtype), first_c = 16 / dtype_size(args.c_dtype);
      const Tensor a = random_tensor(here, {(args.a_transposed ? k : m) + 1, args.a_stride}, dtype, 1);
      const Tensor b = random_tensor(here, {(args.b_transposed ? n : k) + 1, args.b_stride}, dtype, 2);
      const Tensor c0 = from_doubles(here, {m + 1, args.c_stride}, args.c_dtype,
                                     Doubles(static_cast<size_t>((m + 1) * args.c_stride), 0.5));
      const Tensor a_there = a.copied_to(there), b_there = b.copied_to(there), c_there = c0.copied_to(there);
      args.a = static_cast<const char*>(a_there.raw()) + 16;
      args.b = static_cast<const char*>(b_there.raw()) + 16;
      args.c = static_cast<char*>(c_there.raw()) + 16;
      const int64_t before = done_by(MatmulProvider::cublaslt);
      matmul(Tape(there, Tape::Mode::inference), args);
      CHECK(done_by(MatmulProvider::cublaslt) == before + 1);
      const Tensor c = fetched(c_there);
      Doubles inside, outside;
      for (int64_t i = 0; i < c.count(); ++i) {
        const int64_t place = i - first_c;
        const bool is_inside = place >= 0 && place < m * args.c_stride && place % args.c_stride < n;
        (is_inside ? inside : outside).push_back(element(c, i));
      }
      CHECK(outside == Doubles(static_cast<size_t>(c.count() - m * n), 0.5));
      const auto left = [&](int64_t i, int64_t x) {
        return element(a, first + (args.a_transposed ? x * args.a_stride + i : i * args.a_stride + x));
      };
      const auto right = [&](int64_t x, int64_t j) {
        return element(b, first + (args.b_transposed ? j * args.b_stride + x : x * args.b_stride + j));
      };
      check_product(from_doubles(here, {m, n}, args.c_dtype, inside), k, left, right, args.accumulate ? 0.5 : 0.0);
    }
}

TEST_CASE("with auto, cuBLASLt runs the large matmuls, our own kernels the rest") {
  if (!have_cublaslt()) return;
  const DeviceScope device;
  const SettingScope setting(MatmulSetting::automatic);
  const int64_t own = done_by(MatmulProvider::own), theirs = done_by(MatmulProvider::cublaslt);
  multiplied(kFewRows + 1, 64, 64);
  multiplied(kFewRows, 64, 64);
  multiplied(kFewRows + 1, 64, 65);  // rows that are not aligned
  CHECK(done_by(MatmulProvider::cublaslt) == theirs + 1);
  CHECK(done_by(MatmulProvider::own) == own + 2);
  const SettingScope alone(MatmulSetting::own);
  multiplied(kFewRows + 1, 64, 64);
  CHECK(done_by(MatmulProvider::own) == own + 3);
  CHECK(std::string(plans().cublaslt(*test_stream()).why) == "RUBRICATE_MATMUL is own");
}

TEST_CASE("matmuls are recorded by kind, with rows rounded up to a power of 2") {
  if (!have_cublaslt()) return;
  const DeviceScope device;
  const SettingScope setting(MatmulSetting::cublaslt);
  const auto count = [](int64_t rows) {
    for (const MatmulRecord& record : plans().records())
      if (record.product.m == rows && record.product.n == 88 && record.product.k == 40 && record.product.b_transposed)
        return record.count;
    return int64_t{0};
  };
  for (const int64_t rows : {65, 100, 128, 129}) multiplied(rows, 88, 40);
  CHECK(count(128) == 3);
  CHECK(count(256) == 1);
}

TEST_CASE("if cuBLASLt has no algorithm, our own kernels run the matmul from then on, and the record says so") {
  if (!have_fake()) return;
  const DeviceScope device;
  Tensor own, refused;
  {
    const SettingScope setting(MatmulSetting::own);
    own = multiplied(80, 104, 48);
  }
  const SettingScope setting(MatmulSetting::cublaslt);
  const int64_t theirs = done_by(MatmulProvider::cublaslt), before = done_by(MatmulProvider::own, true);
  {
    const FakeScope fake("no algorithm");
    refused = multiplied(80, 104, 48);
  }
  CHECK(same_bits(refused, own));
  CHECK(same_bits(multiplied(80, 104, 48), own));  // asked once
  CHECK(done_by(MatmulProvider::cublaslt) == theirs);
  CHECK(done_by(MatmulProvider::own, true) == before + 2);
  bool told = false;
  for (const MatmulRecord& record : plans().records())
    told = told || (record.product.refused && record.product.n == 104 &&
                    record.why == "cublasLtMatmulAlgoGetHeuristic gave CUBLAS_STATUS_NOT_SUPPORTED");
  CHECK(told);
}

TEST_CASE("a matmul that fails in cuBLASLt is an error") {
  if (!have_fake()) return;
  const DeviceScope device;
  const SettingScope setting(MatmulSetting::cublaslt);
  const FakeScope fake("no product");
  CHECK(error_code([] { multiplied(80, 112, 48); }) == "ERR_INTERNAL");
}
