// The native objects behind the handles. Members that are not core objects are used only on the JavaScript thread.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "adapter/adapter_version.h"
#include "base/mutex.h"
#include "binding/arguments.h"
#include "binding/environment.h"
#include "device/stream.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "runtime/job_queue.h"
#include "train/train_step.h"

namespace rubricate::binding {

class EngineState;

struct ModelState : std::enable_shared_from_this<ModelState> {
  explicit ModelState(std::shared_ptr<Environment> of) : environment(std::move(of)) {}
  ~ModelState();
  std::shared_ptr<Environment> environment;
  std::shared_ptr<Stream> stream;  // the device's stream; null on the CPU
  std::shared_ptr<Model> model;    // null until loaded, and after it was freed
  Checkpoint checkpoint;
  int64_t checkpoint_bytes = 0;
  std::shared_ptr<Arena> extended_arena = std::make_shared<Arena>(), brief_arena = std::make_shared<Arena>();
  int64_t jobs = 0;  // running and waiting jobs
  bool disposed = false;
  bool trainable = false;
  std::shared_ptr<EngineState> engine;  // null until made, and after it was closed
  JobQueue queue;  // last member: its thread ends before the objects that its jobs use are destroyed

  const std::shared_ptr<Arena>& arena(JobQueue::Length length) const {
    return length == JobQueue::Length::extended ? extended_arena : brief_arena;
  }
  // Call before the model is loaded: sets the device it runs on. Throws ERR_ARGUMENT if RUBRICATE_MATMUL asks for
  // something that is not available there.
  void place_on(Device& device);
  // Frees everything but the thread. Call only while no job runs.
  void free();
};

// Releases an object of that many bytes. Unmapping or freeing gigabytes takes long enough to block the event loop, so a
// separate thread does it.
void release(std::shared_ptr<void> rest, int64_t bytes);

// Counts the jobs that use an object, so that it is not changed, or trained on two models, meanwhile.
struct UseCounts {
  std::map<const ModelState*, int64_t> models;  // number of uses by model
  int64_t training = 0;                         // how many of the uses train it
  bool in_use() const { return !models.empty(); }
};

// Counts a running job of a model. The last one frees what a disposed model left.
class JobCount {
 public:
  explicit JobCount(std::shared_ptr<ModelState> model) : model_(std::move(model)) { ++model_->jobs; }
  ~JobCount() {
    if (--model_->jobs == 0 && model_->disposed) model_->free();
  }
  JobCount(const JobCount&) = delete;
  JobCount& operator=(const JobCount&) = delete;

 private:
  std::shared_ptr<ModelState> model_;
};

// The last version that was made of an adapter, which serves again until the values change.
class PublishedVersion {
 public:
  // Call it where AdapterVersion::of() may be called.
  std::shared_ptr<const AdapterVersion> version_of(const Adapter& adapter, const WeightProducts& products);

 private:
  Mutex mutex_;  // plans that read the base's weights are published on the model's thread, others on JavaScript's
  std::shared_ptr<const AdapterVersion> version_;
  int64_t at_ = -1;  // Adapter::version() then
};

struct AdapterState {
  std::shared_ptr<Environment> environment;
  std::shared_ptr<Adapter> adapter;
  PublishedVersion published;
  UseCounts used;
  ExternalBytes bytes;
};

struct ParametersState {
  std::shared_ptr<Environment> environment;
  // A new value that is being uploaded in pieces.
  struct Staged {
    Buffer data;
    int64_t count = 0;  // elements received so far
  };
  std::shared_ptr<ModelState> model;
  std::shared_ptr<ParameterSet> set;
  std::map<size_t, Staged> staged;  // by index of the parameter
};

struct NativeOptimizerState {
  std::shared_ptr<Environment> environment;
  std::shared_ptr<ParameterSet> set;  // the parameters that it was made for
  int64_t training = 0;               // running jobs that use it
  ExternalBytes bytes;
  NativeOptimizerState() = default;
  ~NativeOptimizerState();
  NativeOptimizerState(const NativeOptimizerState&) = delete;
  NativeOptimizerState& operator=(const NativeOptimizerState&) = delete;
  // The moments, initially zero. A model's moments are large, so a job makes them (`prepare`); otherwise this call
  // does.
  const std::shared_ptr<rubricate::OptimizerState>& moments() {
    if (!made) made = std::make_shared<rubricate::OptimizerState>(*set);
    return made;
  }
  std::shared_ptr<rubricate::OptimizerState> made;  // null until made
};

// While it lives, marks an adapter or the model's own parameters as used by a job of `model`.
class AdapterUse {
 public:
  // Throws ERR_BUSY if another model trains it, or if this job would train what another model uses.
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
