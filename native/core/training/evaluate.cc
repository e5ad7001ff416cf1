#include "core/training/evaluate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <c10/core/GradMode.h>

#include "core/nn/threads.h"
#include "core/training/shards.h"

namespace ta {

namespace {

ForwardResult joined(const std::vector<ForwardResult>& parts, const std::vector<Shard>& shards) {
  auto all = [&](const auto& field) {
    std::vector<at::Tensor> tensors;
    for (const auto& part : parts)
      if (field(part).defined()) tensors.push_back(field(part));
    return tensors.empty() ? at::Tensor() : at::cat(tensors);
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
    result.head_logits.push_back(all([i](const auto& part) { return part.head_logits[i]; }));
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

ForwardResult evaluate(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request) {
  c10::NoGradGuard guard;
  if (const int count = shard_count(model, batch); count > 1) {
    auto shards = split(model, batch, request, count);
    std::vector<ForwardResult> parts(shards.size());
    if (shards.size() > 1) {
      run_shards(shards.size(), [&](size_t i) {
        c10::NoGradGuard no_grad;
        parts[i] = forward(model, shards[i].batch, shards[i].request, nullptr);
      });
      return joined(parts, shards);
    }
  }
  const ThreadScope threads(batch.layout.tokens(), model.backbone().config().hidden_size);
  return forward(model, batch, request, nullptr);
}

}  // namespace ta
