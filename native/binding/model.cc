#include "binding/model.h"

#include <cstring>

#include "binding/adapter.h"
#include "binding/batches.h"
#include "binding/devices.h"
#include "binding/engine.h"
#include "binding/merged_weight.h"
#include "binding/version.h"
#include "binding/weights.h"
#include "model/logits.h"
#include "runtime/short_work.h"
#include "train/evaluate.h"
#include "train/sensitivity.h"

namespace rubricate::binding {
namespace {

Napi::Object outcome_value(Napi::Env env, const TenantOutcome& outcome) {
  const TenantResult& result = outcome.result;
  Napi::Object object = Napi::Object::New(env);
  object.Set("loss", result.loss);
  object.Set("supervisedTokens", static_cast<double>(result.supervised));
  object.Set("correctTokens", static_cast<double>(result.correct));
  object.Set("gradNorm", result.grad_norm);
  object.Set("error",
             outcome.error ? make_error(env, {outcome.error->code(), outcome.error->what()}).Value() : env.Undefined());
  return object;
}

// A tensor's dtype, shape and bytes.
Settle contents_value(const Tensor& tensor) {
  Buffer buffer(tensor.bytes());
  std::memcpy(buffer.data(), tensor.raw(), static_cast<size_t>(buffer.bytes()));
  return [buffer, dtype = tensor.dtype(), shape = tensor.shape()](Napi::Env env) mutable {
    Napi::Object object = Napi::Object::New(env);
    object.Set("dtype", dtype_name(dtype));
    object.Set("shape", shape_value(env, shape));
    const auto bytes = static_cast<size_t>(buffer.bytes());
    object.Set("data", Napi::Uint8Array::New(env, bytes, buffer.release(env), 0));
    return object;
  };
}

}  // namespace

Napi::Value start_model_job(const std::shared_ptr<ModelState>& state, JobQueue::Length length, ModelWork work,
                            std::vector<std::shared_ptr<void>> holds, Napi::Function on_progress) {
  require(!state->disposed, "ERR_DISPOSED", "Expected a model but received one that was disposed of");
  ModelState* const model = state.get();  // the job's queue owns the state, see below
  JobSpec spec;
  spec.queue = std::shared_ptr<JobQueue>(state, &state->queue);
  spec.length = length;
  spec.work = [model, length, work = std::move(work)](const std::atomic<bool>& cancelled, Progress& progress) {
    const std::shared_ptr<Arena>& arena = model->arena(length);  // the arena is the same one when the job ends
    ShortWork others(model->queue, arena->stream());
    JobControl control = {&cancelled, [&others] { others.yield(); }, arena};
    control.wanted = [&others] { return others.wanted(); };
    control.check_weights = [model] { model->checkpoint.check_unchanged(); };
    Settle settle;
    try {
      settle = work(control, progress);
    } catch (...) {
      arena->end_job();
      model->checkpoint.check_unchanged();  // if a file changed, that is the error to report
      throw;
    }
    arena->end_job();
    model->checkpoint.check_unchanged();
    return settle;
  };
  holds.push_back(std::make_shared<JobCount>(state));
  spec.holds = std::move(holds);
  spec.on_progress = on_progress;
  return state->environment->jobs().start(std::move(spec));
}

Napi::Function ModelHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeModel",
      {getter_of<&ModelHandle::compute>("compute"), getter_of<&ModelHandle::pending_jobs>("pendingJobs"),
       job_of<&ModelHandle::logits>("logits"), job_of<&ModelHandle::train_step>("trainStep"),
       job_of<&ModelHandle::evaluate>("evaluate"), job_of<&ModelHandle::squared_gradients>("squaredGradients"),
       job_of<&ModelHandle::make_trainable>("makeTrainable"), method_of<&ModelHandle::create_engine>("createEngine"),
       job_of<&ModelHandle::publish>("publish"), method_of<&ModelHandle::tensor_specs>("tensorSpecs"),
       job_of<&ModelHandle::read_tensor>("readTensor"), job_of<&ModelHandle::merged_tensor>("mergedTensor"),
       job_of<&ModelHandle::fingerprint_bytes>("fingerprintBytes"), method_of<&ModelHandle::memory>("memory"),
       method_of<&ModelHandle::matmuls>("matmuls"), method_of<&ModelHandle::dispose>("dispose")});
}

