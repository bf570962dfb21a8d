#include "binding/decoder.h"

#include <algorithm>

#include "binding/adapter.h"
#include "binding/batches.h"
#include "binding/model.h"

namespace rubricate::binding {
namespace {

// Removes from the core's decoder the sequences that were removed here. Call only while no step runs, or within a step.
void remove_from_core(Decoder& decoder, std::vector<int32_t>& removed) {
  for (const int32_t sequence : removed) decoder.remove_sequence(sequence);
  removed.clear();
}

// A running step: its sequences may not be fed or removed by another call.
class Step {
 public:
  Step(std::shared_ptr<DecoderState> decoder, std::vector<int32_t> sequences)
      : decoder_(std::move(decoder)), sequences_(std::move(sequences)) {
    ++decoder_->jobs;
    for (const int32_t id : sequences_) at(id).stepping = true;
  }
  ~Step() {
    for (size_t i = 0; i < sequences_.size(); ++i) {
      at(sequences_[i]).stepping = false;
      if (!lengths.empty()) at(sequences_[i]).length = lengths[i];
    }
    if (--decoder_->jobs > 0 || !decoder_->decoder) return;
    remove_from_core(*decoder_->decoder, decoder_->removed);
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  std::vector<int64_t> lengths;  // after the step, if it succeeded

 private:
  DecoderState::Sequence& at(int32_t id) { return decoder_->sequences[static_cast<size_t>(id)]; }
  std::shared_ptr<DecoderState> decoder_;
  std::vector<int32_t> sequences_;
};

}  // namespace

Napi::Function DecoderHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeDecoder",
      {method_of<&DecoderHandle::add_sequence>("addSequence"),
       method_of<&DecoderHandle::remove_sequence>("removeSequence"), method_of<&DecoderHandle::length>("length"),
       job_of<&DecoderHandle::step>("step"), method_of<&DecoderHandle::dispose>("dispose")});
}

DecoderHandle::DecoderHandle(const Napi::CallbackInfo& info) : Handle(info) {
  guarded(info.Env(), [&] { state_ = take_made(info); });
}

int32_t DecoderHandle::sequence_argument(const Napi::Value& value) const {
  const auto& sequences = use()->sequences;
  const int64_t id = value.IsNumber() ? value.As<Napi::Number>().Int64Value() : -1;
  if (id < 0 || id >= static_cast<int64_t>(sequences.size()) || !sequences[static_cast<size_t>(id)].used)
    reject_argument("sequence", "a sequence of this decoder", value);
  return static_cast<int32_t>(id);
}

Napi::Value DecoderHandle::add_sequence(const Napi::CallbackInfo& info) {
  auto& sequences = use()->sequences;
  require(!state_->model->disposed, "ERR_DISPOSED", "Expected a decoder of a model that was not disposed of");
  size_t id = 0;
  while (id < sequences.size() && sequences[id].used) ++id;
  if (id == sequences.size()) sequences.emplace_back();
  sequences[id] = {true, -1, 0, false};
  return Napi::Number::New(info.Env(), static_cast<double>(id));
}

Napi::Value DecoderHandle::remove_sequence(const Napi::CallbackInfo& info) {
  auto& sequence = use()->sequences[static_cast<size_t>(sequence_argument(info[0]))];
  require(!sequence.stepping, "ERR_BUSY", "Expected a sequence that no running step feeds");
  if (sequence.core >= 0) state_->removed.push_back(sequence.core);
  sequence = {};
  if (state_->jobs == 0 && state_->decoder) remove_from_core(*state_->decoder, state_->removed);
  return info.Env().Undefined();
}

Napi::Value DecoderHandle::length(const Napi::CallbackInfo& info) {
  const int32_t id = sequence_argument(info[0]);
  return Napi::Number::New(info.Env(), static_cast<double>(use()->sequences[static_cast<size_t>(id)].length));
}

Napi::Value DecoderHandle::step(const Napi::CallbackInfo& info) {
  const auto state = use();
  const Napi::Array array = array_argument(info[0], "requests");
  const auto chunk = static_cast<int32_t>(integer_argument(info[1], "chunk", 1, INT32_MAX));
  std::vector<DecodeRequest> requests;
  std::vector<int32_t> ids;
  std::vector<std::shared_ptr<void>> holds;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Object object = object_argument(array.Get(i), "requests");
    const auto adapter = AdapterHandle::argument_or_null(object.Get("adapter"), "adapter");
    if (adapter) holds.push_back(std::make_shared<AdapterUse>(adapter, state->model, false));
    std::vector<int32_t> tokens = int32_argument(object.Get("tokenIds"), "tokenIds");
    const SamplingOptions sampling = sampling_argument(object.Get("sampling"), "sampling");
    ids.push_back(sequence_argument(object.Get("sequence")));
    require(std::count(ids.begin(), ids.end(), ids.back()) == 1, "ERR_ARGUMENT",
            "Expected each sequence once for requests");
    requests.push_back({-1, std::move(tokens), adapter ? adapter->adapter : nullptr, sampling});
  }
  // Checked last: reading the requests may have run JavaScript.
  require(!state->model->disposed, "ERR_DISPOSED", "Expected a decoder of a model that was not disposed of");
  require(state->jobs == 0, "ERR_BUSY", "Expected a decoder that no step runs on");
  for (size_t i = 0; i < ids.size(); ++i) {  // no step runs, so this thread may use the core's decoder
    auto& sequence = state->sequences[static_cast<size_t>(ids[i])];
    if (sequence.core < 0) sequence.core = state->decoder->add_sequence();
    requests[i].sequence = sequence.core;
  }
  auto step = std::make_shared<Step>(state, ids);
  auto work = [step = step.get(), decoder = state->decoder, requests = std::move(requests), chunk](
                  const JobControl& control, Progress&) -> Settle {
    const std::vector<int32_t> next = decoder->step(requests, chunk, control);
    for (const DecodeRequest& request : requests) step->lengths.push_back(decoder->length(request.sequence));
    return [next](Napi::Env env) {
      Napi::Int32Array array = Napi::Int32Array::New(env, next.size());
      std::copy(next.begin(), next.end(), array.Data());
      return array;
    };
  };
  holds.push_back(std::move(step));
  return start_model_job(state->model, JobQueue::Length::brief, std::move(work), std::move(holds));
}

Napi::Value DecoderHandle::dispose(const Napi::CallbackInfo& info) {
  state_.reset();
  return info.Env().Undefined();
}

}  // namespace rubricate::binding
