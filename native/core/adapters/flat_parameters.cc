#include "core/adapters/flat_parameters.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <unordered_set>

namespace ta {

namespace {

int64_t count(const Parameter& parameter) {
  int64_t n = 1;
  for (int64_t size : parameter.shape) n *= size;
  return n;
}

// A tensor over part of `flat` with a version counter of its own: the optimizer writes to the whole at once.
at::Tensor view_of(const at::Tensor& flat, int64_t offset, const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return at::empty({0}, flat.options()).set_(flat.storage(), flat.storage_offset() + offset, shape, strides);
}

}  // namespace

FlatParameters::FlatParameters(std::vector<NamedParameter> parameters, at::Device device) {
  c10::NoGradGuard guard;
  std::unordered_set<const at::Tensor*> seen;
  for (auto& named : parameters)
    if (seen.insert(named.parameter.value).second) parameters_.push_back(std::move(named));
  std::stable_partition(parameters_.begin(), parameters_.end(), [](const auto& n) { return n.parameter.decay; });
  std::stable_partition(parameters_.begin(), parameters_.end(), [](const auto& n) { return !n.parameter.fixed; });

  int64_t total = 0;
  for (const auto& named : parameters_) {
    offsets_.push_back(total);
    total += count(named.parameter);
    if (!named.parameter.fixed) moving_ = total;
  }
  values_ = at::empty({total}, at::TensorOptions(at::kFloat).device(device));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& parameter = parameters_[i].parameter;
    auto view = view_of(values_, offsets_[i], parameter.shape);
    if (parameter.value->defined()) view.copy_(*parameter.value);
    *parameter.value = view;
  }
}

void FlatParameters::set_trainable(bool trainable, const std::set<std::string>& frozen) {
  std::set<std::string> still;
  for (const auto& named : parameters_)
    if (trainable && (named.parameter.fixed || frozen.contains(named.name))) still.insert(named.name);
  if (trainable == this->trainable() && still == frozen_) return;
  grads_ = trainable ? at::zeros_like(moving()) : at::Tensor();
  frozen_ = std::move(still);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& parameter = parameters_[i].parameter;
    parameter.value->requires_grad_(trains(i));
    parameter.value->mutable_grad() = trains(i) ? grad(i) : at::Tensor();
  }
}

void FlatParameters::rename(const std::unordered_map<const at::Tensor*, std::string>& names) {
  std::set<std::string> frozen;
  for (auto& named : parameters_) {
    const bool stands_still = frozen_.contains(named.name);
    if (const auto found = names.find(named.parameter.value); found != names.end()) named.name = found->second;
    if (stands_still) frozen.insert(named.name);
  }
  frozen_ = std::move(frozen);
}

void FlatParameters::changed() {
  for (const auto& named : parameters_) named.parameter.value->unsafeGetTensorImpl()->bump_version();
}

void FlatParameters::zero_grads() {
  if (!grads_.defined()) return;
  grads_.zero_();
  // What a pass adds to has another version afterwards, by which the optimizer knows it.
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!trains(i)) continue;
    auto version = parameters_[i].parameter.value->grad().unsafeGetTensorImpl()->version_counter();
    version.set_version(0);
  }
}

FlatParameters::Span FlatParameters::span(size_t i) const {
  return {offsets_[i], offsets_[i] + count(parameters_[i].parameter)};
}

at::Tensor FlatParameters::view(const at::Tensor& flat, size_t i) const {
  return view_of(flat, offsets_[i], parameters_[i].parameter.shape);
}

}  // namespace ta
