#include "core/training/member.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"
#include "core/training/gradients.h"

namespace ta {

namespace {

// How many of a buffer's parameters there are, and how many of them are named. PyTorch's buffers are none.
std::pair<int64_t, int64_t> count_named(const FlatParameters& flat, const std::unordered_set<std::string>& names) {
  int64_t all = 0, named = 0;
  for (const auto& [name, parameter] : flat.parameters()) {
    if (parameter.buffer) continue;
    ++all;
    named += names.contains(name) ? 1 : 0;
  }
  return {all, named};
}

std::vector<FlatParameters*> own_buffers(AdapterModel& model, const MemberOptions& options) {
  std::vector<FlatParameters*> own;
  for (auto* flat : model.trainable()) {
    const auto [all, named] = count_named(*flat, options.names);
    if (!options.names.empty() && named == 0) continue;
    if (!options.names.empty() && named != all) {
      fail(
          ErrorCode::invalid_argument, "train", "'" + options.name + "' has a part of what trains as one",
          {.expected = text(all, " parameters, ", flat->parameters().front().name, " among them"), .got = text(named)});
    }
    own.push_back(flat);
  }
  if (own.empty()) {
    fail(ErrorCode::invalid_argument, "train",
         options.name.empty() ? "nothing trains" : "nothing of '" + options.name + "' trains",
         {.hint = nothing_trains_hint});
  }
  return own;
}

bool lies_in(const Module& module, const std::vector<FlatParameters*>& buffers) {
  bool found = false;
  module.visit_parameters("", [&](const std::string&, const Parameter& parameter) {
    for (const auto* flat : buffers)
      for (const auto& named : flat->parameters()) found = found || named.parameter.value == parameter.value;
  });
  return found;
}

}  // namespace

Member::Member(AdapterModel& model, MemberOptions options) : options_(std::move(options)) {
  auto buffers = own_buffers(model, options_);
  for (auto& fusion : model.training_fusions())
    if (lies_in(*fusion, buffers)) fusions_.push_back(std::move(fusion));
  auto groups = update_groups(buffers, {.learning_rate = options_.learning_rate, .weight_decay = options_.weight_decay},
                              options_.groups);
  optimizer_ = make_optimizer(buffers, std::move(groups), options_.optimizer);
}

void Member::regularise() {
  for (const auto& fusion : fusions_) fusion->add_regularisation();
}

double Member::step(double grad_norm) {
  // torch.nn.utils.clip_grad_norm_ divides by the norm plus 1e-6.
  if (options_.max_grad_norm > 0 && grad_norm > options_.max_grad_norm) {
    optimizer_->scale_grads(options_.max_grad_norm / (grad_norm + 1e-6));
  }
  const double factor = options_.schedule.factor(optimizer_->steps()) * scale_;
  optimizer_->step(factor);
  for (const auto& fusion : fusions_) fusion->cool();
  return options_.learning_rate * factor;
}

void Member::keep() {
  c10::NoGradGuard guard;
  kept_.resize(parameters().size());
  for (size_t i = 0; i < kept_.size(); ++i) {
    const auto& values = parameters()[i]->values();
    kept_[i].defined() ? kept_[i].copy_(values) : kept_[i] = values.detach().clone();
  }
}

void Member::restore() {
  c10::NoGradGuard guard;
  for (size_t i = 0; i < kept_.size(); ++i) {
    parameters()[i]->values().copy_(kept_[i]);
    parameters()[i]->changed();
  }
}

}  // namespace ta
