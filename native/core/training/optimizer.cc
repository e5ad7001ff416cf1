#include "core/training/optimizer.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

namespace ta {

namespace {

// The group without what the loss did not reach: as in PyTorch, where such a parameter's gradient is None, it neither
// decays nor moves. Gradients that were added to since they were zeroed have another version than 0.
UpdateGroup reached(UpdateGroup group, const std::vector<FlatParameters*>& parameters) {
  const auto was_missed = [&](const UpdateGroup::Element& element) {
    return parameters[element.buffer]->parameters()[element.parameter].parameter.value->grad()._version() == 0;
  };
  if (std::erase_if(group.elements, was_missed) == 0) return group;
  group.parts.clear();
  for (const auto& [buffer, parameter] : group.elements) {
    const auto [begin, end] = parameters[buffer]->span(parameter);
    if (!group.parts.empty() && group.parts.back().buffer == buffer && group.parts.back().end == begin) {
      group.parts.back().end = end;
    } else {
      group.parts.push_back({buffer, begin, end});
    }
  }
  return group;
}

}  // namespace

Optimizer::Optimizer(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups)
    : parameters_(std::move(parameters)), groups_(std::move(groups)) {}

double Optimizer::grad_norm() const {
  double sum = 0;
  for (const auto* flat : parameters_) {
    const double norm = at::linalg_vector_norm(flat->grads()).item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

void Optimizer::scale_grads(double factor) {
  for (const auto* flat : parameters_) {
    auto grads = flat->grads();
    grads.mul_(factor);
  }
}

void Optimizer::step(double factor) {
  c10::NoGradGuard guard;
  ++steps_;
  for (const auto& group : groups_) {
    if (const auto moving = reached(group, parameters_); !moving.elements.empty())
      update(moving, group.learning_rate * factor);
  }
  for (auto* flat : parameters_) flat->changed();
}

std::vector<at::Tensor> Optimizer::zeros() const {
  std::vector<at::Tensor> result;
  for (const auto* flat : parameters_) result.push_back(at::zeros_like(flat->moving()));
  return result;
}

std::vector<at::Tensor> Optimizer::values(const UpdateGroup& group) const {
  std::vector<at::Tensor> result;
  for (const auto& [buffer, begin, end] : group.parts)
    result.push_back(parameters_[buffer]->values().narrow(0, begin, end - begin));
  return result;
}

std::vector<at::Tensor> Optimizer::grads(const UpdateGroup& group) const {
  std::vector<at::Tensor> result;
  for (const auto& [buffer, begin, end] : group.parts)
    result.push_back(parameters_[buffer]->grads().narrow(0, begin, end - begin));
  return result;
}

std::vector<at::Tensor> Optimizer::parts(const UpdateGroup& group, const std::vector<at::Tensor>& buffers) {
  std::vector<at::Tensor> result;
  for (const auto& [buffer, begin, end] : group.parts) result.push_back(buffers[buffer].narrow(0, begin, end - begin));
  return result;
}

}  // namespace ta
