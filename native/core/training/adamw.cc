#include "core/training/adamw.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <limits>

namespace ta {

AdamW::AdamW(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups, const AdamWOptions& options)
    : Optimizer(std::move(parameters), std::move(groups)), options_(options), first_(zeros()), second_(zeros()) {}

std::vector<Optimizer::State> AdamW::state(size_t buffer) const {
  return {{"first_moment", first_[buffer]}, {"second_moment", second_[buffer]}};
}

void AdamW::update(const UpdateGroup& group, double learning_rate) {
  const auto moving = values(group);
  // Without an epsilon a gradient that has always been 0 would give 0 / 0; as the smallest number it changes no other.
  const double epsilon = std::max<double>(options_.epsilon, std::numeric_limits<float>::min());
  // The kernel reads the step number from tensors that its caller advances.
  const auto step = at::full({}, static_cast<double>(steps()), moving[0].options());
  const std::vector<at::Tensor> step_numbers(moving.size(), step);
  at::_fused_adamw_(moving, grads(group), parts(group, first_), parts(group, second_), {}, step_numbers, learning_rate,
                    options_.beta1, options_.beta2, group.weight_decay, epsilon, /*amsgrad=*/false,
                    /*maximize=*/false);
}

}  // namespace ta
