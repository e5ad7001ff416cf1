#include "core/training/shards.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>

#include <algorithm>

namespace ta {

namespace {

// Multiply-adds of a whole forward pass: about a third of a millisecond of one core.
constexpr int64_t kWorthSharing = 20'000'000;

bool reads_rows(AdapterModel& model, const ForwardRequest& request) {
  return request.head.empty() || model.head(request.head).reads_rows();
}

// Labels that count in the loss's mean.
int64_t counted(const at::Tensor& labels) {
  return labels.scalar_type() == at::kLong ? labels.ne(-100).sum().item<int64_t>() : labels.numel();
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

}  // namespace

int shard_count(AdapterModel& model, const PackedBatch& batch) {
  const auto& config = model.backbone().config();
  const int64_t rows = batch.layout.rows(), tokens = batch.layout.tokens();
  const int64_t work = 12 * config.hidden_size * config.hidden_size * config.num_hidden_layers * tokens;
  if (!model.device().is_cpu() || work < kWorthSharing || at::in_parallel_region()) return 1;
  return static_cast<int>(std::min<int64_t>(at::get_num_threads(), rows));
}

std::vector<Shard> split(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, int count) {
  check_labels(model, batch, request.head);
  const auto& starts = batch.layout.starts();
  const int64_t rows = batch.layout.rows(), tokens = batch.layout.tokens();
  const double labels = batch.labels ? static_cast<double>(counted(*batch.labels)) : 0;
  if (batch.labels && labels == 0) count = 1;
  std::vector<Shard> shards;
  for (int64_t i = 1, first = 0; i <= count && first < rows; ++i) {
    // Up to the row boundary that is nearest to an equal share of tokens, one row at least.
    const int64_t target = tokens * i / count;
    int64_t last = std::lower_bound(starts.begin(), starts.end(), target) - starts.begin();
    if (last > first + 1 && starts[last] - target > target - starts[last - 1]) --last;
    last = i == count ? rows : std::clamp(last, first + 1, rows);
    Shard shard{batch.rows(first, last, !reads_rows(model, request)), request};
    shard.request.segments = rows_of(request.segments, first, last);
    shard.request.row_heads = rows_of(request.row_heads, first, last);
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
