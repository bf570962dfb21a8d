// Who multiplies on a device: our own kernels, which always work, or cuBLASLt, where the machine has it. The choice
// follows from a product's sizes, strides, dtypes and alignment, from the device, and from RUBRICATE_MATMUL, and from
// nothing else: the same program on the same machine with the same library gives the same bits.
//
// cuBLASLt takes products that are large enough to be worth it (kFewRows, kLeastSize) and of the form that its fast
// kernels want: bf16 by bf16 into bf16 or f32 on tensor cores (compute capability 8.0 or later), or f32 by f32 into f32
// without TF32; addresses and rows at multiples of 16 bytes; no bias, which cuBLASLt does not add in fp32 to a bf16
// result. The sum over k is not split, so no order of blocks shows in it. It is not the sum of our own kernels, though,
// and its algorithm depends on the number of rows: with cuBLASLt a row's last bits depend on how many rows go with it.
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

// RUBRICATE_MATMUL: auto (where it is not set), own, or cublaslt. cublaslt takes all that cuBLASLt can do, small or
// not.
enum class MatmulSetting { automatic = 0, own = 1, cublaslt = 2 };
inline constexpr std::array<Named<MatmulSetting>, 3> kMatmulSettingNames{
    {{MatmulSetting::automatic, "auto"}, {MatmulSetting::own, "own"}, {MatmulSetting::cublaslt, "cublaslt"}}};
// Throws ERR_ARGUMENT where RUBRICATE_MATMUL has another value.
MatmulSetting matmul_setting();
constexpr const char* matmul_setting_name(MatmulSetting setting) { return name_of(kMatmulSettingNames, setting); }
// For tests and workbenches. Not safe while other threads compute.
void force_matmul_setting(MatmulSetting setting);

// Rows up to which our own kernels are the better ones: as in decoding, reading the weight is all the work there is.
constexpr int64_t kFewRows = 64;
// Of n and k; what is smaller is done before cuBLASLt has been called.
constexpr int64_t kLeastSize = 64;

// What a product of these arguments is to be done with where cuBLASLt is there.
MatmulProvider choose_matmul(const MatmulArgs& args, MatmulSetting setting, int32_t capability);

// Products of a kind that a device has done: sizes, with the number of rows (k where it is summed over, as for the
// gradient of a weight) rounded up to a power of 2; and who did them.
struct ProductClass {
  int64_t m = 0, n = 0, k = 0;
  DType a = DType::f32, b = DType::f32, c = DType::f32;
  bool a_transposed = false, b_transposed = false, accumulate = false;
  MatmulProvider provider = MatmulProvider::own;
  bool refused = false;  // cuBLASLt was asked for an algorithm and gave none
  auto operator<=>(const ProductClass&) const = default;
};
struct ProductRecord {
  ProductClass product;
  int64_t count = 0;
  std::string why;  // what cuBLASLt answered, where it refused
};

// What one device has of cuBLASLt, what was chosen there, and what was done. Thread-safe. One for each device of the
// process, which stays until the process ends: a choice, once made, is the choice for as long as that.
class MatmulPlans {
 public:
  static MatmulPlans& of(const Device& device);

  // What there is of cuBLASLt; version 0 where it is not used, and then `why` is a sentence. `stream` is one of the
  // device, here and below. The library is opened at the first call, unless RUBRICATE_MATMUL is own.
  CublasltArgs::Found cublaslt(Stream& stream);
  // Throws ERR_ARGUMENT where RUBRICATE_MATMUL is cublaslt and it cannot be used here.
  void require_setting(Stream& stream);

  // The product with its provider, and cuBLASLt's algorithm where that is the one; it counts as done. Throws what
  // require_setting does.
  MatmulArgs planned(Stream& stream, MatmulArgs args);
  std::vector<ProductRecord> records() const;

 private:
  MatmulPlans() = default;
  // Sizes, strides, dtypes and layout: all that cuBLASLt chooses by.
  using Shape = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int32_t>;
  struct Done {
    int64_t count = 0;
    std::string why;
  };
  // Under the lock.
  const CublasltArgs::Found& opened(Stream& stream);
  const MatmulPlanArgs::Found& algorithm(Stream& stream, const MatmulArgs& args);

  mutable Mutex lock_;
  std::optional<CublasltArgs::Found> opened_;
  std::map<Shape, MatmulPlanArgs::Found> algorithms_;
  std::map<ProductClass, Done> done_;
};

// "13.1.1"
std::string cublaslt_version_text(int32_t version);
// The setting and what came of it, as checkpoints have it: "own kernels", "cuBLASLt 13.1.1, auto".
std::string matmul_text(MatmulSetting setting, int32_t cublaslt_version);

}  // namespace rubricate
