#include "core/training/gradients.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/nn/threads.h"

namespace ta {

namespace {

// Above this many trained values each thread's own buffers cost more than they bring.
constexpr int64_t kMostPrivate = 32'000'000;

std::vector<FlatParameters*> checked_trainable(AdapterModel& model) {
  auto trainable = model.trainable();
  if (trainable.empty()) {
    fail(ErrorCode::invalid_argument, "train", "nothing trains", {.hint = nothing_trains_hint});
  }
  return trainable;
}

struct Passed {
  BatchLoss loss;
  bool reached = false;  // something that trains took part
};

// Forward and backward on this thread; gradients weigh `share`, the loss does not.
Passed pass(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, Random* random,
            double share) {
  c10::AutoGradMode grad_mode(true);
  const auto result = forward(model, batch, request, random);
  const auto& loss = result.loss;
  if (!loss.defined()) {
    fail(ErrorCode::invalid_argument, "train", "there is no loss without a head",
         {.hint = "Add a head and make it active"});
  }
  Passed passed{{loss.item<double>(), {}}, loss.requires_grad()};
  for (const auto& own : result.head_losses) passed.loss.heads.push_back(own.defined() ? own.item<double>() : 0);
  if (passed.reached) (share == 1 ? loss : loss * share).backward();
  return passed;
}

void check_reached(bool reached) {
  if (reached) return;
  fail(ErrorCode::invalid_argument, "train", "no trainable parameter takes part in this batch's loss",
       {.hint = "Make the adapter or the head that trains the active one"});
}

// What another thread's share reached has been reached (see FlatParameters::zero_grads).
void take_versions(const FlatParameters& flat, const GradientBuffers& views) {
  for (size_t i = 0; i < flat.parameters().size(); ++i) {
    if (!flat.trains(i)) continue;
    const auto& parameter = *flat.parameters()[i].parameter.value;
    auto version = views.of(parameter).unsafeGetTensorImpl()->version_counter();
    if (version.current_version() > 0) parameter.grad().unsafeGetTensorImpl()->bump_version();
    version.set_version(0);
  }
}

}  // namespace

Gradients::Gradients(AdapterModel& model) : model_(model), parameters_(checked_trainable(model)) {}

void Gradients::zero() {
  for (auto* flat : parameters_) flat->zero_grads();
}

BatchLoss Gradients::add(PackedBatch batch, ForwardRequest request, Random* random, double share, int shards) {
  if (!batch.labels && request.head_labels.empty())
    fail(ErrorCode::invalid_argument, "train", "the batch has no labels");
  request.answers = Answers::none;
  spread_copies(model_, batch, request);
  if (shards == 0) {
    int64_t values = 0;
    for (const auto* flat : parameters_) values += flat->moving().numel();
    shards = values > kMostPrivate ? 1 : shard_count(model_, batch);
  }
  if (shards > 1) {
    auto parts = split(model_, batch, request, shards);
    if (parts.size() > 1) return add_shards(parts, random, share);
  }
  const ThreadScope threads(batch.layout.tokens(), model_.backbone().config().hidden_size);
  const auto passed = pass(model_, batch, request, random, share);
  check_reached(passed.reached);
  return passed.loss;
}

BatchLoss Gradients::add_shards(std::vector<Shard>& shards, Random* random, double share) {
  make_extra(shards.size() - 1);
  std::vector<Random> randoms;
  for (size_t i = 0; random != nullptr && i < shards.size(); ++i) randoms.push_back(random->fork());
  std::vector<Passed> passed(shards.size());
  run_shards(shards.size(), [&](size_t i) {
    auto& shard = shards[i];
    if (shard.share == 0) return;  // no label that counts
    std::optional<GradientScope> scope;
    if (i > 0) {
      for (auto& flat : extra_[i - 1].flat) flat.zero_();
      scope.emplace(extra_[i - 1].views);
    }
    passed[i] = pass(model_, shard.batch, shard.request, random ? &randoms[i] : nullptr, share * shard.share);
  });
  check_reached(std::any_of(passed.begin(), passed.end(), [](const auto& part) { return part.reached; }));
  BatchLoss loss;
  loss.heads.resize(shards[0].request.heads.size());
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto& [batch, request, part] = shards[i];
    if (part == 0) continue;
    loss.total += passed[i].loss.total * part;
    for (size_t h = 0; h < loss.heads.size(); ++h) loss.heads[h] += passed[i].loss.heads[h] * request.head_shares[h];
    for (size_t p = 0; i > 0 && p < parameters_.size(); ++p) {
      parameters_[p]->grads().add_(extra_[i - 1].flat[p]);
      take_versions(*parameters_[p], extra_[i - 1].views);
    }
  }
  return loss;
}

void Gradients::make_extra(size_t count) {
  while (extra_.size() < count) {
    auto& extra = extra_.emplace_back();
    for (const auto* flat : parameters_) {
      extra.flat.push_back(at::zeros_like(flat->moving()));
      for (size_t i = 0; i < flat->parameters().size(); ++i) {
        const auto& parameter = flat->parameters()[i].parameter;
        if (!parameter.fixed) extra.views.add(*parameter.value, flat->view(extra.flat.back(), i));
      }
    }
  }
}

}  // namespace ta
