#include "binding/adapter.h"
#include "binding/model.h"

namespace rubricate::binding {
namespace {

constexpr int64_t kMaxOutputs = 1'000'000'000;  // far above what an architecture may have

struct LoadSpec {
  Architecture architecture;
  std::vector<std::string> files;
  std::map<std::string, StoredTensor> stored;  // "{}" in the names of both stands for the number of a layer
  std::string prefix;                          // prefix of the checkpoint's name for a tensor that is not in `stored`
  std::vector<std::string> ignored;
  bool has_compute = false;
  DType compute = DType::f32;
  int32_t device = -1;  // CUDA device index; -1: the CPU
};

StoredTensor stored_argument(const Napi::Object& at) {
  StoredTensor tensor{string_argument(at.Get("name"), "name")};
  const auto outputs = [&](const char* name) {
    const Napi::Value value = at.Get(name);
    return is_missing(value) ? 0 : integer_argument(value, name, 0, kMaxOutputs);
  };
  tensor.begin = outputs("begin");
  tensor.total = outputs("total");
  const Napi::Value transposed = at.Get("transposed");
  tensor.transposed = !is_missing(transposed) && boolean_argument(transposed, "transposed");
  return tensor;
}

LoadSpec load_spec_argument(const Napi::Object& spec) {
  LoadSpec load;
  load.architecture = Architecture::parse(string_argument(spec.Get("architecture"), "architecture"));
  load.files = strings_argument(spec.Get("files"), "files");
  const Napi::Object stored = object_argument(spec.Get("stored"), "stored");
  const Napi::Array keys = stored.GetPropertyNames();
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const std::string key = string_argument(keys.Get(i), "stored");
    load.stored[key] = stored_argument(object_argument(stored.Get(key), "stored"));
  }
  const Napi::Value prefix = spec.Get("prefix");
  if (!is_missing(prefix)) load.prefix = string_argument(prefix, "prefix");
  load.ignored = strings_argument(spec.Get("ignored"), "ignored");
  const Napi::Value compute = spec.Get("compute");
  load.has_compute = !is_missing(compute);
  if (load.has_compute) load.compute = named_argument(compute, "compute", kComputeNames);
  const Napi::Value device = spec.Get("device");
  if (!is_missing(device)) load.device = static_cast<int32_t>(integer_argument(device, "device", 0, INT32_MAX));
  return load;
}

constexpr std::string_view kLayer = "{}";

std::string with_layer(std::string pattern, std::string_view layer) {
  const size_t at = pattern.find(kLayer);
  return at == std::string::npos ? pattern : pattern.replace(at, kLayer.size(), layer);
}

// Where each canonical tensor is stored.
std::map<std::string, StoredTensor> stored_tensors(const LoadSpec& spec) {
  constexpr std::string_view kLayers = "layers.";
  std::map<std::string, StoredTensor> stored;
  for (const TensorSpec& tensor : tensor_specs(spec.architecture)) {
    std::string pattern = tensor.name, layer;
    if (pattern.rfind(kLayers, 0) == 0) {
      const size_t length = pattern.find('.', kLayers.size()) - kLayers.size();
      layer = pattern.substr(kLayers.size(), length);
      pattern.replace(kLayers.size(), length, kLayer);
    }
    const auto exact = spec.stored.find(tensor.name),
               found = exact != spec.stored.end() ? exact : spec.stored.find(pattern);
    StoredTensor at = found != spec.stored.end() ? found->second : StoredTensor{spec.prefix + tensor.name};
    at.name = with_layer(std::move(at.name), layer);
    stored.emplace(tensor.name, std::move(at));
  }
  return stored;
}

std::vector<std::string> ignored_names(const LoadSpec& spec) {
  std::vector<std::string> names;
  for (const std::string& pattern : spec.ignored) {
    const int64_t layers = pattern.find(kLayer) != std::string::npos ? spec.architecture.stack.layers : 1;
    for (int64_t l = 0; l < layers; ++l) names.push_back(with_layer(pattern, std::to_string(l)));
  }
  return names;
}

void load(ModelState& state, const LoadSpec& spec, const std::atomic<bool>& cancelled, Progress& progress) {
  const auto check_cancelled = [&] { require(!cancelled.load(), "ERR_ABORTED", "The operation was aborted"); };
  state.checkpoint = Checkpoint::open(spec.architecture, spec.files, stored_tensors(spec), ignored_names(spec));
  state.checkpoint_bytes = state.checkpoint.bytes();
  check_cancelled();
  const DType stored = state.checkpoint.tensors.at("embed_tokens.weight").dtype;
  const DType compute = spec.has_compute ? spec.compute : stored == DType::bf16 ? DType::bf16 : DType::f32;
  if (spec.device >= 0) state.place_on(Device::cuda(spec.device));
  int64_t taken = 0;
  const auto tell = [&](int64_t bytes) {
    check_cancelled();
    progress.report(taken += bytes, state.checkpoint_bytes);
  };
  state.model = std::make_shared<Model>(spec.architecture, state.checkpoint.tensors, compute, tell,
                                        std::make_shared<Arena>(state.stream));
}

}  // namespace

Napi::Value load_model(const Napi::CallbackInfo& info) {
  return job_or_rejection(info.Env(), [&] {
    const Napi::Object object = object_argument(info[0], "spec");
    auto spec = std::make_shared<const LoadSpec>(load_spec_argument(object));
    const Napi::Value on_progress = object.Get("onProgress");
    auto state = std::make_shared<ModelState>(shared_environment(info.Env()));
    // The job owns the state, so the JavaScript thread destroys it: a model must not be destroyed on its own thread.
    auto work = [model = state.get(), spec, state](const JobControl& control, Progress& progress) -> Settle {
      load(*model, *spec, *control.cancelled, progress);
      return [state](Napi::Env env) { return ModelHandle::make(env, state); };
    };
    return start_model_job(state, JobQueue::Length::extended, std::move(work), {},
                           is_missing(on_progress) ? Napi::Function() : function_argument(on_progress, "onProgress"));
  });
}

}  // namespace rubricate::binding
