#include "binding/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "binding/batches.h"
#include "binding/model.h"
#include "binding/version.h"

namespace rubricate::binding {
namespace {

int64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

int64_t nanoseconds_argument(const Napi::Value& value, const char* name) {
  constexpr double kMost = 1e12;  // milliseconds: over 30 years
  const double ms = finite_argument(value, name);
  if (ms < 0.0 || ms > kMost) reject_argument(name, "a number from 0 to 1e12", value);
  return static_cast<int64_t>(ms * 1e6);
}

EngineRequest request_argument(const Napi::Value& value) {
  const Napi::Object object = object_argument(value, "request");
  EngineRequest request;
  request.prompt = int32_argument(object.Get("tokenIds"), "tokenIds");
  const auto version = VersionHandle::argument_or_null(object.Get("version"), "version");
  if (version) request.version = version->version;
  request.sampling = sampling_argument(object.Get("sampling"), "sampling");
  request.max_new = static_cast<int32_t>(integer_argument(object.Get("maxNewTokens"), "maxNewTokens", 0, INT32_MAX));
  request.stop_ids = int32_argument(object.Get("stopIds"), "stopIds");
  request.tenant = static_cast<uint32_t>(integer_argument(object.Get("tenant"), "tenant", 0, UINT32_MAX));
  request.weight = float_argument(object.Get("weight"), "weight");
  request.domain = static_cast<uint64_t>(integer_argument(object.Get("domain"), "domain", 0, (int64_t{1} << 53) - 1));
  request.top_log_probs =
      static_cast<int32_t>(integer_argument(object.Get("topLogProbs"), "topLogProbs", -1, kMostTopLogProbs));
  request.score_from = static_cast<int32_t>(integer_argument(object.Get("scoreFrom"), "scoreFrom", -1, INT32_MAX));
  const int64_t deadline = nanoseconds_argument(object.Get("deadlineMs"), "deadlineMs");
  request.submitted_ns = now_ns();
  if (deadline > 0) request.deadline_ns = request.submitted_ns + deadline;
  return request;
}

}  // namespace

void EngineState::attach(EngineOptions options, double training_share) {
  const auto model = model_.lock();
  model->queue.set_training_share(training_share);
  ahead_ = options.ahead;
  core_ = std::make_shared<Engine>(model->model, model->stream, std::move(options),
                                   environment->jobs().asker(shared_from_this()));
  model->queue.attach(core_);
  model->engine = shared_from_this();
}

Engine& EngineState::core() const {
  const auto model = model_.lock();
  require(core_ != nullptr && !closed_ && model && !model->disposed, "ERR_DISPOSED",
          "Expected an engine that was not closed, of a model that was not disposed of");
  return *core_;
}

int32_t EngineState::submit(EngineRequest request) {
  const int32_t id = core().submit(std::move(request));
  if (id < 0) return id;
  untaken_.emplace(id, 0);
  if (!count_) count_ = std::make_shared<JobCount>(model_.lock());
  hold_while_active();
  wake();
  return id;
}

void EngineState::abort(int32_t request) {
  core().abort(request);
  if (const auto found = untaken_.find(request); found != untaken_.end()) {
    paused_ -= found->second >= ahead_;
    found->second = INT64_MIN / 2;  // its end is to be told
    hold_while_active();
  }
  wake();
}

void EngineState::taken(int32_t request, int32_t tokens) {
  core().taken(request, tokens);
  if (const auto found = untaken_.find(request); found != untaken_.end()) {
    const bool was_paused = found->second >= ahead_;
    found->second -= tokens;
    paused_ -= was_paused && found->second < ahead_;
    hold_while_active();
  }
  wake();
}

void EngineState::hold_while_active() {
  const bool active = static_cast<int64_t>(untaken_.size()) > paused_ || (closed_ && !untaken_.empty());
  if (active == held_) return;
  held_ = active;
  if (active) {
    environment->jobs().hold();
  } else {
    environment->jobs().let_go();
  }
}

void EngineState::wake() const {
  if (const auto model = model_.lock()) model->queue.wake();
}

void EngineState::close(const char* code, const char* message) {
  if (!core_) return;
  closed_ = true;
  core_->close({code, message});
  hold_while_active();
  wake();
}

std::shared_ptr<Engine> EngineState::give_up() {
  closed_ = true;
  if (environment->alive()) on_outputs_.Reset();
  return std::exchange(core_, nullptr);
}

void EngineState::call() {
  if (!core_) return;
  const auto self = shared_from_this();  // the callback may dispose of everything
  const Napi::Env env = environment->env();
  const Napi::HandleScope scope(env);
  EngineOutputs outputs;
  core_->drain(outputs);
  constexpr auto kToken = static_cast<int32_t>(EngineOutputs::Kind::token);
  constexpr auto kFirstEnd = static_cast<int32_t>(EngineOutputs::Kind::stopped);
  for (size_t row = 0; row < outputs.rows.size(); row += EngineOutputs::kColumns) {
    const auto found = untaken_.find(outputs.rows[row]);
    if (found == untaken_.end()) continue;
    if (outputs.rows[row + 1] == kToken) {
      paused_ += ++found->second == ahead_;
    } else if (outputs.rows[row + 1] >= kFirstEnd) {
      paused_ -= found->second >= ahead_;
      untaken_.erase(found);
    }
  }
  if (!outputs.empty()) {
    try {
      Napi::Int32Array rows = Napi::Int32Array::New(env, outputs.rows.size());
      std::copy(outputs.rows.begin(), outputs.rows.end(), rows.Data());
      Napi::Array failures = Napi::Array::New(env, outputs.errors.size());
      for (uint32_t i = 0; i < outputs.errors.size(); ++i) {
        Napi::Object failure = Napi::Object::New(env);
        failure.Set("code", outputs.errors[i].code);
        failure.Set("message", outputs.errors[i].message);
        failures.Set(i, failure);
      }
      const auto count = static_cast<int64_t>(outputs.numbers.size());
      on_outputs_.Call({rows, float32_value(env, outputs.numbers.data(), count), failures});
    } catch (const Napi::Error& error) {  // the callback's own
      napi_fatal_exception(env, error.Value());
    }
  }
  hold_while_active();
  if (untaken_.empty()) count_.reset();
}

void EngineState::end() {
  if (const auto model = model_.lock()) model->queue.close();
  on_outputs_.Reset();
  count_.reset();
}

Napi::Function EngineHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeEngine",
                     {method_of<&EngineHandle::submit>("submit"), method_of<&EngineHandle::abort>("abort"),
                      method_of<&EngineHandle::taken>("taken"), method_of<&EngineHandle::stats>("stats"),
                      job_of<&EngineHandle::close>("close")});
}

