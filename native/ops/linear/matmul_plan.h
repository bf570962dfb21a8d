// Which library runs a matmul on a device: our own kernels, which always work, or cuBLASLt, if it is installed. The
// choice depends only on the matmul's sizes, strides, dtypes and alignment, the device, and RUBRICATE_MATMUL: the same
// program on the same machine with the same library gives the same bits.
//
// cuBLASLt gets matmuls that are large enough to be worth it (kFewRows, kLeastSize) and that its fast kernels support:
// bf16 by bf16 into bf16 or f32 on tensor cores (compute capability 8.0 or later), or f32 by f32 into f32 without TF32;
// addresses and rows at multiples of 16 bytes; no bias, which cuBLASLt does not add in fp32 to a bf16 result. The sum
// over k is not split, so its order does not depend on scheduling. But it differs from that of our own kernels, and the
// algorithm depends on the number of rows: with cuBLASLt the last bits of a row depend on how many other rows there
// are.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "base/mutex.h"
#include "base/named.h"
#include "device/stream.h"
#include "ops/linear/linear_kernels.h"

namespace rubricate {

// RUBRICATE_MATMUL: auto (the default), own, or cublaslt. cublaslt uses it for every matmul that it supports, of any
// size.
enum class MatmulSetting { automatic = 0, own = 1, cublaslt = 2 };
inline constexpr std::array<Named<MatmulSetting>, 3> kMatmulSettingNames{
    {{MatmulSetting::automatic, "auto"}, {MatmulSetting::own, "own"}, {MatmulSetting::cublaslt, "cublaslt"}}};
// Throws ERR_ARGUMENT if RUBRICATE_MATMUL has another value.
MatmulSetting matmul_setting();
constexpr const char* matmul_setting_name(MatmulSetting setting) { return name_of(kMatmulSettingNames, setting); }
// For tests and benchmarks. Not safe while other threads compute.
void force_matmul_setting(MatmulSetting setting);

// Up to this number of rows our own kernels are faster: as in decoding, reading the weight is all the work.
constexpr int64_t kFewRows = 64;
// Minimum of n and k: a smaller matmul is done before a call of cuBLASLt returns.
constexpr int64_t kLeastSize = 64;

// The provider of a matmul with these arguments if cuBLASLt is available.
MatmulProvider choose_matmul(const MatmulArgs& args, MatmulSetting setting, int32_t capability);

// Matmuls of one kind that a device has run: sizes, with the number of rows (or k, if it is summed over as for a
// weight's gradient) rounded up to a power of 2; and the library that ran them.
struct MatmulClass {
  int64_t m = 0, n = 0, k = 0;
  DType a = DType::f32, b = DType::f32, c = DType::f32;
  bool a_transposed = false, b_transposed = false, accumulate = false;
  MatmulProvider provider = MatmulProvider::own;
  bool refused = false;  // cuBLASLt was asked for an algorithm and had none
  auto operator<=>(const MatmulClass&) const = default;
};
struct MatmulRecord {
  MatmulClass product;
  int64_t count = 0;
  std::string why;  // cuBLASLt's answer if it had none
};

// One device's version of cuBLASLt, the algorithms chosen, and the matmuls run. Thread-safe. One for each device of the
// process, never destroyed: an algorithm, once chosen, is used as long as the process lives.
class MatmulPlans {
 public:
  static MatmulPlans& of(const Device& device);

  // The version of cuBLASLt; if it is 0, cuBLASLt is not used and `why` is the reason. `stream` is one of the device,
  // here and below. The library is opened by the first call, unless RUBRICATE_MATMUL is own.
  CublasltArgs::Found cublaslt(Stream& stream);
  // Throws ERR_ARGUMENT if RUBRICATE_MATMUL is cublaslt and it cannot be used here.
  void require_setting(Stream& stream);

  // The matmul with its provider, and cuBLASLt's algorithm if that is the provider. Counts it as run. Throws what
  // require_setting throws.
  MatmulArgs planned(Stream& stream, MatmulArgs args);
  std::vector<MatmulRecord> records() const;

 private:
  MatmulPlans() = default;
  // Sizes, strides, dtypes and layout: everything that cuBLASLt's choice depends on.
  using Shape = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int32_t>;
  struct Done {
    int64_t count = 0;
    std::string why;
  };
  // Call with the lock held.
  const CublasltArgs::Found& opened(Stream& stream);
  const MatmulPlanArgs::Found& algorithm(Stream& stream, const MatmulArgs& args);

  mutable Mutex lock_;
  std::optional<CublasltArgs::Found> opened_;
  std::map<Shape, MatmulPlanArgs::Found> algorithms_;
  std::map<MatmulClass, Done> done_;
};

// "13.1.1"
std::string cublaslt_version_text(int32_t version);
// The setting and its result, as checkpoints store it: "own kernels", "cuBLASLt 13.1.1, auto".
std::string matmul_text(MatmulSetting setting, int32_t cublaslt_version);

}  // namespace rubricate
