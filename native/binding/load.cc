#include "binding/adapter.h"
#include "binding/model.h"

namespace rubricate::binding {
namespace {

struct LoadSpec {
  Architecture architecture;
  std::vector<std::string> files;
  std::map<std::string, std::string> names;
  std::string prefix;  // prefix of the checkpoint's name for a tensor that is not in `names`
  std::vector<std::string> ignored;
  bool has_compute = false;
  DType compute = DType::f32;
  int32_t device = -1;  // CUDA device index; -1: the CPU
};

LoadSpec load_spec_argument(const Napi::Object& spec) {
  LoadSpec load;
  load.architecture = Architecture::parse(string_argument(spec.Get("architecture"), "architecture"));
  load.files = strings_argument(spec.Get("files"), "files");
  const Napi::Object names = object_argument(spec.Get("names"), "names");
  const Napi::Array keys = names.GetPropertyNames();
  for (uint32_t i = 0; i < keys.Length(); ++i) {
    const std::string key = string_argument(keys.Get(i), "names");
    load.names[key] = string_argument(names.Get(key), "names");
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

// Maps each canonical name to the checkpoint's name.
std::map<std::string, std::string> stored_names(const LoadSpec& spec) {
  std::map<std::string, std::string> names = spec.names;
  for (const TensorSpec& tensor : tensor_specs(spec.architecture))
    names.emplace(tensor.name, spec.prefix + tensor.name);
  return names;
}

void load(ModelState& state, const LoadSpec& spec, const std::atomic<bool>& cancelled, Progress& progress) {
  const auto check_cancelled = [&] { require(!cancelled.load(), "ERR_ABORTED", "The operation was aborted"); };
  state.checkpoint = Checkpoint::open(spec.architecture, spec.files, stored_names(spec), spec.ignored);
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
