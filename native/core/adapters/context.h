#pragma once
// What a forward pass carries besides the tokens: how rows lie, which adapters each row uses, and dropout's random
// numbers. It is data, made anew for each batch; nothing in the module tree changes when it does.

#include <vector>

#include "core/nn/packed_batch.h"
#include "core/nn/random.h"

namespace ta {

/// Rows first .. last-1 pass through `adapters`, one after the other (indices into each site); none: the base model.
struct RowSegment {
  int64_t first = 0;
  int64_t last = 0;
  std::vector<int64_t> adapters;
};

struct ForwardContext {
  const RowLayout* layout = nullptr;
  std::vector<RowSegment> segments;
  Random* random = nullptr;  ///< dropout acts where set: training
};

}  // namespace ta
