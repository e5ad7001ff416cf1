#pragma once
// Which type a trunk's matrices had better have on this machine. No list of instruction sets knows: of two processors
// with bfloat16 instructions one took half of float32's time and the other twice as long. So a few products of the
// model's own sizes are timed, forward and for the input's gradient, both ways in turn.

#include <ATen/core/Tensor.h>

namespace ta {

/// Seconds that the same products took, the shortest of several times.
struct TrunkTimes {
  double float32 = 0, bfloat16 = 0;
};

/// Takes under a second, except where a single round takes longer. Measured once in a process for each model size,
/// device and number of threads.
TrunkTimes probe_trunk(int64_t hidden, int64_t intermediate, at::Device device);

}  // namespace ta
