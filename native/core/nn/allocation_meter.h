#pragma once
// How much memory tensors take while something runs. Nothing is counted, and nothing costs time, until somebody asks.

#include <cstdint>
#include <functional>

namespace ta {

/// From now on peak_bytes sees libtorch's CPU tensors; once for a process, after use_large_blocks.
void meter_allocations();

/// Runs `work` and gives the most bytes that CPU tensors made in the meantime took at once, on whatever thread. Other
/// work of the process counts, too. Throws what `work` throws.
int64_t peak_bytes(const std::function<void()>& work);

}  // namespace ta
