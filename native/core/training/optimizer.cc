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
    first_.push_back(at::zeros_like(flat->values()));
    second_.push_back(at::zeros_like(flat->values()));
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
    const int64_t decayed = parameters_[i]->decayed(), all = parameters_[i]->values().numel();
    update(i, 0, decayed, learning_rate, options_.weight_decay);
    update(i, decayed, all, learning_rate, 0.0);
  }
}

void AdamW::update(size_t i, int64_t begin, int64_t end, double learning_rate, double weight_decay) {
  if (begin == end) return;
  auto part = [&](const at::Tensor& whole) { return whole.narrow(0, begin, end - begin); };
  at::Tensor values = part(parameters_[i]->values()), grads = part(parameters_[i]->grads());
  at::Tensor first = part(first_[i]), second = part(second_[i]);
  // The kernel reads the step number from a tensor that its caller advances.
  auto steps = at::full({}, static_cast<double>(steps_), values.options());
  at::_fused_adamw_({values}, {grads}, {first}, {second}, {}, {steps}, learning_rate, options_.beta1, options_.beta2,
                    weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace ta
