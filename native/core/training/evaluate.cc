#include "core/training/evaluate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include "core/nn/threads.h"
#include "core/training/answers.h"
#include "core/training/shards.h"

namespace ta {

namespace {

// Values of rows, each copy's for itself: `counts(part, copy)` of the part's values are the copy's.
template <class Field, class Counts>
at::Tensor join(const std::vector<ForwardResult>& parts, int64_t copies, const Field& field, const Counts& counts) {
  std::vector<at::Tensor> tensors;
  std::vector<int64_t> read(parts.size(), 0);
  for (int64_t copy = 0; copy < copies; ++copy) {
    for (size_t i = 0; i < parts.size(); ++i) {
      const at::Tensor values = field(parts[i]);
      const int64_t count = values.defined() ? counts(i, copy) : 0;
      if (count == 0) continue;
      tensors.push_back(values.narrow(0, read[i], count));
      read[i] += count;
    }
  }
  return tensors.empty() ? at::Tensor() : at::cat(tensors);
}

// How many answers a head gives of one copy's rows.
int64_t answers_of(const Head& head, const Shard& shard, size_t number, int64_t copy) {
  const int64_t rows = shard.batch.layout.rows();
  std::vector<int64_t> own;
  for (int64_t row : shard.request.row_heads[number])
    if (row / rows == copy) own.push_back(row % rows);
  return answer_count(head, shard.batch.facts().some(own));
}

// The same where tokens with a label alone are answered for. The labels are those of one copy after the other.
int64_t labelled_of(const Head& head, const Shard& shard, size_t number, int64_t copy) {
  const int64_t own = answers_of(head, shard, number, copy);
  if (own == 0) return 0;
  int64_t before = 0;
  for (int64_t one = 0; one < copy; ++one) before += answers_of(head, shard, number, one);
  return counted(shard.request.head_labels[number].narrow(0, before, own));
}

// Each thread's rows have their own; where a fusion has no part in them, zeros.
void join_scores(const std::vector<ForwardResult>& parts, const std::vector<Shard>& shards, ForwardResult& result) {
  std::map<const Fusion*, int64_t> widths;
  for (const auto& part : parts)
    for (const auto& [fusion, scores] : part.fusion_scores) widths[fusion] = std::max(widths[fusion], scores.size(1));
  const int64_t copies = shards[0].request.copies;
  for (const auto& [fusion, width] : widths) {
    std::vector<at::Tensor> own;
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto& layout = shards[i].batch.layout;
      auto& scores = own.emplace_back(at::zeros({copies * layout.tokens(), width}));
      const auto found = parts[i].fusion_scores.find(fusion);
      if (found != parts[i].fusion_scores.end()) scores.narrow(1, 0, found->second.size(1)).copy_(found->second);
    }
    std::vector<at::Tensor> pieces;
    for (int64_t copy = 0; copy < copies; ++copy)
      for (const auto& scores : own) pieces.push_back(scores.chunk(copies)[copy]);
    result.fusion_scores[fusion] = at::cat(pieces);
  }
}

ForwardResult joined(AdapterModel& model, const std::vector<ForwardResult>& parts, const std::vector<Shard>& shards) {
  const auto& request = shards[0].request;
  auto all = [&](const auto& field) {
    return join(parts, request.copies, field,
                [&](size_t part, int64_t) { return field(parts[part]).size(0) / request.copies; });
  };
  ForwardResult result;
  result.logits = all([](const auto& part) { return part.logits; });
  // Where one token of each row is read, one part may have computed them alone and another, with a row gate, all.
  result.encoded.rows_only = parts[0].encoded.rows_only;
  bool alike = true;
  for (const auto& part : parts) alike = alike && part.encoded.rows_only == result.encoded.rows_only;
  if (alike) result.encoded.last = all([](const auto& part) { return part.encoded.last; });
  for (size_t i = 0; i < parts[0].encoded.hidden_states.size(); ++i)
    result.encoded.hidden_states.push_back(all([i](const auto& part) { return part.encoded.hidden_states[i]; }));
  for (size_t i = 0; i < parts[0].head_logits.size(); ++i)
    result.head_logits.push_back(join(
        parts, request.copies, [i](const auto& part) { return part.head_logits[i]; },
        [&](size_t part, int64_t copy) {
          const auto& head = model.head(request.heads[i]);
          return request.answers == Answers::all ? answers_of(head, shards[part], i, copy)
                                                 : labelled_of(head, shards[part], i, copy);
        }));
  join_scores(parts, shards, result);
  for (size_t i = 0; i < parts[0].head_losses.size(); ++i) {
    auto& sum = result.head_losses.emplace_back();
    for (size_t p = 0; p < parts.size(); ++p) {
      if (!parts[p].head_losses[i].defined()) continue;
      auto loss = parts[p].head_losses[i] * shards[p].request.head_shares[i];
      sum = sum.defined() ? sum + loss : loss;
    }
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (shards[i].share == 0) continue;
    auto loss = parts[i].loss * shards[i].share;
    result.loss = result.loss.defined() ? result.loss + loss : loss;
  }
  return result;
}

}  // namespace

ForwardResult evaluate(AdapterModel& model, PackedBatch batch, ForwardRequest request) {
  c10::NoGradGuard guard;
  spread_copies(model, batch, request);
  if (const int count = shard_count(model, batch); count > 1) {
    auto shards = split(model, batch, request, count);
    std::vector<ForwardResult> parts(shards.size());
    if (shards.size() > 1) {
      run_shards(shards.size(), [&](size_t i) {
        c10::NoGradGuard no_grad;
        parts[i] = forward(model, shards[i].batch, shards[i].request, nullptr);
      });
      return joined(model, parts, shards);
    }
  }
  const ThreadScope threads(batch.layout.tokens(), model.backbone().config().hidden_size);
  return forward(model, batch, request, nullptr);
}

}  // namespace ta
