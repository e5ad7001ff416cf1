#pragma once
// How much memory tensors take while something runs. Nothing is counted, and nothing costs time, until somebody asks.

#include <cstdint>
#include <functional>

namespace ta {

/// From now on peak_bytes sees libtorch's CPU tensors; once for a process, after use_large_blocks.
void meter_allocations();

struct Peak {
  int64_t tensors = 0;  ///< bytes of CPU tensors that were made in the meantime, on whatever thread
  /// Bytes that the process itself had in memory, without what it maps from files, at the tensors' peak (to a MiB); 0
  /// where the system does not tell.
  int64_t process = 0;
};

/// Runs `work` and gives the most that was taken at once. Other work of the process counts, too. Throws what `work`
/// throws.
Peak peak_bytes(const std::function<void()>& work);

}  // namespace ta
