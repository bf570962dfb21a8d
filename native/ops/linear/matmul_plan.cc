#include "ops/linear/matmul_plan.h"

#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>

#include "base/error.h"

namespace rubricate {
namespace {

MatmulSetting chosen_setting() {
  const char* const name = std::getenv("RUBRICATE_MATMUL");
  if (name == nullptr || *name == '\0') return MatmulSetting::automatic;
  if (const auto setting = value_of(kMatmulSettingNames, name)) return *setting;
  fail("ERR_ARGUMENT", "Expected auto, own or cublaslt for RUBRICATE_MATMUL but received ", name);
}

std::atomic<MatmulSetting>& current_setting() {
  static std::atomic<MatmulSetting> setting{chosen_setting()};
  return setting;
}

// A matrix whose rows cuBLASLt's kernels can read 16 bytes at a time.
bool aligned(const void* data, int64_t stride, DType dtype) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride * dtype_size(dtype) % 16 == 0;
}

// Matmuls that cuBLASLt can run with the rounding that this project requires.
bool possible(const MatmulArgs& args, int32_t capability) {
  constexpr int64_t most = INT32_MAX;
  const bool halves = args.a_dtype == DType::bf16 && args.b_dtype == DType::bf16 && capability >= 80;
  const bool floats = args.a_dtype == DType::f32 && args.b_dtype == DType::f32 && args.c_dtype == DType::f32;
  return (halves || floats) && !(args.a_transposed && args.b_transposed) && args.bias == nullptr &&
         aligned(args.a, args.a_stride, args.a_dtype) && aligned(args.b, args.b_stride, args.b_dtype) &&
         aligned(args.c, args.c_stride, args.c_dtype) && args.m > 0 && args.n > 0 && args.k > 0 && args.m <= most &&
         args.n <= most && args.k <= most;
}

MatmulClass class_of(const MatmulArgs& args) {
  MatmulClass product{args.m,
                      args.n,
                      args.k,
                      args.a_dtype,
                      args.b_dtype,
                      args.c_dtype,
                      args.a_transposed,
                      args.b_transposed,
                      args.accumulate,
                      args.provider};
  int64_t& rows = args.a_transposed ? product.k : product.m;
  rows = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows)));
  return product;
}

}  // namespace

MatmulSetting matmul_setting() { return current_setting().load(std::memory_order_relaxed); }

void force_matmul_setting(MatmulSetting setting) { current_setting().store(setting, std::memory_order_relaxed); }

MatmulProvider choose_matmul(const MatmulArgs& args, MatmulSetting setting, int32_t capability) {
  if (setting == MatmulSetting::own || !possible(args, capability)) return MatmulProvider::own;
  const bool large = args.m > kFewRows && args.n >= kLeastSize && args.k >= kLeastSize;
  return large || setting == MatmulSetting::cublaslt ? MatmulProvider::cublaslt : MatmulProvider::own;
}

MatmulPlans& MatmulPlans::of(const Device& device) {
  static Mutex lock;
  static auto& all = *new std::map<int32_t, MatmulPlans*>();  // like devices, never destroyed
  const std::lock_guard guard(lock);
  MatmulPlans*& plans = all[device.index()];
  if (plans == nullptr) plans = new MatmulPlans();
  return *plans;
}

const CublasltArgs::Found& MatmulPlans::opened(Stream& stream) {
  if (!opened_) {
    CublasltArgs::Found found;
    stream.run("cublaslt/1", CublasltArgs{.found = &found});
    opened_ = found;
  }
  return *opened_;
}

CublasltArgs::Found MatmulPlans::cublaslt(Stream& stream) {
  if (matmul_setting() == MatmulSetting::own) return {0, "RUBRICATE_MATMUL is own"};
  const std::lock_guard guard(lock_);
  return opened(stream);
}

void MatmulPlans::require_setting(Stream& stream) {
  if (matmul_setting() != MatmulSetting::cublaslt) return;
  const CublasltArgs::Found found = cublaslt(stream);
  require(found.version > 0, "ERR_ARGUMENT", "Expected RUBRICATE_MATMUL=cublaslt only where cuBLASLt can be used on ",
          stream.device().name(), " but it cannot: ", found.why);
}

const MatmulPlanArgs::Found& MatmulPlans::algorithm(Stream& stream, const MatmulArgs& args) {
  const auto bits = static_cast<int32_t>(args.a_dtype) | static_cast<int32_t>(args.c_dtype) << 4 |
                    args.a_transposed << 8 | args.b_transposed << 9 | args.accumulate << 10;
  const Shape shape{args.m, args.n, args.k, args.a_stride, args.b_stride, args.c_stride, bits};
  const auto known = algorithms_.find(shape);
  if (known != algorithms_.end()) return known->second;
  MatmulPlanArgs::Found found;
  stream.run("matmul_plan/1", MatmulPlanArgs{.product = args, .found = &found});
  return algorithms_.emplace(shape, found).first->second;
}

MatmulArgs MatmulPlans::planned(Stream& stream, MatmulArgs args) {
  require_setting(stream);
  const std::lock_guard guard(lock_);
  args.provider = choose_matmul(args, matmul_setting(), stream.device().info().capability);
  if (args.provider == MatmulProvider::cublaslt && opened(stream).version == 0) args.provider = MatmulProvider::own;
  const MatmulPlanArgs::Found* answer = nullptr;
  if (args.provider == MatmulProvider::cublaslt) {
    answer = &algorithm(stream, args);
    args.algorithm = answer->algorithm;
    if (!answer->there) args.provider = MatmulProvider::own;
  }
  MatmulClass product = class_of(args);
  product.refused = answer != nullptr && !answer->there;
  Done& done = done_[product];
  ++done.count;
  if (product.refused) done.why = answer->why;
  return args;
}

std::vector<MatmulRecord> MatmulPlans::records() const {
  const std::lock_guard guard(lock_);
  std::vector<MatmulRecord> all;
  for (const auto& [product, done] : done_) all.push_back({product, done.count, done.why});
  return all;
}

std::string cublaslt_version_text(int32_t version) {
  return concat(version / 10000, ".", version % 10000 / 100, ".", version % 100);
}

std::string matmul_text(MatmulSetting setting, int32_t cublaslt_version) {
  if (cublaslt_version == 0)
    return setting == MatmulSetting::cublaslt ? "cuBLASLt, which cannot be used" : "own kernels";
  return concat("cuBLASLt ", cublaslt_version_text(cublaslt_version), ", ", matmul_setting_name(setting));
}

}  // namespace rubricate
