#pragma once
// y = x Wᵀ + b.  x [tokens, in], weight [out, in], bias [out].  PyTorch: nn.Linear, keys `weight`, `bias`.

#include "core/nn/module.h"

namespace ta {

/// The same with a gradient, for weights that belong to no Linear. bias may be undefined.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

class Linear : public TokenLayer {
 public:
  using TokenLayer::forward;
  Linear(int64_t in, int64_t out, bool with_bias = true);
  const char* type() const override { return "Linear"; }
  at::Tensor forward(const at::Tensor& x) override;
  LayerSize size() const override { return {own_parameters()[0].shape[1], own_parameters()[0].shape[0]}; }
  /// True when neither tensor trains, so that no gradient of them is ever asked for.
  bool frozen() const;

  at::Tensor weight;
  at::Tensor bias;
};

}  // namespace ta
