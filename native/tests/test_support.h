// Helpers for the tests of ops: random tensors, references in double, the precision rule, loops over settings.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "base/random.h"
#include "device/cpu/cpu_path.h"
#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "doctest/doctest.h"
#include "ops/shared/rows.h"
#include "tensor/tensor.h"

namespace rubricate::testing {

using Doubles = std::vector<double>;

// The dtypes that tests of matmuls loop over: of A or x, of B or W, and of the result.
struct ProductDtypes {
  DType a, b, c;
};
inline constexpr ProductDtypes kProductDtypes[] = {
    {DType::f32, DType::f32, DType::f32},   {DType::bf16, DType::bf16, DType::bf16},
    {DType::f32, DType::bf16, DType::f32},  {DType::bf16, DType::f32, DType::bf16},
    {DType::bf16, DType::bf16, DType::f32}, {DType::f32, DType::f16, DType::f32},
    {DType::bf16, DType::f16, DType::bf16}};

// Sets the pool's size for a scope.
class PoolSize {
 public:
  explicit PoolSize(int threads) : before_(ThreadPool::instance().size()) { ThreadPool::instance().resize(threads); }
  ~PoolSize() { ThreadPool::instance().resize(before_); }
  PoolSize(const PoolSize&) = delete;
  PoolSize& operator=(const PoolSize&) = delete;

 private:
  int before_;
};

// Whether the largest tests take a few of their cases (RUBRICATE_TEST_FEW): for builds that are 20 to 100 times slower.
inline bool few_cases() { return std::getenv("RUBRICATE_TEST_FEW") != nullptr; }

// The instruction sets to test: all that are supported here, or those of them that RUBRICATE_TEST_PATHS names, as in
// avx512,avx512_bf16.
inline std::vector<CpuPath> tested_cpu_paths() {
  std::vector<CpuPath> paths = supported_cpu_paths();
  const char* const given = std::getenv("RUBRICATE_TEST_PATHS");
  if (given == nullptr) return paths;
  const std::string names = concat(",", given, ",");
  std::erase_if(paths, [&](CpuPath path) { return names.find(concat(",", cpu_path_name(path), ",")) == names.npos; });
  REQUIRE_MESSAGE(!paths.empty(), "RUBRICATE_TEST_PATHS names no path that this processor supports: " << given);
  return paths;
}

// Runs on one instruction set for a scope.
class PathScope {
 public:
  explicit PathScope(CpuPath path) : before_(cpu_path()) { force_cpu_path(path); }
  ~PathScope() { force_cpu_path(before_); }
  PathScope(const PathScope&) = delete;
  PathScope& operator=(const PathScope&) = delete;

