// The native objects behind the handles. Their members that are no core objects belong to the JavaScript thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "binding/arguments.h"
#include "binding/environment.h"
#include "device/stream.h"
#include "generate/decoder.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "runtime/job_queue.h"
#include "train/train_step.h"

namespace rubricate::binding {

struct DecoderState;

struct ModelState : std::enable_shared_from_this<ModelState> {
  explicit ModelState(std::shared_ptr<Environment> of) : environment(std::move(of)) {}
  ~ModelState();
  std::shared_ptr<Environment> environment;
  std::shared_ptr<Stream> stream;  // of its device; null on the CPU
  std::shared_ptr<Model> model;    // null until loaded and once freed
  Checkpoint checkpoint;
  int64_t checkpoint_bytes = 0;
  std::shared_ptr<Arena> extended_arena = std::make_shared<Arena>(), brief_arena = std::make_shared<Arena>();
  int64_t jobs = 0;  // that run or wait
  bool disposed = false;
  bool trainable = false;
  std::vector<std::weak_ptr<DecoderState>> decoders;
  JobQueue queue;  // last: its thread ends before anything that its jobs use

  const std::shared_ptr<Arena>& arena(JobQueue::Length length) const {
    return length == JobQueue::Length::extended ? extended_arena : brief_arena;
  }
  // Before it is loaded: the device that it computes on. Throws ERR_ARGUMENT where RUBRICATE_MATMUL cannot be had
  // there.
  void place_on(Device& device);
  // Lets go of everything but the thread. Only while no job is under way.
  void free();
};

// Lets go of something that holds so many bytes. Giving back gigabytes, mapped or not, takes long enough to hold up the
// event loop: a thread of its own does it.
void release(std::shared_ptr<void> rest, int64_t bytes);

// Something that jobs use, so that it is not changed, or trained on two models at once, in the meantime.
struct UseCounts {
  std::map<const ModelState*, int64_t> models;  // uses by model
  int64_t training = 0;                         // of them, those that train it
  bool in_use() const { return !models.empty(); }
};

struct AdapterState {
  std::shared_ptr<Environment> environment;
  std::shared_ptr<RedAdapter> adapter;
  UseCounts used;
  ExternalBytes bytes;
};

struct ParametersState {
  std::shared_ptr<Environment> environment;
  // A new value on its way in, piece by piece.
  struct Staged {
    Buffer data;
    int64_t count = 0;  // numbers that came so far
  };
  std::shared_ptr<ModelState> model;
  std::shared_ptr<ParameterSet> set;
  std::map<size_t, Staged> staged;  // by parameter
};

struct NativeOptimizerState {
  std::shared_ptr<Environment> environment;
  std::shared_ptr<ParameterSet> set;  // what it was made for
  int64_t training = 0;               // jobs that use it
  ExternalBytes bytes;
  NativeOptimizerState() = default;
  ~NativeOptimizerState();
  NativeOptimizerState(const NativeOptimizerState&) = delete;
  NativeOptimizerState& operator=(const NativeOptimizerState&) = delete;
  // The moments, all zero at first. Of a model's weights they are large, so a job makes them (`prepare`); where nobody
  // asked for that they are made here.
  const std::shared_ptr<rubricate::OptimizerState>& moments() {
    if (!made) made = std::make_shared<rubricate::OptimizerState>(*set);
    return made;
  }
  std::shared_ptr<rubricate::OptimizerState> made;  // null until then
};

struct DecoderState {
  struct Sequence {
    bool used = false;
    int32_t core = -1;      // its id in the core's decoder; -1: not made yet
    int64_t length = 0;     // tokens fed
    bool stepping = false;  // a job feeds it
  };
  std::shared_ptr<Environment> environment;
  std::shared_ptr<ModelState> model;
  std::shared_ptr<Decoder> decoder;  // null once freed
  std::vector<Sequence> sequences;
  std::vector<int32_t> removed;  // ids in the core's decoder, to be removed once no job uses it
  int64_t jobs = 0;
};

// Declares, for as long as it lives, that a job of `model` uses an adapter or the model's own parameters.
class AdapterUse {
 public:
  // Throws ERR_BUSY where another model trains it, or where this one would train what another uses.
  AdapterUse(std::shared_ptr<AdapterState> adapter, std::shared_ptr<ModelState> model, bool trains);
  ~AdapterUse();
  AdapterUse(const AdapterUse&) = delete;
  AdapterUse& operator=(const AdapterUse&) = delete;

 private:
  std::shared_ptr<AdapterState> adapter_;
  std::shared_ptr<ModelState> model_;
  bool trains_;
};

}  // namespace rubricate::binding