ModelHandle::ModelHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] { state_ = take_made(info); });
}

Napi::Value ModelHandle::compute(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), dtype_name(use()->model->compute()));
}

Napi::Value ModelHandle::pending_jobs(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(use()->jobs));
}

Napi::Value ModelHandle::logits(const Napi::CallbackInfo& info) {
  const auto state = use();
  const std::shared_ptr<Model> model = state->model;  // reading the arguments may run JavaScript that frees the model
  const Adapters adapters = adapters_argument(info[1], state);
  Batch batch = batch_argument(info[0], "batch", BatchBounds::of(model->architecture(), adapters.core.size()));
  std::vector<int32_t> rows;
  if (is_missing(info[2])) {
    for (int64_t row = 0; row < batch.rows(); ++row) rows.push_back(static_cast<int32_t>(row));
  } else {
    rows = int32_argument(info[2], "rows");
    for (const int32_t row : rows)
      require(row >= 0 && row < batch.rows(), "ERR_ARGUMENT", "Expected rows from 0 to ", batch.rows() - 1,
              " but received ", row);
  }
  auto work = [model, batch = std::move(batch), core = adapters.core, rows = std::move(rows)](const JobControl& control,
                                                                                              Progress&) -> Settle {
    const Tensor logits = forward_logits(*model, batch, core, rows, control);
    Buffer buffer(logits.bytes());
    std::memcpy(buffer.data(), logits.raw(), static_cast<size_t>(logits.bytes()));
    return [buffer, count = logits.count()](Napi::Env env) mutable {
      return Napi::Float32Array::New(env, static_cast<size_t>(count), buffer.release(env), 0);
    };
  };
  return start_model_job(state, JobQueue::Length::brief, std::move(work), adapters.uses);
}

Napi::Value ModelHandle::train_step(const Napi::CallbackInfo& info) {
  const auto state = use();
  TrainRequest request = train_request_argument(info[0], state);
  std::vector<std::shared_ptr<std::atomic<bool>>> flags;
  for (Tenant& tenant : request.tenants)
    tenant.cancelled = flags.emplace_back(std::make_shared<std::atomic<bool>>(false));
  auto work = [model = state->model, tenants = std::move(request.tenants), batches = std::move(request.micro_batches),
               options = request.options](const JobControl& control, Progress&) -> Settle {
    auto outcomes = rubricate::train_step(*model, tenants, batches, options, control);
    if (outcomes.size() == 1 && outcomes[0].error) throw *outcomes[0].error;
    return [outcomes = std::move(outcomes)](Napi::Env env) {
      Napi::Array array = Napi::Array::New(env, outcomes.size());
      for (uint32_t i = 0; i < outcomes.size(); ++i) array.Set(i, outcome_value(env, outcomes[i]));
      return array;
    };
  };
  const Napi::Value job = start_model_job(state, JobQueue::Length::extended, std::move(work), std::move(request.uses));
  const auto cancel = [flags = std::move(flags)](const Napi::CallbackInfo& call) {
    return guarded(call.Env(), [&] {
      const int64_t last = static_cast<int64_t>(flags.size()) - 1;
      flags[static_cast<size_t>(integer_argument(call[0], "index", 0, last))]->store(true);
      return call.Env().Undefined();
    });
  };
  job.As<Napi::Object>().Set("cancelTenant", Napi::Function::New(info.Env(), cancel));
  return job;
}

