#include "core/training/shards.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>

#include "core/nn/parallel.h"
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

// Rows first .. last-1 of each of the copies that a batch of `rows` rows has.
struct ShardRange {
  int64_t rows, first, last, copies;

  int64_t begin(int64_t copy) const { return copy * rows + first; }
  int64_t end(int64_t copy) const { return copy * rows + last; }
  int64_t number(int64_t copy, int64_t row) const { return copy * (last - first) + row - begin(copy); }
};

std::vector<RowSegment> segments_of(const std::vector<RowSegment>& segments, const ShardRange& range) {
  std::vector<RowSegment> own;
  for (int64_t copy = 0; copy < range.copies; ++copy) {
    for (const auto& segment : segments) {
      const int64_t begin = std::max(segment.first, range.begin(copy)), end = std::min(segment.last, range.end(copy));
      if (begin < end) own.push_back({range.number(copy, begin), range.number(copy, end), segment.setup});
    }
  }
  return own;
}

std::vector<std::vector<int64_t>> row_heads_of(const std::vector<std::vector<int64_t>>& row_heads,
                                               const ShardRange& range) {
  std::vector<std::vector<int64_t>> own(row_heads.size());
  for (size_t i = 0; i < row_heads.size(); ++i)
    for (int64_t copy = 0; copy < range.copies; ++copy)
      for (int64_t row : row_heads[i])
        if (row >= range.begin(copy) && row < range.end(copy)) own[i].push_back(range.number(copy, row));
  return own;
}

std::vector<double> weights_by_head(const ForwardRequest& request) {
  std::vector<double> weights;
  for (size_t i = 0; i < request.head_labels.size(); ++i) {
    const auto& labels = request.head_labels[i];
    weights.push_back(labels.defined() ? weight_of(labels, request.weights_of(request.heads[i])) : 0);
  }
  return weights;
}

// Labels of the shard's rows for each head, and what share of the head's labels they are. `all`: of every copy.
void give_labels(AdapterModel& model, const RowFacts& all, const ForwardRequest& request, const ShardRange& range,
                 const std::vector<double>& weights, Shard& shard) {
  shard.request.head_labels.assign(weights.size(), at::Tensor());
  shard.request.head_shares.assign(weights.size(), 0);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    const auto& rows = request.row_heads[i];
    const auto place = [&](int64_t row) -> size_t {
      return std::lower_bound(rows.begin(), rows.end(), row) - rows.begin();
    };
    std::vector<at::Tensor> own;
    for (int64_t copy = 0; copy < range.copies; ++copy) {
      const size_t from = place(range.begin(copy)), to = place(range.end(copy));
      if (from == to) continue;
      own.push_back(labels_of(model.head(request.heads[i]), request.head_labels[i], all, rows, from, to));
    }
    if (own.empty()) continue;
    shard.request.head_labels[i] = at::cat(own);
    const auto own_weight = weight_of(shard.request.head_labels[i], request.weights_of(request.heads[i]));
    shard.request.head_shares[i] = own_weight / weights[i];
    if (shard.request.head_shares[i] > 0) shard.share = 1;
  }
}

}  // namespace

void spread_copies(AdapterModel& model, PackedBatch& batch, ForwardRequest& request) {
  if (request.copies == 1 || batch.layout.rows() >= at::get_num_threads() || !model.device().is_cpu()) return;
  batch = batch.repeated(request.copies);
  request.copies = 1;
}

int shard_count(AdapterModel& model, const PackedBatch& batch) {
  const auto& config = model.backbone().config();
  const int64_t rows = batch.layout.rows(), tokens = batch.layout.tokens();
  const int64_t work = 12 * config.hidden_size * config.hidden_size * config.num_hidden_layers * tokens;
  if (!model.device().is_cpu() || work < kWorthSharing || at::in_parallel_region()) return 1;
  return static_cast<int>(std::min<int64_t>(at::get_num_threads(), rows));
}

std::vector<Shard> split(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, int count) {
  check_labels(model, batch, request);
  const int64_t rows = batch.layout.rows();
  const auto class_weights = request.weights_of(request.head);
  const double labels = batch.labels ? weight_of(*batch.labels, class_weights) : 0;
  const auto head_labels = weights_by_head(request);
  const bool none = std::all_of(head_labels.begin(), head_labels.end(), [](double n) { return n == 0; });
  if (batch.labels ? labels == 0 : none && !head_labels.empty()) count = 1;
  const auto facts = batch.facts().repeated(request.copies);
  std::vector<Shard> shards;
  for (int64_t i = 1, first = 0; i <= count && first < rows; ++i) {
    const int64_t last = next_question(batch, batch.layout.share_end(i, count, first));
    Shard shard{batch.rows(first, last, labels_of(model, request)), request};
    const ShardRange range{rows, first, last, request.copies};
    shard.request.segments = segments_of(request.segments, range);
    shard.request.row_heads = row_heads_of(request.row_heads, range);
    give_labels(model, facts, request, range, head_labels, shard);
    if (labels > 0) shard.share = weight_of(*shard.batch.labels, class_weights) / labels;
    shards.push_back(std::move(shard));
    first = last;
  }
  return shards;
}

void run_shards(size_t count, const std::function<void(size_t)>& work) {
  parallel_for(0, static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work(static_cast<size_t>(i));
  });
}

}  // namespace ta
