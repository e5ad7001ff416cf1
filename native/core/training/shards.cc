#include "core/training/shards.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>

#include <algorithm>

#include "core/training/answers.h"

namespace ta {

namespace {

// Multiply-adds of a whole forward pass: about a third of a millisecond of one core.
constexpr int64_t kWorthSharing = 20'000'000;

LabelsOf labels_of(AdapterModel& model, const ForwardRequest& request) {
  return request.head.empty() ? LabelsOf::rows : model.head(request.head).labels_of();
}

// The first row from `row` on that begins a question: all choices of one stay together.
int64_t next_question(const PackedBatch& batch, int64_t row) {
  if (!batch.questions) return row;
  const auto& starts = batch.questions->starts();
  return *std::lower_bound(starts.begin(), starts.end(), row);
}

std::vector<RowSegment> rows_of(const std::vector<RowSegment>& segments, int64_t first, int64_t last) {
  std::vector<RowSegment> part;
  for (const auto& segment : segments) {
    const int64_t begin = std::max(segment.first, first), end = std::min(segment.last, last);
    if (begin < end) part.push_back({begin - first, end - first, segment.setup});
  }
  return part;
}

std::vector<std::vector<int64_t>> rows_of(const std::vector<std::vector<int64_t>>& row_heads, int64_t first,
                                          int64_t last) {
  std::vector<std::vector<int64_t>> part(row_heads.size());
  for (size_t i = 0; i < row_heads.size(); ++i)
    for (int64_t row : row_heads[i])
      if (row >= first && row < last) part[i].push_back(row - first);
  return part;
}

std::vector<double> counted_by_head(const ForwardRequest& request) {
  std::vector<double> counts;
  for (const auto& labels : request.head_labels)
    counts.push_back(labels.defined() ? static_cast<double>(counted(labels)) : 0);
  return counts;
}

// Labels of the shard's rows first .. last-1 for each head, and what share of the head's labels they are.
void give_labels(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, int64_t first,
                 int64_t last, const std::vector<double>& counts, Shard& shard) {
  shard.request.head_labels.assign(counts.size(), at::Tensor());
  shard.request.head_shares.assign(counts.size(), 0);
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto& rows = request.row_heads[i];
    const size_t from = std::lower_bound(rows.begin(), rows.end(), first) - rows.begin();
    const size_t to = std::lower_bound(rows.begin(), rows.end(), last) - rows.begin();
    if (from == to || counts[i] == 0) continue;
    auto own = labels_of(model.head(request.heads[i]), request.head_labels[i], batch, rows, from, to);
    shard.request.head_shares[i] = static_cast<double>(counted(own)) / counts[i];
    shard.request.head_labels[i] = std::move(own);
    if (shard.request.head_shares[i] > 0) shard.share = 1;
  }
}

}  // namespace

int shard_count(AdapterModel& model, const PackedBatch& batch) {
  const auto& config = model.backbone().config();
  const int64_t rows = batch.layout.rows(), tokens = batch.layout.tokens();
  const int64_t work = 12 * config.hidden_size * config.hidden_size * config.num_hidden_layers * tokens;
  if (!model.device().is_cpu() || work < kWorthSharing || at::in_parallel_region()) return 1;
  return static_cast<int>(std::min<int64_t>(at::get_num_threads(), rows));
}

std::vector<Shard> split(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, int count) {
  check_labels(model, batch, request);
  const auto& starts = batch.layout.starts();
  const int64_t rows = batch.layout.rows(), tokens = batch.layout.tokens();
  const double labels = batch.labels ? static_cast<double>(counted(*batch.labels)) : 0;
  const auto head_labels = counted_by_head(request);
  const bool none = std::all_of(head_labels.begin(), head_labels.end(), [](double n) { return n == 0; });
  if (batch.labels ? labels == 0 : none && !head_labels.empty()) count = 1;
  std::vector<Shard> shards;
  for (int64_t i = 1, first = 0; i <= count && first < rows; ++i) {
    // Up to the row boundary that is nearest to an equal share of tokens, one row at least.
    const int64_t target = tokens * i / count;
    int64_t last = std::lower_bound(starts.begin(), starts.end(), target) - starts.begin();
    if (last > first + 1 && starts[last] - target > target - starts[last - 1]) --last;
    last = next_question(batch, i == count ? rows : std::clamp(last, first + 1, rows));
    Shard shard{batch.rows(first, last, labels_of(model, request)), request};
    shard.request.segments = rows_of(request.segments, first, last);
    shard.request.row_heads = rows_of(request.row_heads, first, last);
    give_labels(model, batch, request, first, last, head_labels, shard);
    if (labels > 0) shard.share = static_cast<double>(counted(*shard.batch.labels)) / labels;
    shards.push_back(std::move(shard));
    first = last;
  }
  return shards;
}

void run_shards(size_t count, const std::function<void(size_t)>& work) {
  at::parallel_for(0, static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work(static_cast<size_t>(i));
  });
}

}  // namespace ta
