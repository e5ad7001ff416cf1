#include "core/adapters/adapter_layer.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include "core/nn/linear_start.h"

namespace ta {

AdapterLayer::AdapterLayer(int64_t hidden, int64_t size, const std::string& activation)
    : hidden_(hidden), down_(std::make_shared<Linear>(hidden, size)), up_(std::make_shared<Linear>(size, hidden)) {
  child("down_project", down_project_, down_);
  child("activation", activation_, std::make_shared<Activation>(activation));
  child("up_project", up_project_, up_);
}

at::Tensor AdapterLayer::forward(const at::Tensor& x, const ForwardContext& context) {
  require_features(x, *this);
  return x + up_project_(activation_(down_project_(x, context), context), context);
}

void AdapterLayer::initialise(Random& random) {
  start_as_pytorch(*down_, random);
  start_at_zero(*up_);
  const c10::NoGradGuard guard;
  for (const auto& parameter : activation_.layer->own_parameters()) parameter.value->fill_(parameter.constant);
}

}  // namespace ta
