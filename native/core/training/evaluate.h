#pragma once
// A forward pass that nothing learns from: no graph, no dropout, rows shared among threads.

#include "core/training/forward.h"

namespace ta {

ForwardResult evaluate(AdapterModel& model, PackedBatch batch, ForwardRequest request);

}  // namespace ta
