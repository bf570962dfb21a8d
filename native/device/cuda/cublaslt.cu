#include "device/cuda/cublaslt.h"

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/mutex.h"

namespace rubricate::cuda::lt {
namespace {

constexpr int32_t kOldest = 120000, kTooNew = 140000;
constexpr int32_t kMostDevices = 64;

// The real library cannot access an emulated device's memory: with the emulation, only a library that was named is
// opened.
#if defined(RUBRICATE_EMULATED)
constexpr const char* kUsualNames[] = {nullptr};
#else
constexpr const char* kUsualNames[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                       "/usr/local/cuda/lib64/libcublasLt.so.13",
                                       "/usr/local/cuda/lib64/libcublasLt.so.12", nullptr};
#endif

// Sets a function's address, or to null, and `why`.
template <typename Function>
bool find(void* file, const char* name, Function* function, Library* library) {
  char full[64];
  std::snprintf(full, sizeof full, "cublasLt%s", name);
  *function = reinterpret_cast<Function>(dlsym(file, full));
  if (*function != nullptr) return true;
  if (library->why[0] == '\0') std::snprintf(library->why, sizeof library->why, "it has no %s", full);
  return false;
}

// Whether all functions exist and the version is one whose declarations are known.
bool usable(void* file, Library* library) {
#define RUBRICATE_FIND(name) find(file, #name, &library->api.name, library)
  const bool found = RUBRICATE_FIND(GetVersion) && RUBRICATE_FIND(GetStatusName) && RUBRICATE_FIND(Create) &&
                     RUBRICATE_FIND(MatmulDescCreate) && RUBRICATE_FIND(MatmulDescDestroy) &&
                     RUBRICATE_FIND(MatmulDescSetAttribute) && RUBRICATE_FIND(MatrixLayoutCreate) &&
                     RUBRICATE_FIND(MatrixLayoutDestroy) && RUBRICATE_FIND(MatmulPreferenceCreate) &&
                     RUBRICATE_FIND(MatmulPreferenceDestroy) && RUBRICATE_FIND(MatmulPreferenceSetAttribute) &&
                     RUBRICATE_FIND(MatmulAlgoGetHeuristic) && RUBRICATE_FIND(Matmul);
#undef RUBRICATE_FIND
  if (!found) return false;
  const auto version = static_cast<int32_t>(library->api.GetVersion());
  if (version >= kOldest && version < kTooNew) {
    library->version = version;
    return true;
  }
  std::snprintf(library->why, sizeof library->why, "its version is %d.%d.%d, but 12 or 13 is needed", version / 10000,
                version % 10000 / 100, version % 100);
  return false;
}

Library open_file(const char* name) {
  Library library;
  void* const file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (file == nullptr) {
    const char* const reason = dlerror();
    std::snprintf(library.why, sizeof library.why, "cuBLASLt cannot be opened: %s",
                  reason != nullptr ? reason : "unknown reason");
    return library;
  }
  if (usable(file, &library)) return library;
  char reason[sizeof library.why];
  std::memcpy(reason, library.why, sizeof reason);
  std::snprintf(library.why, sizeof library.why, "cuBLASLt in %.200s cannot be used: %.150s", name, reason);
  dlclose(file);
  return library;
}

}  // namespace

Library open(const char* choice) {
  Library library;
  if (choice != nullptr && std::strcmp(choice, "none") == 0) {
    std::snprintf(library.why, sizeof library.why, "RUBRICATE_CUBLASLT_LIBRARY is none");
    return library;
  }
  if (choice != nullptr && *choice != '\0') return open_file(choice);
  std::snprintf(library.why, sizeof library.why, "no libcublasLt.so.13 or libcublasLt.so.12 was found");
  for (const char* const* name = kUsualNames; *name != nullptr; ++name) {
    const Library found = open_file(*name);
    if (found.version > 0) return found;
    // A library that exists but cannot be used is a better reason than missing ones.
    if (std::strstr(found.why, "cannot be used") != nullptr) library = found;
  }
  return library;
}

const Library& library() {
  static const Library opened = open(std::getenv("RUBRICATE_CUBLASLT_LIBRARY"));
  return opened;
}

Handle handle(int32_t device, char* why, size_t why_bytes) {
  static Mutex lock;
  static Handle handles[kMostDevices];
  static Status failures[kMostDevices];
  const Library& used = library();
  if (used.version == 0 || device < 0 || device >= kMostDevices) {
    std::snprintf(why, why_bytes, "%s", used.version == 0 ? used.why : "cuBLASLt is used on 64 devices at most");
    return nullptr;
  }
  const std::lock_guard guard(lock);
  if (handles[device] == nullptr && failures[device] == kSuccess) failures[device] = used.api.Create(&handles[device]);
  if (failures[device] == kSuccess) return handles[device];
  handles[device] = nullptr;
  std::snprintf(why, why_bytes, "cublasLtCreate gave %s", used.api.GetStatusName(failures[device]));
  return nullptr;
}

}  // namespace rubricate::cuda::lt
