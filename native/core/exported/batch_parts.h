#pragma once
// A batch whose rows do not share a pass of the network: it runs once for each part of them, and what comes out stands
// in the batch's order. Parts are the rows of each length, where a row beside a longer one answers otherwise than
// alone, or those of each setup, where an adapter stands at what all rows share.

#include <functional>

#include "core/models/model.h"

namespace ta::exported {

/// Numbers of rows, in rising order.
using Rows = std::vector<int64_t>;
using Encode = std::function<Encoded(const PackedBatch&, const ForwardContext&)>;

/// Whether no row stands beside a longer one.
bool is_of_one_length(const PackedBatch& batch);
std::vector<Rows> rows_by_length(const PackedBatch& batch);
std::vector<Rows> rows_by_setup(const std::vector<RowSegment>& segments, int64_t rows);

/// `open`: which size of one row's numbers is cut to its longest; -1: none, since a mask hides what is behind it.
/// Gradients flow through.
Encoded encode_parts(const PackedBatch& batch, const ForwardContext& context, const std::vector<Rows>& parts,
                     int64_t open, const Encode& encode);

}  // namespace ta::exported
