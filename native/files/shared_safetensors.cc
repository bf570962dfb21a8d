#include "files/shared_safetensors.h"

#include <map>
#include <mutex>

#include "base/mutex.h"
#include "files/file_stamp.h"

namespace rubricate {
namespace {

struct Registry {
  Mutex mutex;
  std::map<FileStamp, std::weak_ptr<const SafetensorsFile>> files;
};

Registry& registry() {
  static Registry* const all = new Registry;  // never destroyed: a native thread may open a file during exit
  return *all;
}

}  // namespace

std::shared_ptr<const SafetensorsFile> open_shared_safetensors(const std::string& path) {
  const std::optional<FileStamp> before = stamp_of(path);
  Registry& all = registry();
  if (before) {
    const std::lock_guard lock(all.mutex);
    const auto found = all.files.find(*before);
    if (found != all.files.end())
      // If a damaged file is restored with its old time, the stamp matches again, but the mapping is still damaged.
      if (auto file = found->second.lock(); file && !file->file()->damaged()) return file;
  }
  auto file = SafetensorsFile::open(path);
  if (before && stamp_of(path) == before) {  // the opened file is the one that was checked
    const std::lock_guard lock(all.mutex);
    for (auto entry = all.files.begin(); entry != all.files.end();)
      entry = entry->second.expired() ? all.files.erase(entry) : std::next(entry);
    all.files[*before] = file;
  }
  return file;
}

}  // namespace rubricate
