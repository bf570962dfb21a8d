#include "files/shared_safetensors.h"

#include <sys/stat.h>

#include <map>
#include <mutex>
#include <tuple>

#include "base/mutex.h"

namespace rubricate {
namespace {

using Key = std::tuple<uint64_t, uint64_t, int64_t, int64_t, int64_t>;

bool read_key(const std::string& path, Key& key) {
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0) return false;
#if defined(__APPLE__)
  const timespec modified = status.st_mtimespec;
#else
  const timespec modified = status.st_mtim;
#endif
  key = {static_cast<uint64_t>(status.st_dev), static_cast<uint64_t>(status.st_ino),
         static_cast<int64_t>(status.st_size), static_cast<int64_t>(modified.tv_sec),
         static_cast<int64_t>(modified.tv_nsec)};
  return true;
}

struct Registry {
  Mutex mutex;
  std::map<Key, std::weak_ptr<const SafetensorsFile>> files;
};

Registry& registry() {
  static Registry* const all = new Registry;  // never destroyed: at exit a native thread may still open a file
  return *all;
}

}  // namespace

std::shared_ptr<const SafetensorsFile> open_shared_safetensors(const std::string& path) {
  Key before, after;
  const bool known = read_key(path, before);
  Registry& all = registry();
  if (known) {
    const std::lock_guard lock(all.mutex);
    const auto found = all.files.find(before);
    if (found != all.files.end())
      if (auto file = found->second.lock()) return file;
  }
  auto file = SafetensorsFile::open(path);
  if (known && read_key(path, after) && before == after) {  // what was opened is what was looked at
    const std::lock_guard lock(all.mutex);
    for (auto entry = all.files.begin(); entry != all.files.end();)
      entry = entry->second.expired() ? all.files.erase(entry) : std::next(entry);
    all.files[before] = file;
  }
  return file;
}

}  // namespace rubricate