EngineHandle::EngineHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] { state_ = take_made(info); });
}

Napi::Value EngineHandle::submit(const Napi::CallbackInfo& info) {
  const auto state = use();
  state->core();
  EngineRequest request = request_argument(info[0]);  // may run JavaScript that closes the engine
  return Napi::Number::New(info.Env(), state->submit(std::move(request)));
}

Napi::Value EngineHandle::abort(const Napi::CallbackInfo& info) {
  const auto state = use();
  state->core();  // its error comes first
  const auto request = static_cast<int32_t>(integer_argument(info[0], "request", 0, INT32_MAX));
  state->abort(request);
  return info.Env().Undefined();
}

Napi::Value EngineHandle::taken(const Napi::CallbackInfo& info) {
  const auto state = use();
  state->core();
  const auto request = static_cast<int32_t>(integer_argument(info[0], "request", 0, INT32_MAX));
  const auto tokens = static_cast<int32_t>(integer_argument(info[1], "tokens", 0, INT32_MAX));
  state->taken(request, tokens);
  return info.Env().Undefined();
}

Napi::Value EngineHandle::stats(const Napi::CallbackInfo& info) {
  const EngineStats stats = use()->core().stats();
  Napi::Object object = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, int64_t value) { object.Set(name, static_cast<double>(value)); };
  set("running", stats.running);
  set("waiting", stats.waiting);
  set("pages", stats.pages);
  set("freePages", stats.free_pages);
  set("cachedPages", stats.cached_pages);
  set("pageBytes", stats.page_bytes);
  set("steps", stats.steps);
  set("computedTokens", stats.computed_tokens);
  set("generatedTokens", stats.generated_tokens);
  set("foundTokens", stats.found_tokens);
  set("putOut", stats.put_out);
  object.Set("stepMs", static_cast<double>(stats.step_ns) / 1e6);
  set("versions", stats.versions);
  set("deviceVersionBytes", stats.device_version_bytes);
  return object;
}

Napi::Value EngineHandle::close(const Napi::CallbackInfo&) {
  const auto state = use();
  Engine& core = state->core();
  state->close("ERR_ABORTED", "The engine was closed");
  // This turn, or one before it, ends what is under way; Jobs tells that before it settles this job.
  const auto model = state->model();
  auto work = [core = &core, model = model.get(), state](const JobControl&, Progress&) -> Settle {
    core->turn();
    model->queue.detach();
    return [model, state](Napi::Env env) {
      state->give_up();
      if (model->engine == state) model->engine = nullptr;
      return env.Undefined();
    };
  };
  return start_model_job(model, JobQueue::Length::brief, std::move(work));
}

Napi::Value make_engine(const Napi::CallbackInfo& info, const std::shared_ptr<ModelState>& model) {
  const Napi::Object object = object_argument(info[0], "options");
  EngineOptions options;
  const int64_t page_bytes = KvPool::page_bytes(model->model->architecture(), model->model->compute());
  const int64_t bytes = integer_argument(object.Get("cacheBytes"), "cacheBytes", 0, int64_t{1} << 46);
  options.pages = std::clamp<int64_t>(bytes / page_bytes, 1, INT32_MAX);
  options.max_sequences = static_cast<int32_t>(integer_argument(object.Get("maxSequences"), "maxSequences", 1, 65536));
  options.max_queue = static_cast<int32_t>(integer_argument(object.Get("maxQueue"), "maxQueue", 0, 1 << 24));
  options.step_ns = nanoseconds_argument(object.Get("stepMs"), "stepMs");
  options.version_bytes =
      integer_argument(object.Get("maxDeviceVersionBytes"), "maxDeviceVersionBytes", 0, int64_t{1} << 46);
  options.share_prefixes = boolean_argument(object.Get("sharePrefixes"), "sharePrefixes");
  options.check_weights = [state = model.get()] { state->checkpoint.check_unchanged(); };
  const double share = number_argument(object.Get("trainingShare"), "trainingShare");
  const Napi::Function on_outputs = function_argument(info[1], "onOutputs");
  require(!model->disposed, "ERR_DISPOSED", "Expected a model but received one that was disposed of");
  require(model->engine == nullptr, "ERR_STATE", "Expected a model without an engine");
  auto state = std::make_shared<EngineState>(model->environment, model, on_outputs);
  state->attach(std::move(options), share);
  return EngineHandle::make(info.Env(), std::move(state));
}

}  // namespace rubricate::binding