 private:
  CpuPath before_;
};

// Calls body() on every supported instruction set, with the path's name in the messages.
template <typename Body>
void on_every_path(Body&& body) {
  for (const CpuPath path : tested_cpu_paths()) {
    const PathScope scope(path);
    const std::string name = cpu_path_name(path);
    CAPTURE(name);
    body();
  }
}

// Calls body() on every supported instruction set and with pools of 1, 2 and 3 threads.
template <typename Body>
void on_every_setting(Body&& body) {
  on_every_path([&] {
    for (const int threads : {1, 2, 3}) {
      const PoolSize size(threads);
      CAPTURE(threads);
      body();
    }
  });
}

inline std::shared_ptr<Arena> test_arena() { return std::make_shared<Arena>(); }

// The stream of the device that tests run on in addition to the CPU: cuda:0 if RUBRICATE_CUDA_LIBRARY names a plug-in,
// else null.
inline const std::shared_ptr<Stream>& test_stream() {
  static const std::shared_ptr<Stream> stream =
      std::getenv("RUBRICATE_CUDA_LIBRARY") != nullptr ? std::make_shared<Stream>(Device::cuda(0)) : nullptr;
  return stream;
}

// The devices that an op's tests run on: null for the CPU, and the test stream if there is one.
inline std::vector<std::shared_ptr<Stream>> devices() {
  std::vector<std::shared_ptr<Stream>> all{nullptr};
  if (test_stream()) all.push_back(test_stream());
  return all;
}

// The current device of a test's ops: see on_every_device.
inline std::shared_ptr<Stream>& present_device() {
  static std::shared_ptr<Stream> stream;
  return stream;
}

// An arena of the test's current device, for the tape.
inline std::shared_ptr<Arena> device_arena() { return std::make_shared<Arena>(present_device()); }

// For an op's inputs: the tensor itself if the test currently runs on the CPU, else a device copy.
inline Tensor placed(const Tensor& tensor) {
  return tensor.defined() && present_device() ? tensor.copied_to(device_arena()) : tensor;
}

// For an op's results: the tensor itself if it is on the CPU, else a copy on the CPU.
inline Tensor fetched(const Tensor& tensor) {
  return tensor.stream() != nullptr ? tensor.copied_to(test_arena()) : tensor;
}

// Calls body() with every setting of the CPU, then on each further device. The body makes its tapes with device_arena()
// and its inputs with placed(); to_doubles, same_bits and copy_rows take tensors on any device.
template <typename Body>
void on_every_device(Body&& body) {
  on_every_setting(body);
  for (const std::shared_ptr<Stream>& stream : devices()) {
    if (!stream) continue;
    const std::string device = stream->device().name();
    CAPTURE(device);
    struct Scope {
      explicit Scope(const std::shared_ptr<Stream>& stream) { present_device() = stream; }
      ~Scope() { present_device() = nullptr; }
    } const scope(stream);
    body();
  }
}

// Calls body() on the test's device with threads and blocks in 20 orders if the device is emulated (once on a real one,
// not at all without a device). It returns a vector of tensors, whose bits must be the same each time.
template <typename Body>
void on_every_order(Body&& body);

// Of a tensor in CPU memory.
inline double element(const Tensor& tensor, int64_t i) {
  switch (tensor.dtype()) {
    case DType::f32:
      return static_cast<double>(tensor.data<float>()[i]);
    case DType::bf16:
      return static_cast<double>(to_float(tensor.data<bf16>()[i]));
    case DType::f16:
      return static_cast<double>(to_float(tensor.data<f16>()[i]));
    default:
      return tensor.data<int32_t>()[i];
  }
}

inline Doubles to_doubles(const Tensor& tensor) {
  const Tensor here = fetched(tensor);
  Doubles out(static_cast<size_t>(here.count()));
  for (int64_t i = 0; i < here.count(); ++i) out[static_cast<size_t>(i)] = element(here, i);
  return out;
}

// Rounds each value once to float32, then to `dtype`.
inline Tensor from_doubles(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype, const Doubles& values) {
  Tensor tensor = Tensor::empty(arena, std::move(shape), dtype);
  REQUIRE(tensor.count() == static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    const float x = static_cast<float>(values[i]);
    if (dtype == DType::f32) tensor.data<float>()[i] = x;
    if (dtype == DType::bf16) tensor.data<bf16>()[i] = from_float<bf16>(x);
    if (dtype == DType::f16) tensor.data<f16>()[i] = from_float<f16>(x);
  }
  return tensor;
}

// Uniform in [low, high), the same for the same seed on every machine.
inline Tensor random_tensor(const std::shared_ptr<Arena>& arena, Shape shape, DType dtype, uint64_t seed,
                            double low = -1.0, double high = 1.0) {
  Doubles values(static_cast<size_t>(element_count(shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = low + (high - low) * philox_uniform(seed, 0, i);
  return from_doubles(arena, std::move(shape), dtype, values);
}

// Rows [begin, end) of a matrix, copied.
inline Tensor copy_rows(const std::shared_ptr<Arena>& arena, const Tensor& matrix, int64_t begin, int64_t end) {
  const Tensor here = fetched(matrix);
  const int64_t bytes = here.cols() * dtype_size(here.dtype());
  return Tensor::from_host(arena, {end - begin, here.cols()}, here.dtype(),
                           static_cast<const char*>(here.raw()) + begin * bytes);
}

inline bool same_bits(const Tensor& first, const Tensor& second) {
  if (!first.defined() || !second.defined()) return false;
  const Tensor a = fetched(first), b = fetched(second);
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.count() == 0 || std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0);
}

template <typename Body>
void on_every_order(Body&& body) {
  if (!test_stream()) return;
  present_device() = test_stream();
  const std::vector<Tensor> expected = body();
  const char* const chosen = std::getenv("RUBRICATE_EMULATION_SEED");
  const std::string before = chosen != nullptr ? chosen : "";
  for (int seed = 1; seed <= 20 && test_stream()->device().emulated(); ++seed) {
    CAPTURE(seed);
    setenv("RUBRICATE_EMULATION_SEED", std::to_string(seed).c_str(), 1);
    const std::vector<Tensor> again = body();
    if (before.empty())
      unsetenv("RUBRICATE_EMULATION_SEED");
    else
      setenv("RUBRICATE_EMULATION_SEED", before.c_str(), 1);
    REQUIRE(again.size() == expected.size());
    for (size_t i = 0; i < again.size(); ++i)
      CHECK((same_bits(again[i], expected[i]) || (!again[i].defined() && !expected[i].defined())));
  }
  present_device() = nullptr;
}

inline double unit_roundoff(DType dtype) {
  return dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0x1p-24;
}

inline double max_error(const Doubles& got, const Doubles& expected) {
  REQUIRE(got.size() == expected.size());
  double worst = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(got[i] - expected[i]);
    worst = error > worst || std::isnan(error) ? error : worst;
  }
  return worst;
}

// The precision rule: every element is within twice the largest error of `naive` (the plain computation in the same
// precision) plus one rounding to `got`'s dtype.
inline void check_precision(const Tensor& got, const Doubles& expected, const Doubles& naive) {
  const double allowed = 2.0 * max_error(naive, expected);
  const Doubles values = to_doubles(got);
  REQUIRE(values.size() == expected.size());
  double excess = 0.0;
  size_t where = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double over =
        std::fabs(values[i] - expected[i]) - allowed - unit_roundoff(got.dtype()) * std::fabs(expected[i]);
    if (over > excess || std::isnan(over)) {
      excess = std::isnan(over) ? INFINITY : over;
      where = i;
    }
  }
  CAPTURE(where);
  CAPTURE(allowed);
  CHECK(excess <= 0x1p-140);  // tolerance only for subnormals
}

// Every element within absolute + relative * |expected|.
inline void check_close(const Doubles& got, const Doubles& expected, double relative, double absolute) {
  REQUIRE(got.size() == expected.size());
  double worst = 0.0;
  size_t where = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double ratio = std::fabs(got[i] - expected[i]) / (absolute + relative * std::fabs(expected[i]));
    if (!(ratio <= worst)) {
      worst = std::isnan(ratio) ? INFINITY : ratio;
      where = i;
    }
  }
  CAPTURE(where);
  CHECK(worst <= 1.0);
}