Napi::Value ModelHandle::evaluate(const Napi::CallbackInfo& info) {
  const auto state = use();
  const std::shared_ptr<Model> model = state->model;
  const Adapters adapters = adapters_argument(info[1], state);
  auto batches = micro_batches_argument(info[0], BatchBounds::of(model->architecture(), adapters.core.size()));
  auto work = [model, batches = std::move(batches), core = adapters.core, max_rows = max_rows_argument(info[2])](
                  const JobControl& control, Progress&) -> Settle {
    const SlotSums sums = rubricate::evaluate(*model, core, batches, max_rows, control);
    return [sums](Napi::Env env) {
      const auto numbers = [env](const auto& values) {
        Napi::Float64Array array = Napi::Float64Array::New(env, values.size());
        for (size_t i = 0; i < values.size(); ++i) array[i] = static_cast<double>(values[i]);
        return array;
      };
      Napi::Object object = Napi::Object::New(env);
      object.Set("nats", numbers(sums.nats));
      object.Set("supervisedTokens", numbers(sums.supervised));
      object.Set("correctTokens", numbers(sums.correct));
      return object;
    };
  };
  return start_model_job(state, JobQueue::Length::extended, std::move(work), adapters.uses);
}

namespace {

std::vector<MatrixSite> matrix_sites_argument(const Napi::Value& value) {
  const Napi::Array array = array_argument(value, "sites");
  std::vector<MatrixSite> sites;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Object site = object_argument(array.Get(i), "sites");
    const int64_t layer = integer_argument(site.Get("layer"), "layer", 0, limits::kMaxLayers);
    sites.push_back({layer, named_argument(site.Get("site"), "site", kSiteNames)});
  }
  return sites;
}

}  // namespace

Napi::Value ModelHandle::squared_gradients(const Napi::CallbackInfo& info) {
  const auto state = use();
  const std::shared_ptr<Model> model = state->model;  // reading the arguments may run JavaScript that frees the model
  const std::vector<MatrixSite> sites = matrix_sites_argument(info[0]);
  const Napi::Array array = array_argument(info[1], "steps");
  std::vector<std::vector<MicroBatch>> steps;
  for (uint32_t i = 0; i < array.Length(); ++i)
    steps.push_back(micro_batches_argument(array.Get(i), BatchBounds::of(model->architecture(), 0)));
  auto work = [model, sites, steps = std::move(steps)](const JobControl& control, Progress&) -> Settle {
    std::vector<Buffer> buffers;
    rubricate::squared_gradients(
        *model, sites, steps,
        [&](const Shape& shape) {
          const int64_t bytes = element_count(shape) * static_cast<int64_t>(sizeof(float));
          return buffers.emplace_back(bytes).tensor(shape, DType::f32);
        },
        control);
    return [buffers](Napi::Env env) mutable {
      Napi::Array sums = Napi::Array::New(env, buffers.size());
      for (uint32_t i = 0; i < buffers.size(); ++i) {
        const size_t count = static_cast<size_t>(buffers[i].bytes()) / sizeof(float);
        sums.Set(i, Napi::Float32Array::New(env, count, buffers[i].release(env), 0));
      }
      return sums;
    };
  };
  return start_model_job(state, JobQueue::Length::extended, std::move(work));
}

Napi::Value ModelHandle::make_trainable(const Napi::CallbackInfo&) {
  const auto state = use();
  auto work = [model = state.get()](const JobControl&, Progress&) -> Settle {
    auto set = model->model->make_trainable();
    model->checkpoint.check_unchanged();  // otherwise the copies are not the model's weights; later jobs fail, too
    model->checkpoint.files.clear();      // the files are not read after this
    return [model, set](Napi::Env env) {
      model->trainable = true;
      auto parameters = std::make_shared<ParametersState>();
      parameters->environment = model->environment;
      parameters->model = model->shared_from_this();
      parameters->set = set;
      return ParametersHandle::make(env, std::move(parameters));
    };
  };
  return start_model_job(state, JobQueue::Length::extended, std::move(work));
}

Napi::Value ModelHandle::create_engine(const Napi::CallbackInfo& info) { return make_engine(info, use()); }

Napi::Value ModelHandle::publish(const Napi::CallbackInfo& info) { return publish_version(info, use()); }

