#pragma once
// A batch for a network that answers for a row beside longer ones otherwise than alone: it runs once for the rows of
// each length, and what comes out stands in the batch's order.

#include <functional>

#include "core/models/model.h"

namespace ta::exported {

using Encode = std::function<Encoded(const PackedBatch&, const ForwardContext&)>;

/// Whether no row stands beside a longer one.
bool is_of_one_length(const PackedBatch& batch);

/// `open`: which size of one row's numbers differs from row to row; -1: rows are ids. Gradients flow through.
Encoded encode_by_length(const PackedBatch& batch, const ForwardContext& context, int64_t open, const Encode& encode);

}  // namespace ta::exported
