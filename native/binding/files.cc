#include "binding/files.h"

#include <cstring>
#include <optional>

#include "base/integers.h"
#include "base/limits.h"
#include "binding/arguments.h"
#include "binding/environment.h"
#include "files/safetensors.h"

namespace rubricate::binding {
namespace {

constexpr size_t kLongestName = 256;  // of a tensor that the caller allows in addition to the model's own

struct Contents {
  struct Entry {
    std::string name, dtype;
    Shape shape;
    int64_t offset = 0, bytes = 0;  // in `data`
  };
  std::map<std::string, std::string> metadata;
  std::vector<Entry> tensors;
  // One buffer for all tensors: creating an ArrayBuffer for each would block the event loop for about 10 us each.
  std::optional<Buffer> data;
};

constexpr int64_t kAlignment = 8;  // of each tensor in the buffer, independent of its alignment in the file

Contents read(const std::string& path, const std::atomic<bool>& cancelled) {
  const auto file = SafetensorsFile::open(path);
  const auto count = static_cast<int64_t>(file->tensors().size());
  require(count <= limits::kMaxTensorsRead, "ERR_SAFETENSORS", "Expected at most ", limits::kMaxTensorsRead,
          " tensors but received ", count, " in ", path);
  Contents contents;
  contents.metadata = file->metadata();
  int64_t total = 0;
  for (const auto& [name, entry] : file->tensors()) {
    contents.tensors.push_back({name, entry.dtype, entry.shape, total, entry.bytes});
    total += round_up(entry.bytes, kAlignment);
  }
  contents.data.emplace(total);
  auto* const data = static_cast<char*>(contents.data->data());
  for (const Contents::Entry& to : contents.tensors) {
    require(!cancelled.load(), "ERR_ABORTED", "The operation was aborted");
    if (to.bytes == 0) continue;
    const char* from = file->file()->data() + file->tensors().at(to.name).offset;
    std::memcpy(data + to.offset, from, static_cast<size_t>(to.bytes));
  }
  file->file()->check_unchanged();
  return contents;
}

Napi::Value value_of(Napi::Env env, Contents& contents) {
  Napi::Object metadata = Napi::Object::New(env);
  for (const auto& [key, text] : contents.metadata) metadata.Set(key, text);
  const Napi::Object map = env.Global().Get("Map").As<Napi::Function>().New({});
  const Napi::Function set = map.Get("set").As<Napi::Function>();
  const Napi::ArrayBuffer data = contents.data->release(env);
  for (const Contents::Entry& entry : contents.tensors) {
    const Napi::HandleScope scope(env);
    Napi::Object tensor = Napi::Object::New(env);
    tensor.Set("dtype", entry.dtype);
    tensor.Set("shape", shape_value(env, entry.shape));
    tensor.Set("data",
               Napi::Uint8Array::New(env, static_cast<size_t>(entry.bytes), data, static_cast<size_t>(entry.offset)));
    set.Call(map, {Napi::String::New(env, entry.name), tensor});
  }
  Napi::Object value = Napi::Object::New(env);
  value.Set("metadata", metadata);
  value.Set("tensors", map);
  return value;
}

}  // namespace

namespace {

// A job on the thread that reads files.
template <typename Work>
Napi::Value file_job(const Napi::CallbackInfo& info, Work work) {
  return job_or_rejection(info.Env(), [&] {
    Environment& environment = Environment::of(info.Env());
    JobSpec spec;
    spec.queue = environment.files_queue();
    spec.work = [path = string_argument(info[0], "path"), work](const std::atomic<bool>& cancelled,
                                                                Progress&) -> Settle { return work(path, cancelled); };
    return Napi::Value(environment.jobs().start(std::move(spec)));
  });
}

}  // namespace

Napi::Value read_safetensors(const Napi::CallbackInfo& info) {
  return file_job(info, [](const std::string& path, const std::atomic<bool>& cancelled) -> Settle {
    auto contents = std::make_shared<Contents>(read(path, cancelled));
    return [contents](Napi::Env env) { return value_of(env, *contents); };
  });
}

// A header may hold 100,000 long names; only the requested ones become JavaScript strings.
Napi::Value read_safetensors_names(const Napi::CallbackInfo& info) {
  const auto exact = strings_argument(info[1], "exact");
  const auto suffix = string_argument(info[2], "suffix");
  return file_job(info, [exact, suffix](const std::string& path, const std::atomic<bool>&) -> Settle {
    const auto file = SafetensorsFile::open(path);
    auto names = std::make_shared<std::vector<std::string>>();
    for (const std::string& name : exact)
      if (file->tensors().count(name) != 0) names->push_back(name);
    int64_t left = limits::kMaxLayers;
    for (const auto& [name, entry] : file->tensors()) {
      const bool ends = name.size() >= suffix.size() && name.size() <= kLongestName &&
                        name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
      if (ends && left-- > 0) names->push_back(name);
    }
    return [names](Napi::Env env) {
      Napi::Array array = Napi::Array::New(env, names->size());
      for (uint32_t i = 0; i < names->size(); ++i) array.Set(i, (*names)[i]);
      return array;
    };
  });
}

}  // namespace rubricate::binding