// Central differences in double of a scalar function: error about 1e-9 for values and slopes near 1.
inline Doubles numeric_gradient(const std::function<double(const Doubles&)>& f, Doubles x, double step = 1e-5) {
  Doubles gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double here = x[i];
    x[i] = here + step;
    const double above = f(x);
    x[i] = here - step;
    gradient[i] = (above - f(x)) / (2.0 * step);
    x[i] = here;
  }
  return gradient;
}

// A leaf for tests: a value of any dtype whose gradient (of that dtype) the test reads after backward.
inline Var leaf(Tensor value) {
  auto slot = std::make_shared<GradSlot>();
  slot->dtype = value.dtype();
  slot->shape = value.shape();
  return {std::move(value), std::move(slot)};
}

// Sequences of given lengths and adapter slots, concatenated.
struct TestRows {
  explicit TestRows(const std::vector<std::pair<int32_t, int32_t>>& length_and_slot) {
    for (const auto& [length, slot] : length_and_slot) {
      starts.push_back(starts.back() + length);
      slots.push_back(slot);
    }
  }
  SequenceRows view() const { return {starts.back(), static_cast<int64_t>(slots.size()), starts.data(), slots.data()}; }
  std::vector<int32_t> starts{0}, slots;
};

// The code and the message of the rubricate::Error that body() throws, or empty strings if it throws none.
template <typename Body>
std::pair<std::string, std::string> thrown(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The code of the rubricate::Error that body() throws, or "" if it throws none.
template <typename Body>
std::string error_code(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

}  // namespace rubricate::testing
