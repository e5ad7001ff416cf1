#include "core/training/sgd.h"

#include <ATen/ops/_fused_sgd.h>

namespace ta {

Sgd::Sgd(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups, const SgdOptions& options)
    : Optimizer(std::move(parameters), std::move(groups)), options_(options) {
  if (options_.momentum != 0) momentum_ = zeros();
}

std::vector<Optimizer::State> Sgd::state(size_t buffer) const {
  if (momentum_.empty()) return {};
  return {{"momentum", momentum_[buffer]}};
}

void Sgd::update(const UpdateGroup& group, double learning_rate) {
  const auto momentum = momentum_.empty() ? std::vector<at::Tensor>() : parts(group, momentum_);
  at::_fused_sgd_(values(group), grads(group), momentum, group.weight_decay, options_.momentum, learning_rate,
                  options_.dampening, options_.nesterov, /*maximize=*/false, /*is_first_step=*/steps() == 1);
}

}  // namespace ta
