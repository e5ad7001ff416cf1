#include "core/training/trainer.h"

#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "core/nn/allocation_meter.h"

namespace ta {

namespace {

// The members of a micro-batch's heads.
std::vector<int64_t> members_of(const MicroBatch& batch) {
  const size_t heads = std::max<size_t>(1, batch.request.heads.size());
  return batch.head_members.empty() ? std::vector<int64_t>(heads, 0) : batch.head_members;
}

void check_owned(AdapterModel& model, const std::vector<std::unique_ptr<Member>>& members) {
  std::map<const FlatParameters*, int> owners;
  for (const auto& member : members)
    for (const auto* flat : member->parameters()) ++owners[flat];
  for (const auto* flat : model.trainable()) {
    if (owners[flat] == 1) continue;
    fail(ErrorCode::invalid_argument, "train",
         text(flat->parameters().front().name, " belongs to ", owners[flat], " of those that train"),
         {.expected = "one"});
  }
}

void check_weights(AdapterModel& model, const std::string& head, const at::Tensor& weights) {
  const int64_t labels = model.head(head).config().num_labels;
  if (weights.numel() == labels) return;
  fail(ErrorCode::invalid_argument, "train", text("the class weights of '", head, "' do not fit its labels"),
       {.expected = text(labels, " weights"), .got = text(weights.numel())});
}

// C writes some of them as "-nan".
std::string number(double value) {
  return std::isnan(value) ? "NaN" : text(value);
}

[[noreturn]] void fail_not_finite(const Member& member, const MemberResult& result) {
  const auto whose = member.options().name.empty() ? "" : text(" of '", member.options().name, "'");
  fail(ErrorCode::nan_loss, "train",
       text("step ", member.steps() + 1, whose, " has no finite ", std::isfinite(result.loss) ? "gradient" : "loss"),
       {.expected = "finite numbers",
        .got = text("loss ", number(result.loss), ", gradient norm ", number(result.grad_norm)),
        .hint = "The parameters are as they were before this step; lower the learning rate or look at the batch"});
}

}  // namespace

Trainer::Trainer(AdapterModel& model, TrainerOptions options)
    : model_(model), gradients_(model), random_(options.seed, model.device()) {
  for (auto& member : options.members) members_.push_back(std::make_unique<Member>(model, std::move(member)));
  check_owned(model, members_);
  for (auto& [head, weights] : options.class_weights) {
    check_weights(model, head, weights);
    weights = weights.to(model.device());
  }
  class_weights_ = std::make_shared<ClassWeights>(std::move(options.class_weights));
}

Member& Trainer::at(int64_t member) const {
  const auto count = static_cast<int64_t>(members_.size());
  if (member >= 0 && member < count) return *members_[member];
  fail(ErrorCode::invalid_argument, "train", "there is no such member",
       {.expected = text("0 to ", count - 1), .got = text(member)});
}

std::vector<double> Trainer::shares(const std::vector<MicroBatch>& batches) const {
  std::vector<double> counts(members_.size(), 0);
  for (const auto& batch : batches) {
    const auto members = members_of(batch);
    for (const int64_t member : std::set<int64_t>(members.begin(), members.end())) {
      at(member);
      ++counts[member];
    }
  }
  for (auto& count : counts) count = count == 0 ? 0 : 1 / count;
  return counts;
}

double Trainer::weigh(MicroBatch& micro, const std::vector<double>& share) const {
  auto& request = micro.request;
  const auto& weights = micro.head_weights;
  const auto owners = members_of(micro);
  double whole = 1;
  if (request.heads.empty()) {
    whole = share[owners[0]] * (weights.empty() ? 1 : weights[0]);
    request.label_smoothing = at(owners[0]).options().label_smoothing;
  }
  request.class_weights = class_weights_;
  request.head_weights.clear();
  request.head_smoothing.clear();
  for (size_t i = 0; i < request.heads.size(); ++i) {
    request.head_weights.push_back(share[owners[i]] * (weights.empty() ? 1 : weights[i]));
    request.head_smoothing.push_back(at(owners[i]).options().label_smoothing);
  }
  return whole;
}

BatchLoss Trainer::add(const MicroBatch& micro, double share) {
  if (micro.frozen == nullptr) return gradients_.add(micro.batch, micro.request, &random_, share);
  // What the frozen layers give is there while its micro-batch runs, not all of a step's at once.
  auto batch = micro.batch;
  micro.frozen->fill(batch, micro.request);
  return gradients_.add(std::move(batch), micro.request, &random_, share);
}

MemoryUse Trainer::measure(std::vector<MicroBatch>& batches) {
  MemoryUse use;
  for (const auto& member : members_) {
    for (size_t i = 0; i < member->parameters().size(); ++i) {
      use.gradients += static_cast<int64_t>(member->parameters()[i]->grads().nbytes());
      for (const auto& state : member->optimizer().state(i))
        use.optimizer += static_cast<int64_t>(state.tensor.nbytes());
    }
  }
  const auto share = shares(batches);
  const auto before = random_.state();
  const auto peak = peak_bytes(batches.size(), [&](size_t i) {
    auto& micro = batches[i];
    add(micro, weigh(micro, share));
  });
  use.activations = peak.tensors;
  use.process = peak.process;
  random_.set_state(before);
  gradients_.zero();
  return use;
}

StepResult Trainer::step(std::vector<MicroBatch>& batches, const std::vector<int64_t>& members, bool go_on,
                         const std::function<bool()>& stopped) {
  StepResult result;
  if (batches.empty()) fail(ErrorCode::invalid_argument, "train", "expected at least one batch, got none");
  for (const int64_t member : members) at(member);
  gradients_.zero();
  const auto share = shares(batches);
  const auto before = random_.state();
  std::vector<double> losses(members_.size(), 0);
  for (auto& micro : batches) {
    if (stopped && stopped()) {
      random_.set_state(before);
      fail(ErrorCode::aborted, "train", "stopped between micro-batches");
    }
    const auto owners = members_of(micro);
    const auto loss = add(micro, weigh(micro, share));
    const auto heads = micro.request.heads.size();
    if (heads == 0) losses[owners[0]] += share[owners[0]] * loss.total;
    for (size_t i = 0; i < heads; ++i) losses[owners[i]] += share[owners[i]] * loss.heads[i];
    result.tokens += micro.batch.layout.tokens();
  }
  for (const int64_t index : members) {
    auto& member = at(index);
    member.regularise();
    const double norm = member.optimizer().grad_norm();
    const bool finite = std::isfinite(losses[index]) && std::isfinite(norm);
    result.members.push_back({index, losses[index], 0, norm, finite});
    if (finite || go_on) continue;
    random_.set_state(before);
    fail_not_finite(member, result.members.back());
  }
  for (auto& [index, loss, learning_rate, norm, finite] : result.members)
    if (finite) learning_rate = at(index).step(norm);
  return result;
}

}  // namespace ta
