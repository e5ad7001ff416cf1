#include "core/adapters/dynamic_adapter.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/sigmoid.h>

#include "core/nn/forward_context.h"
#include "core/nn/linear_start.h"
#include "core/nn/node.h"
#include "core/nn/rows.h"

namespace ta {

DynamicAdapter::DynamicAdapter(int64_t hidden, int64_t max_size, const DynamicOptions& options)
    : hidden_(hidden),
      max_size_(max_size),
      options_(options),
      down_(std::make_shared<Linear>(hidden, max_size)),
      up_(std::make_shared<Linear>(max_size, hidden)),
      controller_(std::make_shared<Linear>(hidden, 1)) {
  child("down_project", down_project_, down_);
  child("up_project", up_project_, up_);
  child("size_controller", size_controller_, controller_);
}

at::Tensor DynamicAdapter::sizes(const at::Tensor& x, const ForwardContext& context) const {
  const auto rows = RowLayout::single(context.layout->rows());
  return at::sigmoid(size_controller_(row_means(x, *context.layout), context.with(rows))) *
         static_cast<double>(max_size_);
}

at::Tensor DynamicAdapter::mask(const at::Tensor& sizes) const {
  const auto past = sizes - at::arange(1, max_size_ + 1, sizes.options().requires_grad(false));  // size - j - 1
  if (options_.soft_mask) return at::sigmoid(past / options_.temperature);
  const auto hard = past.ge(0).to(sizes.scalar_type());
  if (!needs_grad(sizes)) return hard;
  const auto soft = at::sigmoid(past / options_.temperature);
  return hard + (soft - soft.detach());  // the bracket is exactly zero
}

at::Tensor DynamicAdapter::forward(const at::Tensor& x, const ForwardContext& context) {
  require_features(x, *this);
  const auto units = down_project_(x, context) * for_each_token(mask(sizes(x, context)), *context.layout);
  return x + up_project_(units, context);
}

void DynamicAdapter::initialise(Random& random) {
  start_as_pytorch(*down_, random);
  options_.identity_start ? start_at_zero(*up_) : start_as_pytorch(*up_, random);
  start_as_pytorch(*controller_, random);
}

}  // namespace ta
