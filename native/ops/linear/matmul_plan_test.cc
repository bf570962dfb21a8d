#include "ops/linear/matmul_plan.h"

#include <functional>

#include "doctest/doctest.h"

using namespace rubricate;

namespace {

alignas(256) unsigned char storage[1024];

// A forward matmul that cuBLASLt supports, modified by `change`.
MatmulArgs product(const std::function<void(MatmulArgs&)>& change = {}) {
  MatmulArgs args;
  args.m = 512, args.n = 256, args.k = 128;
  args.a = storage, args.b = storage, args.c = storage;
  args.a_dtype = args.b_dtype = args.c_dtype = DType::bf16;
  args.a_stride = 128, args.b_stride = 128, args.c_stride = 256;
  args.b_transposed = true;
  if (change) change(args);
  return args;
}

struct Case {
  const char* what;
  std::function<void(MatmulArgs&)> change;
  bool automatic, forced;  // whether cuBLASLt runs it
};

void floats(MatmulArgs& args) { args.a_dtype = args.b_dtype = args.c_dtype = DType::f32; }

const Case kCases[] = {
    {"bf16", {}, true, true},
    {"bf16 into f32", [](MatmulArgs& args) { args.c_dtype = DType::f32; }, true, true},
    {"f32", floats, true, true},
    {"gradient of the input", [](MatmulArgs& args) { args.b_transposed = false, args.b_stride = 256; }, true, true},
    {"gradient of the weight",
     [](MatmulArgs& args) {
       args.a_transposed = true, args.a_stride = 512;
       args.b_transposed = false, args.b_stride = 256;
       args.c_dtype = DType::f32, args.accumulate = true;
     },
     true, true},
    {"rows with a stride above their columns", [](MatmulArgs& args) { args.a_stride = 136; }, true, true},
    {"65 rows", [](MatmulArgs& args) { args.m = kFewRows + 1; }, true, true},
    {"64 rows, as in decoding", [](MatmulArgs& args) { args.m = kFewRows; }, false, true},
    {"one row", [](MatmulArgs& args) { args.m = 1; }, false, true},
    {"few columns", [](MatmulArgs& args) { args.n = kLeastSize - 1; }, false, true},
    {"short sums", [](MatmulArgs& args) { args.k = kLeastSize - 1; }, false, true},
    {"no rows", [](MatmulArgs& args) { args.m = 0; }, false, false},
    {"empty sums", [](MatmulArgs& args) { args.k = 0; }, false, false},
    {"more rows than an int can hold", [](MatmulArgs& args) { args.m = int64_t{1} << 31; }, false, false},
    {"bf16 by f16", [](MatmulArgs& args) { args.b_dtype = DType::f16; }, false, false},
    {"f32 by bf16", [](MatmulArgs& args) { args.a_dtype = args.c_dtype = DType::f32; }, false, false},
    {"f32 into bf16", [](MatmulArgs& args) { floats(args), args.c_dtype = DType::bf16; }, false, false},
    {"a bias", [](MatmulArgs& args) { args.bias = reinterpret_cast<const float*>(storage); }, false, false},
    {"both transposed", [](MatmulArgs& args) { args.a_transposed = true, args.a_stride = 512; }, false, false},
    {"A at an odd address", [](MatmulArgs& args) { args.a = storage + 8; }, false, false},
    {"B at an odd address", [](MatmulArgs& args) { args.b = storage + 8; }, false, false},
    {"C at an odd address", [](MatmulArgs& args) { args.c = storage + 8; }, false, false},
    {"rows of A that are not aligned", [](MatmulArgs& args) { args.a_stride = 132; }, false, false},
    {"rows of B that are not aligned", [](MatmulArgs& args) { args.b_stride = 132; }, false, false},
    {"rows of C that are not aligned", [](MatmulArgs& args) { args.c_stride = 260; }, false, false},
};

}  // namespace

TEST_CASE("the provider of a matmul depends on the matmul, the setting and the device") {
  for (const Case& one : kCases) {
    CAPTURE(one.what);
    const MatmulArgs args = product(one.change);
    const auto provider = [](bool cublaslt) { return cublaslt ? MatmulProvider::cublaslt : MatmulProvider::own; };
    CHECK(choose_matmul(args, MatmulSetting::automatic, 90) == provider(one.automatic));
    CHECK(choose_matmul(args, MatmulSetting::cublaslt, 90) == provider(one.forced));
    CHECK(choose_matmul(args, MatmulSetting::own, 90) == MatmulProvider::own);
    const bool tensor_cores = args.a_dtype == DType::bf16;  // below 8.0 there are none for bf16
    CHECK(choose_matmul(args, MatmulSetting::cublaslt, 75) == provider(one.forced && !tensor_cores));
  }
}

TEST_CASE("versions and settings as text") {
  CHECK(cublaslt_version_text(130101) == "13.1.1");
  CHECK(cublaslt_version_text(120803) == "12.8.3");
  CHECK(matmul_text(MatmulSetting::automatic, 0) == "own kernels");
  CHECK(matmul_text(MatmulSetting::own, 0) == "own kernels");
  CHECK(matmul_text(MatmulSetting::cublaslt, 0) == "cuBLASLt, which cannot be used");
  CHECK(matmul_text(MatmulSetting::automatic, 130101) == "cuBLASLt 13.1.1, auto");
  CHECK(matmul_text(MatmulSetting::cublaslt, 120803) == "cuBLASLt 12.8.3, cublaslt");
}
