#include "core/training/grouped_rows.h"

#include <ATen/ops/tensor.h>

#include <unordered_map>

namespace ta {

namespace {

using Numbers = std::vector<int64_t>;

at::Tensor on(const Numbers& numbers, at::Device device) {
  return at::tensor(numbers, at::kLong).to(device);
}

Numbers inverse(const Numbers& order) {
  Numbers result(order.size());
  for (size_t i = 0; i < order.size(); ++i) result[order[i]] = static_cast<int64_t>(i);
  return result;
}

}  // namespace

std::optional<GroupedRows> GroupedRows::of(const PackedBatch& batch, const std::vector<RowSegment>& segments) {
  std::unordered_map<const Composition*, size_t> places;
  std::vector<std::vector<const RowSegment*>> groups;
  for (const auto& segment : segments) {
    const auto place = places.emplace(segment.setup.get(), groups.size()).first->second;
    if (place == groups.size()) groups.emplace_back();
    groups[place].push_back(&segment);
  }
  if (groups.size() == segments.size()) return std::nullopt;
  GroupedRows grouped;
  Numbers rows;
  for (const auto& group : groups) {
    const auto first = static_cast<int64_t>(rows.size());
    for (const auto* segment : group)
      for (int64_t row = segment->first; row < segment->last; ++row) rows.push_back(row);
    grouped.segments.push_back({first, static_cast<int64_t>(rows.size()), group.front()->setup});
  }
  const auto device = batch.first_tokens.device();
  grouped.batch = batch.in_order(rows);
  grouped.rows_ = on(inverse(rows), device);
  grouped.tokens_ = on(inverse(batch.layout.tokens_of(rows)), device);
  return grouped;
}

void GroupedRows::restore(Encoded& encoded) const {
  encoded.last = encoded.last.index_select(0, encoded.rows_only ? rows_ : tokens_);
  if (encoded.row_states.defined()) encoded.row_states = encoded.row_states.index_select(0, rows_);
  for (auto& states : encoded.hidden_states) states = states.index_select(0, tokens_);
}

void GroupedRows::restore(FusionScores::All& scores) const {
  for (auto& [fusion, score] : scores) score = score.index_select(0, tokens_);
}

}  // namespace ta
