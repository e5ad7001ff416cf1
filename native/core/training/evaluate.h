#pragma once
// A forward pass that nothing learns from: no graph, no dropout, rows shared among threads.

#include "core/training/forward.h"

namespace ta {

ForwardResult evaluate(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request);

}  // namespace ta
