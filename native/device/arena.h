// Memory of one job, on the CPU or on a device (or of one JavaScript environment's tensors): blocks that are given back
// are kept and handed out again, so that a training step allocates nothing after the first of its shape. Blocks of
// sizes that recur no more are given up: what is handed out and what is kept come to 1.25 times the most that recent
// jobs used, or less.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "base/mutex.h"

namespace rubricate {

class Stream;

struct ArenaStats {
  int64_t used = 0;    // bytes handed out now
  int64_t peak = 0;    // most bytes ever handed out at once
  int64_t cached = 0;  // bytes kept for reuse
  int64_t blocks = 0;  // taken from the system so far
};

// Thread-safe. Addresses are aligned to 64 bytes (256 on a device); the bytes are not initialised (filled with NaN
// patterns when the environment variable RUBRICATE_POISON is set, so that tests see a read of what was never written).
class Arena {
 public:
  // Of the memory of the stream's device, for work of that stream alone. null: of the CPU's.
  explicit Arena(std::shared_ptr<Stream> stream = nullptr);
  // keeps: false hands out the very bytes asked for and keeps nothing, so that accesses beyond a tensor, or after its
  // end, are seen; an emulated device's arenas are so unless told otherwise, and the CPU's under AddressSanitizer.
  Arena(std::shared_ptr<Stream> stream, bool keeps);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void* allocate(int64_t bytes);  // throws ERR_OUT_OF_MEMORY
  void release(void* address, int64_t bytes) noexcept;
  void trim() noexcept;  // gives the cached blocks back to the system
  // Call at the end of each job. The bound on what is kept follows the job's own peak: up at once, down by an eighth a
  // job.
  void end_job() noexcept;
  ArenaStats stats() const;
  Stream* stream() const { return stream_.get(); }  // null: the CPU
  const std::shared_ptr<Stream>& shared_stream() const { return stream_; }
  // Bytes of the CPU's memory handed out by all arenas of the process.
  static int64_t process_bytes();

 private:
  int64_t size_of(int64_t bytes) const;
  void* from_system(int64_t size);  // null on the CPU, ERR_OUT_OF_MEMORY from a device, where there is no more
  void to_system(void* address, int64_t size) noexcept;
  void give_back_beyond(int64_t total) noexcept;  // under the mutex: until used + cached <= total, largest first

  const std::shared_ptr<Stream> stream_;
  const bool exact_ = false;
  mutable Mutex mutex_;
  std::multimap<int64_t, void*> free_;     // by size
  int64_t job_peak_ = 0, usual_peak_ = 0;  // of the job under way; of recent jobs
  ArenaStats stats_;
};

}  // namespace rubricate
