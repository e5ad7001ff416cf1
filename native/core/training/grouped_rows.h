#pragma once
// A batch's rows in the order in which a pass computes them: those with one setup side by side, so that an adapter has
// one product for all of its rows, wherever they stand in the batch. What the network makes of them goes back to the
// batch's order.

#include <optional>
#include <vector>

#include "core/adapters/fusion_scores.h"
#include "core/models/model.h"

namespace ta {

struct GroupedRows {
  PackedBatch batch;  ///< what the network reads; labels and the like stay with the batch that they belong to
  std::vector<RowSegment> segments;

  /// Nothing where no setup has rows in two places. Setups come in the order of their first rows, rows of one in
  /// theirs.
  static std::optional<GroupedRows> of(const PackedBatch& batch, const std::vector<RowSegment>& segments);

  /// [rows, …] or [tokens, …] of these rows in the batch's order; differentiable.
  void restore(Encoded& encoded) const;
  void restore(FusionScores::All& scores) const;

 private:
  at::Tensor rows_, tokens_;  // where each of the batch's stands here
};

}  // namespace ta
