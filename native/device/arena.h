// Memory of one job, on the CPU or on a device (or of one JavaScript environment's tensors): freed blocks are cached
// and reused, so that a training step allocates nothing after the first of its shape. Blocks of sizes that are no
// longer used are released: blocks in use and cached blocks together come to at most 1.25 times the peak of recent
// jobs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "base/mutex.h"

namespace rubricate {

class Stream;

struct ArenaStats {
  int64_t used = 0;    // bytes in use
  int64_t peak = 0;    // the most bytes in use at once
  int64_t cached = 0;  // bytes cached for reuse
  int64_t blocks = 0;  // allocated from the system so far
};

// Thread-safe. Addresses are aligned to 64 bytes (256 on a device); the bytes are not initialised (filled with NaN
// patterns if the environment variable RUBRICATE_POISON is set, so that tests detect reads of memory that was never
// written).
class Arena {
 public:
  // On the stream's device, only for work of that stream. null: CPU memory.
  explicit Arena(std::shared_ptr<Stream> stream = nullptr);
  // keeps: false allocates exactly the requested bytes and caches nothing, so that accesses out of a tensor's bounds or
  // after its lifetime are detected; the default for an emulated device, and for the CPU under AddressSanitizer.
  Arena(std::shared_ptr<Stream> stream, bool keeps);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void* allocate(int64_t bytes);  // throws ERR_OUT_OF_MEMORY
  void release(void* address, int64_t bytes) noexcept;
  void trim() noexcept;  // releases the cached blocks to the system
  // Call at the end of each job. The bound on cached memory follows the job's peak: up at once, down by an eighth per
  // job.
  void end_job() noexcept;
  ArenaStats stats() const;
  Stream* stream() const { return stream_.get(); }  // null: the CPU
  const std::shared_ptr<Stream>& shared_stream() const { return stream_; }
  // Bytes of CPU memory in use from all arenas of the process.
  static int64_t process_bytes();

 private:
  int64_t size_of(int64_t bytes) const;
  void* from_system(int64_t size);  // out of memory: null on the CPU, ERR_OUT_OF_MEMORY on a device
  void to_system(void* address, int64_t size) noexcept;
  void give_back_beyond(int64_t total) noexcept;  // under the mutex: until used + cached <= total, longest unused first

  const std::shared_ptr<Stream> stream_;
  const bool exact_ = false;
  mutable Mutex mutex_;
  struct Cached {
    void* address = nullptr;
    int64_t job = 0;  // that released it
  };
  std::multimap<int64_t, Cached> free_;    // by size
  int64_t jobs_ = 0;                       // that ended
  int64_t job_peak_ = 0, usual_peak_ = 0;  // of the current job; of recent jobs
  ArenaStats stats_;
};

}  // namespace rubricate
