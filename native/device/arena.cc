#include "device/arena.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>

#include "base/error.h"
#include "base/integers.h"
#include "device/stream.h"

namespace rubricate {
namespace {

std::atomic<int64_t> process_total{0};

// Rounds sizes up to an eighth of their power of two, so that batches of slightly different lengths share blocks.
int64_t rounded(int64_t bytes) {
  if (bytes <= 64) return 64;
  int64_t step = 64;
  while (step * 16 <= bytes) step *= 2;
  return round_up(bytes, step);
}

bool poison() {
  static const bool set = std::getenv("RUBRICATE_POISON") != nullptr;
  return set;
}

#if defined(__SANITIZE_ADDRESS__)  // nothing after the requested bytes, so that each access there is found
void* allocate_aligned(size_t size) {
  void* address = nullptr;
  return posix_memalign(&address, 64, size) == 0 ? address : nullptr;
}

void release_aligned(void* address) noexcept { std::free(address); }
#else
// Not posix_memalign: before glibc 2.38 it asks for more than it returns, so that it cannot take a block of this size that
// was given back. Many blocks that stay, allocated among others that come and go, would take 1.5 times their bytes.
constexpr size_t kAlignment = 64;  // bytes of a cache line; malloc's alignment is 16

void* allocate_aligned(size_t size) {
  char* const block = static_cast<char*>(std::malloc(size + kAlignment));
  if (block == nullptr) return nullptr;
  char* const address = block + kAlignment - reinterpret_cast<uintptr_t>(block) % kAlignment;
  std::memcpy(address - sizeof(block), &block, sizeof(block));
  return address;
}

void release_aligned(void* address) noexcept {
  void* block = nullptr;
  std::memcpy(&block, static_cast<char*>(address) - sizeof(block), sizeof(block));
  std::free(block);
}
#endif

bool usually_keeps(const Stream* stream) {
#if defined(__SANITIZE_ADDRESS__)
  if (stream == nullptr) return false;
#endif
  return stream == nullptr || !stream->device().emulated();
}

}  // namespace

Arena::Arena(std::shared_ptr<Stream> stream) : Arena(stream, usually_keeps(stream.get())) {}

Arena::Arena(std::shared_ptr<Stream> stream, bool keeps) : stream_(std::move(stream)), exact_(!keeps) {
  if (stream_) stream_->device().attach(this);
}

Arena::~Arena() {
  if (stream_) stream_->device().detach(this);
  trim();
}

int64_t Arena::size_of(int64_t bytes) const { return exact_ ? std::max<int64_t>(bytes, 1) : rounded(bytes); }

void* Arena::from_system(int64_t size) {
  if (stream_) return stream_->device().allocate(size);
  return allocate_aligned(static_cast<size_t>(size));
}

void Arena::to_system(void* address, int64_t size) noexcept {
  if (stream_)
    stream_->device().release(address, size);
  else
    release_aligned(address);
}

void* Arena::allocate(int64_t bytes) {
  require(bytes >= 0 && bytes < int64_t{1} << 46, "ERR_OUT_OF_MEMORY", "Expected a size below 64 TiB but received ",
          bytes, " bytes");
  const int64_t size = size_of(bytes);
  void* address = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto block = free_.lower_bound(size);
    if (block != free_.end() && block->first == size) {
      address = block->second.address;
      stats_.cached -= size;
      free_.erase(block);
    } else {
      const int64_t most = std::max(usual_peak_, std::max(job_peak_, stats_.used + size));
      give_back_beyond(most + most / 4 - size);
    }
  }
  const bool fresh = address == nullptr;
  if (fresh) {
    address = from_system(size);
    if (address == nullptr) {  // cached blocks may be what prevents it
      trim();
      address = from_system(size);
    }
    require(address != nullptr, "ERR_OUT_OF_MEMORY", "Could not allocate ", size, " bytes");
  }
  if (poison()) {
    if (stream_)
      stream_->fill(address, 0xff, size);
    else
      std::memset(address, 0xff, static_cast<size_t>(size));
  }
  const std::lock_guard lock(mutex_);
  if (fresh) ++stats_.blocks;
  stats_.used += size;
  if (stats_.used > stats_.peak) stats_.peak = stats_.used;
  if (stats_.used > job_peak_) job_peak_ = stats_.used;
  if (!stream_) process_total.fetch_add(size, std::memory_order_relaxed);
  return address;
}

void Arena::release(void* address, int64_t bytes) noexcept {
  if (address == nullptr) return;
  const int64_t size = size_of(bytes);
  if (!stream_) process_total.fetch_sub(size, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  stats_.used -= size;
  if (exact_) return to_system(address, size);
  try {
    free_.emplace(size, Cached{address, jobs_});
    stats_.cached += size;
  } catch (...) {
    to_system(address, size);
  }
}

void Arena::trim() noexcept {
  const std::lock_guard lock(mutex_);
  for (const auto& [size, cached] : free_) to_system(cached.address, size);
  free_.clear();
  stats_.cached = 0;
}

void Arena::give_back_beyond(int64_t total) noexcept {
  while (!free_.empty() && stats_.used + stats_.cached > total) {
    // Not the largest: that is often one that jobs of every shape use, such as the logits of a chunk of rows.
    const auto oldest = std::min_element(free_.begin(), free_.end(),
                                         [](const auto& a, const auto& b) { return a.second.job < b.second.job; });
    to_system(oldest->second.address, oldest->first);
    stats_.cached -= oldest->first;
    free_.erase(oldest);
  }
}

void Arena::end_job() noexcept {
  const std::lock_guard lock(mutex_);
  ++jobs_;
  usual_peak_ = std::max(job_peak_, usual_peak_ - usual_peak_ / 8);
  job_peak_ = stats_.used;
  give_back_beyond(usual_peak_ + usual_peak_ / 4);
}

ArenaStats Arena::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

int64_t Arena::process_bytes() { return process_total.load(std::memory_order_relaxed); }

}  // namespace rubricate
