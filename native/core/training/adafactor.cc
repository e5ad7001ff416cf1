#include "core/training/adafactor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <functional>
#include <numeric>

namespace ta {

namespace {

using Shape = std::vector<int64_t>;

int64_t count(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

Shape without(Shape shape, size_t from_end) {
  shape.erase(shape.end() - static_cast<std::ptrdiff_t>(from_end));
  return shape;
}

at::Tensor rms(const at::Tensor& tensor) {
  return at::linalg_vector_norm(tensor) / std::sqrt(static_cast<double>(tensor.numel()));
}

}  // namespace

Adafactor::Adafactor(std::vector<FlatParameters*> parameters, std::vector<UpdateGroup> groups,
                     const AdafactorOptions& options)
    : Optimizer(std::move(parameters), std::move(groups)), options_(options) {
  if (options_.beta1) first_ = zeros();
  for (const auto* flat : this->parameters()) {
    int64_t total = 0;
    std::vector<std::function<void(const at::Tensor&, Moments&)>> views;
    auto place = [&total](const Shape& shape) {
      const int64_t begin = total, length = count(shape);
      total += length;
      return [=](const at::Tensor& whole) { return whole.narrow(0, begin, length).view(shape); };
    };
    for (const auto& [name, parameter] : flat->parameters()) {
      if (parameter.fixed) break;  // they lie behind all that may train
      const auto& shape = parameter.shape;
      if (shape.size() < 2) {
        views.push_back([rows = place(shape)](const auto& whole, auto& moments) { moments.rows = rows(whole); });
      } else {
        views.push_back(
            [rows = place(without(shape, 1)), columns = place(without(shape, 2))](const auto& whole, auto& moments) {
              moments.rows = rows(whole);
              moments.columns = columns(whole);
            });
      }
    }
    auto& second = second_.emplace_back(at::zeros({total}, flat->values().options()));
    auto& moments = moments_.emplace_back(views.size());
    for (size_t i = 0; i < views.size(); ++i) views[i](second, moments[i]);
  }
}

std::vector<Optimizer::State> Adafactor::state(size_t buffer) const {
  std::vector<State> result = {{"second_moment", second_[buffer]}};
  if (!first_.empty()) result.push_back({"first_moment", first_[buffer]});
  return result;
}

void Adafactor::update(const UpdateGroup& group, double learning_rate) {
  for (const auto& [buffer, i] : group.elements) {
    const auto& flat = *parameters()[buffer];
    auto value = flat.view(flat.values(), i);
    auto update = scaled(flat.grad(i), moments_[buffer][i]);
    update.div_((rms(update) / options_.clip_threshold).clamp_min_(1)).mul_(learning_rate);
    if (options_.beta1) {
      auto mean = flat.view(first_[buffer], i);
      update = mean.mul_(*options_.beta1).add_(update, 1 - *options_.beta1);
    }
    if (group.weight_decay != 0) value.mul_(1 - learning_rate * group.weight_decay);
    value.sub_(update);
  }
}

at::Tensor Adafactor::scaled(const at::Tensor& gradient, Moments& moments) const {
  const double kept = 1 - std::pow(static_cast<double>(steps()), options_.decay_rate);
  const auto squares = gradient.square().add_(options_.epsilon);
  if (!moments.columns.defined()) {
    moments.rows.mul_(kept).add_(squares, 1 - kept);
    return moments.rows.rsqrt().mul_(gradient);
  }
  moments.rows.mul_(kept).add_(squares.mean(-1), 1 - kept);
  moments.columns.mul_(kept).add_(squares.mean(-2), 1 - kept);
  const auto rows = (moments.rows / moments.rows.mean(-1, true)).rsqrt_().unsqueeze(-1);
  return (rows * moments.columns.unsqueeze(-2).rsqrt()).mul_(gradient);
}

}  // namespace ta
