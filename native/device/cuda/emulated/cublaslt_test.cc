// Opening cuBLASLt: the errors for a library that is missing, broken, or of another version. (For matmuls with it see
// ops/linear/matmul_cublaslt_test.cc.)
#include "device/cuda/cublaslt.h"

#include <cstdlib>
#include <string>

#include "doctest/doctest.h"

using namespace rubricate::cuda;

namespace {

const std::string kFolder = RUBRICATE_NETS_FOLDER;

lt::Library open_version(const char* version) {
  setenv("RUBRICATE_EMULATION_CUBLASLT_VERSION", version, 1);
  const lt::Library library = lt::open((kFolder + "/libfake_cublaslt.so").c_str());
  unsetenv("RUBRICATE_EMULATION_CUBLASLT_VERSION");
  return library;
}

bool has(const lt::Library& library, const char* words) {
  return std::string(library.why).find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("cuBLASLt 12 and 13 are opened, others are not") {
  CHECK(open_version("130101").version == 130101);
  CHECK(std::string(open_version("130101").why).empty());
  CHECK(open_version("120000").version == 120000);
  const lt::Library old = open_version("110502"), later = open_version("140000");
  CHECK(old.version == 0);
  CHECK(has(old, "libfake_cublaslt.so cannot be used: its version is 11.5.2, but 12 or 13 is needed"));
  CHECK(later.version == 0);
  CHECK(has(later, "its version is 14.0.0"));
}

TEST_CASE("a library that lacks a function, a missing library, and none have different errors") {
  const lt::Library broken = lt::open((kFolder + "/libfake_cublaslt_without_matmul.so").c_str());
  CHECK(broken.version == 0);
  CHECK(has(broken, "it has no cublasLtMatmul"));
  const lt::Library missing = lt::open("/nowhere/libcublasLt.so.13");
  CHECK(missing.version == 0);
  CHECK(has(missing, "cuBLASLt cannot be opened: /nowhere/libcublasLt.so.13"));
  const lt::Library off = lt::open("none");
  CHECK(off.version == 0);
  CHECK(std::string(off.why) == "RUBRICATE_CUBLASLT_LIBRARY is none");
}

TEST_CASE("with an emulated device no library is opened that was not named") {
  for (const char* const choice : {static_cast<const char*>(nullptr), ""}) {
    const lt::Library found = lt::open(choice);
    CHECK(found.version == 0);
    CHECK(has(found, "no libcublasLt.so.13 or libcublasLt.so.12 was found"));
  }
}

TEST_CASE("a handle that cannot be created gives a message, also at the next call") {
  setenv("RUBRICATE_CUBLASLT_LIBRARY", (kFolder + "/libfake_cublaslt.so").c_str(), 1);
  setenv("RUBRICATE_EMULATION_CUBLASLT", "no handle", 1);
  char why[200] = {};
  CHECK(lt::handle(0, why, sizeof why) == nullptr);
  CHECK(std::string(why) == "cublasLtCreate gave CUBLAS_STATUS_NOT_INITIALIZED");
  unsetenv("RUBRICATE_EMULATION_CUBLASLT");
  CHECK(lt::handle(0, why, sizeof why) == nullptr);
  CHECK(lt::handle(1, why, sizeof why) != nullptr);
  CHECK(lt::handle(64, why, sizeof why) == nullptr);
}
