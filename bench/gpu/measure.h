// Timing: device events around a kernel, or the host's clock around synchronized work. Medians, after warm-up.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/arena.h"
#include "device/cuda/loader.h"
#include "device/device.h"
#include "device/stream.h"
#include "tensor/tensor.h"

namespace rubricate::bench {

// The options of every section.
struct Run {
  Device& device;
  std::shared_ptr<Stream> stream;
  bool rehearse;     // sizes for which an emulated device takes seconds
  int repetitions;   // of a measurement
  std::string only;  // times only names that contain this; empty: all
  std::string out;   // of the results; empty: none
  std::string handover;
  int64_t layers;  // of a rehearsal's model

  bool wants(const std::string& name) const { return name.find(only) != std::string::npos; }
  std::shared_ptr<Arena> arena() const { return std::make_shared<Arena>(stream); }
};

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A stream with an event before and after each repetition. The host waits only at the end, so the device never waits
// for the host if a kernel takes longer than a launch (about 5 us).
class EventClock {
 public:
  explicit EventClock(Device& device) : device_(device), table_(*cuda_plugin().table) {
    device_.check(table_.create_stream(device_.index(), &stream_), "Creating a stream");
  }
  ~EventClock() {
    for (RubricateEvent* event : events_) table_.destroy_event(event);
    table_.destroy_stream(stream_);
  }
  EventClock(const EventClock&) = delete;
  EventClock& operator=(const EventClock&) = delete;

  template <typename Args>
  void run(const char* kernel, const Args& args) {
    device_.check(cuda_kernel(kernel)(&args, stream_), kernel);
  }
  void copy(void* to, const void* from, int64_t bytes) {
    device_.check(table_.copy_on_device(stream_, to, from, bytes), "Copying on the device");
  }

  void wait() { device_.check(table_.synchronize(stream_), "Waiting for the device"); }

  // Median seconds of the work that `enqueue` adds with run() or copy(). Other streams must be idle.
  double seconds(int repetitions, const std::function<void()>& enqueue) {
    const auto count = static_cast<size_t>(repetitions) + 1;
    while (events_.size() < count) {
      events_.push_back(nullptr);
      device_.check(table_.create_event(device_.index(), &events_.back()), "Creating an event");
    }
    for (int i = 0; i < 3; ++i) enqueue();
    record(0);
    for (size_t i = 1; i < count; ++i) {
      enqueue();
      record(i);
    }
    wait();
    std::vector<double> all;
    for (size_t i = 1; i < count; ++i) {
      double milliseconds = 0.0;
      device_.check(table_.elapsed(events_[i - 1], events_[i], &milliseconds), "Reading events");
      all.push_back(1e-3 * milliseconds);
    }
    return median(all);
  }

 private:
  void record(size_t i) { device_.check(table_.record(stream_, events_[i]), "Recording an event"); }

  Device& device_;
  const RubricateDeviceTable& table_;
  RubricateStream* stream_ = nullptr;
  std::vector<RubricateEvent*> events_;
};

// Median seconds by the host's clock of body(), from an idle device to an idle device; prepare() runs before each and
// is not counted.
inline double waited_seconds(Stream& stream, int repetitions, const std::function<void()>& prepare,
                             const std::function<void()>& body) {
  std::vector<double> all;
  for (int i = -3; i < repetitions; ++i) {
    prepare();
    stream.synchronize();
    const double start = now();
    body();
    stream.synchronize();
    if (i >= 0) all.push_back(now() - start);
  }
  return median(all);
}

// The numbers of random_on_device(), rounded to the dtype: element i of the tensor is number i % size of them.
std::vector<float> random_block(int64_t count, DType dtype, uint32_t seed, float scale = 1.0f);

// Uniform in +-scale / 2: repeats a block of a few million numbers.
Tensor random_on_device(const Run& run, const Shape& shape, DType dtype, uint32_t seed, float scale = 1.0f);

// On an emulated device, whose fresh memory is NaN: throws ERR_INTERNAL if an element was not written.
void require_written(const Run& run, const char* what, const std::vector<Tensor>& outputs);

}  // namespace rubricate::bench
