#include "core/exported/batch_parts.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "core/adapters/fusion_scores.h"

namespace ta::exported {

namespace {

at::Tensor numbers(const Rows& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

std::vector<RowSegment> segments_of(const std::vector<RowSegment>& all, const Rows& rows) {
  std::vector<RowSegment> result;
  auto at = all.begin();
  for (int64_t i = 0; i < static_cast<int64_t>(rows.size()); ++i) {
    while (at != all.end() && at->last <= rows[i]) ++at;
    const auto setup = at == all.end() || rows[i] < at->first ? nullptr : at->setup;
    if (!result.empty() && result.back().setup == setup) {
      result.back().last = i + 1;
    } else {
      result.push_back({i, i + 1, setup});
    }
  }
  return result;
}

PackedBatch batch_of(const PackedBatch& all, const Rows& rows, int64_t open) {
  auto part = all.in_order(rows);
  if (part.value_lengths.empty() || open < 0) return part;
  const auto [least, most] = std::minmax_element(part.value_lengths.begin(), part.value_lengths.end());
  part.pixels = part.pixels.narrow(open + 1, 0, *most).contiguous();
  if (*least == *most) part.value_lengths.clear();
  return part;
}

// What the passes gave, in the batch's order.
class Joined {
 public:
  void add(const at::Tensor& part) { parts_.push_back(part); }
  at::Tensor all() const { return at::cat(parts_); }
  at::Tensor in_order(const at::Tensor& order) const { return all().index_select(0, order); }

 private:
  std::vector<at::Tensor> parts_;
};

void add_scores(FusionScores& all, const FusionScores& part, const at::Tensor& tokens, int64_t total) {
  for (const auto& [fusion, scores] : part.all()) {
    std::vector<int64_t> children(scores.size(1));
    std::iota(children.begin(), children.end(), 0);
    all.add(*fusion, scores, tokens, total, children, scores.size(1));
  }
}

}  // namespace

bool is_of_one_length(const PackedBatch& batch) {
  if (!batch.value_lengths.empty()) return false;
  return batch.layout.groups().size() == 1 && (!batch.source_ids.defined() || batch.source_layout.groups().size() == 1);
}

std::vector<Rows> rows_by_length(const PackedBatch& batch) {
  std::map<std::array<int64_t, 3>, Rows> found;
  for (int64_t row = 0; row < batch.layout.rows(); ++row) {
    const int64_t source = batch.source_ids.defined() ? batch.source_layout.length(row) : 0;
    const int64_t values = batch.value_lengths.empty() ? 0 : batch.value_lengths[row];
    found[{batch.layout.length(row), source, values}].push_back(row);
  }
  std::vector<Rows> result;
  for (auto& [length, rows] : found) result.push_back(std::move(rows));
  return result;
}

std::vector<Rows> rows_by_setup(const std::vector<RowSegment>& segments, int64_t rows) {
  std::vector<const Composition*> setups;
  std::vector<Rows> result;
  auto at = segments.begin();
  for (int64_t row = 0; row < rows; ++row) {
    while (at != segments.end() && at->last <= row) ++at;
    const auto* setup = at == segments.end() || row < at->first ? nullptr : at->setup.get();
    const auto found = std::find(setups.begin(), setups.end(), setup) - setups.begin();
    if (found == static_cast<std::ptrdiff_t>(setups.size())) setups.push_back(setup), result.emplace_back();
    result[found].push_back(row);
  }
  return result;
}

Encoded encode_parts(const PackedBatch& batch, const ForwardContext& context, const std::vector<Rows>& parts,
                     int64_t open, const Encode& encode) {
  const auto device = batch.first_tokens.device();
  Joined tokens, rows, last, row_states;
  std::vector<Joined> hidden;
  Encoded result;
  for (const auto& own : parts) {
    const auto places = numbers(batch.layout.tokens_of(own), device);
    const auto part = batch_of(batch, own, open);
    std::vector<RowSegment> segments;
    if (context.segments != nullptr && !context.segments->empty()) segments = segments_of(*context.segments, own);
    FusionScores scores;
    auto inner = context.with(part.layout);
    if (context.segments != nullptr) inner.segments = &segments;
    if (context.fusion_scores != nullptr) inner.fusion_scores = &scores;
    const auto encoded = encode(part, inner);
    if (context.fusion_scores != nullptr) add_scores(*context.fusion_scores, scores, places, batch.layout.tokens());
    tokens.add(places), rows.add(numbers(own, device));
    last.add(encoded.last);
    if (encoded.row_states.defined()) row_states.add(encoded.row_states);
    hidden.resize(encoded.hidden_states.size());
    for (size_t i = 0; i < hidden.size(); ++i) hidden[i].add(encoded.hidden_states[i]);
    result.rows_only = encoded.rows_only, result.row_states = encoded.row_states;
  }
  const auto row_order = rows.all().argsort(), token_order = tokens.all().argsort();
  result.last = last.in_order(result.rows_only ? row_order : token_order);
  if (result.row_states.defined()) result.row_states = row_states.in_order(row_order);
  for (const auto& one : hidden) result.hidden_states.push_back(one.in_order(token_order));
  return result;
}

}  // namespace ta::exported
