#include "core/training/optimizer.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <cmath>

namespace ta {

AdamW::AdamW(std::vector<FlatParameters*> parameters, const AdamWOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const auto* flat : parameters_) {
    first_.push_back(at::zeros_like(flat->moving()));
    second_.push_back(at::zeros_like(flat->moving()));
  }
}

double AdamW::grad_norm() const {
  double sum = 0;
  for (const auto* flat : parameters_) {
    const double norm = at::linalg_vector_norm(flat->grads()).item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

void AdamW::scale_grads(double factor) {
  for (const auto* flat : parameters_) {
    auto grads = flat->grads();
    grads.mul_(factor);
  }
}

void AdamW::set_steps(int64_t steps) {
  steps_ = steps;
}

void AdamW::step(double learning_rate) {
  c10::NoGradGuard guard;
  ++steps_;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    update(i, true, learning_rate);
    update(i, false, learning_rate);
  }
}

void AdamW::update(size_t i, bool decay, double learning_rate) {
  std::vector<at::Tensor> values, grads, first, second, steps;
  // The kernel reads the step number from tensors that its caller advances.
  const auto step = at::full({}, static_cast<double>(steps_), parameters_[i]->values().options());
  for (const auto& range : parameters_[i]->ranges()) {
    if (range.decay != decay) continue;
    auto part = [&](const at::Tensor& whole) { return whole.narrow(0, range.begin, range.end - range.begin); };
    values.push_back(part(parameters_[i]->values()));
    grads.push_back(part(parameters_[i]->grads()));
    first.push_back(part(first_[i]));
    second.push_back(part(second_[i]));
    steps.push_back(step);
  }
  if (values.empty()) return;
  at::_fused_adamw_(values, grads, first, second, {}, steps, learning_rate, options_.beta1, options_.beta2,
                    decay ? options_.weight_decay : 0.0, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  // The whole was written to, past the parameters: what is kept of their values must see that they changed.
  for (const auto& named : parameters_[i]->parameters()) named.parameter.value->unsafeGetTensorImpl()->bump_version();
}

}  // namespace ta
