#pragma once
// How much memory tensors take while something runs. Nothing is counted, and nothing costs time, until somebody asks.

#include <cstdint>
#include <functional>

namespace ta {

/// From now on peak_bytes sees libtorch's CPU tensors; once for a process, after use_large_blocks.
void meter_allocations();

/// The most that was taken at once, had all threads been at their peaks together: whether they were is chance, and on a
/// busy machine one may be done before the next begins.
struct Peak {
  int64_t tensors = 0;  ///< bytes of CPU tensors that were made in the meantime, on whatever thread
  /// Bytes that the process itself had in memory, without what it maps from files (to a MiB); 0 where the system does
  /// not tell.
  int64_t process = 0;
};

/// Runs work(0) .. work(parts - 1), one after the other: threads meet in one part, not across parts. Other work of the
/// process counts, too. Throws what `work` throws.
Peak peak_bytes(size_t parts, const std::function<void(size_t)>& work);

}  // namespace ta