Napi::Value ModelHandle::tensor_specs(const Napi::CallbackInfo& info) {
  const auto state = use();
  Napi::Object specs = Napi::Object::New(info.Env());
  for (const auto& [name, source] : state->checkpoint.tensors) {
    Napi::Object spec = Napi::Object::New(info.Env());
    spec.Set("dtype", dtype_name(source.dtype));
    spec.Set("shape", shape_value(info.Env(), source.shape));
    specs.Set(name, spec);
  }
  return specs;
}

Napi::Value ModelHandle::read_tensor(const Napi::CallbackInfo& info) {
  const auto state = use();
  const bool transposed = !is_missing(info[1]) && boolean_argument(info[1], "transposed");
  auto work = [model = state.get(), names = strings_argument(info[0], "names"), transposed](const JobControl&,
                                                                                            Progress&) -> Settle {
    return contents_value(stored_weight(*model, names, transposed));
  };
  return start_model_job(state, JobQueue::Length::brief, std::move(work));
}

Napi::Value ModelHandle::merged_tensor(const Napi::CallbackInfo& info) {
  const auto state = use();
  const std::shared_ptr<Model> core = state->model;  // reading the arguments may run JavaScript that frees the model
  const DType dtype = dtype_argument(info[1], "dtype");
  const bool transposed = boolean_argument(info[2], "transposed");
  auto work = [model = state.get(), parts = merged_parts_argument(info[0], core->architecture()), dtype, transposed](
                  const JobControl& control, Progress&) -> Settle {
    return contents_value(merged_weight(*model, parts, dtype, transposed, *control.cancelled));
  };
  return start_model_job(state, JobQueue::Length::brief, std::move(work));
}

Napi::Value ModelHandle::fingerprint_bytes(const Napi::CallbackInfo&) {
  const auto state = use();
  auto work = [model = state.get()](const JobControl& control, Progress&) -> Settle {
    const std::string bytes = fingerprint(*model, *control.cancelled);
    return [bytes](Napi::Env env) {
      Napi::Uint8Array array = Napi::Uint8Array::New(env, bytes.size());
      std::memcpy(array.Data(), bytes.data(), bytes.size());
      return array;
    };
  };
  return start_model_job(state, JobQueue::Length::brief, std::move(work));
}

Napi::Value ModelHandle::memory(const Napi::CallbackInfo& info) {
  const auto state = use();
  const ArenaStats extended = state->extended_arena->stats(), brief = state->brief_arena->stats();
  Napi::Object memory = Napi::Object::New(info.Env());
  memory.Set("mapped", static_cast<double>(mapped_bytes(*state)));
  memory.Set("owned", static_cast<double>(state->model->owned_bytes()));
  memory.Set("keysAndValues", static_cast<double>(state->engine ? state->engine->pool_bytes() : 0));
  memory.Set("workspace", static_cast<double>(extended.used + brief.used));
  memory.Set("workspacePeak", static_cast<double>(extended.peak + brief.peak));
  memory.Set("workspaceCached", static_cast<double>(extended.cached + brief.cached));
  if (state->stream) memory.Set("device", memory_value(info.Env(), state->stream->device().remembered_memory()));
  return memory;
}

Napi::Value ModelHandle::matmuls(const Napi::CallbackInfo& info) {
  const auto state = use();
  return state->stream ? matmul_records_value(info.Env(), state->stream->device()) : Napi::Array::New(info.Env());
}

Napi::Value ModelHandle::dispose(const Napi::CallbackInfo& info) {
  if (state_ != nullptr) {
    state_->disposed = true;
    const Failure disposed = {"ERR_DISPOSED", "The model was disposed of"};
    state_->environment->jobs().cancel(state_->queue, disposed);
    if (state_->engine) state_->engine->close(disposed.code.c_str(), disposed.message.c_str());
    if (state_->jobs == 0) state_->free();
    state_.reset();
  }
  return info.Env().Undefined();
}

}  // namespace rubricate::binding
