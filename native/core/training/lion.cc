#include "core/training/lion.h"

#include <ATen/ops/lerp.h>

namespace ta {

Lion::Lion(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups, const LionOptions& options)
    : Optimizer(std::move(parameters), std::move(groups)), options_(options), momentum_(zeros()) {}

std::vector<Optimizer::State> Lion::state(size_t buffer) const {
  return {{"momentum", momentum_[buffer]}};
}

void Lion::update(const UpdateGroup& group, double learning_rate) {
  auto moving = values(group), momentum = parts(group, momentum_);
  const auto gradients = grads(group);
  for (size_t i = 0; i < moving.size(); ++i) {
    const auto direction = at::lerp(momentum[i], gradients[i], 1 - options_.beta1).sign_();
    if (group.weight_decay != 0) moving[i].mul_(1 - learning_rate * group.weight_decay);
    moving[i].add_(direction, -learning_rate);
    momentum[i].lerp_(gradients[i], 1 - options_.beta2);
  }
}

}  // namespace ta
