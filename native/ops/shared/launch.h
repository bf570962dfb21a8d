// Runs an op's kernel on its tensors' device: on CUDA in one launch, on the CPU in ranges on several threads.
#pragma once

#include <cstdint>

#include "device/cpu/thread_pool.h"
#include "device/stream.h"
#include "ops/shared/checks.h"
#include "ops/shared/rows.h"

namespace rubricate {

// Runs a kernel on [0, args.end): `device_kernel` in one launch, or `cpu_kernel` in ranges of `grain`; each range gets
// a copy of the arguments with its own begin and end.
template <typename Args>
void launch_ranges(Stream* stream, const char* device_kernel, void (*cpu_kernel)(const Args&), const Args& args,
                   int64_t grain) {
  if (stream != nullptr) return stream->run(device_kernel, args);
  parallel_ranges(args.end, grain, [cpu_kernel, &args](int64_t begin, int64_t end) {
    Args range = args;
    range.begin = begin;
    range.end = end;
    cpu_kernel(range);
  });
}

// The same for args.end rows of args.cols elements.
template <typename Args>
void launch_rows(Stream* stream, const char* device_kernel, void (*cpu_kernel)(const Args&), const Args& args) {
  launch_ranges(stream, device_kernel, cpu_kernel, args, row_grain(args.cols));
}

// On the CPU: calls body(begin, end, slot) for runs of rows that share a slot, from several threads.
template <typename Body>
void parallel_segments(const SequenceRows& rows, int64_t cols, const Body& body) {
  parallel_ranges(rows.rows, row_grain(cols),
                  [&](int64_t begin, int64_t end) { for_each_segment(rows, begin, end, body); });
}

}  // namespace rubricate
