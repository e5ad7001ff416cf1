#pragma once
// y = (x - mean(x)) / sqrt(var(x) + eps) ⊙ weight + bias over the last dimension (Ba et al. 2016, arXiv 1607.06450).
// x [tokens, size], weight [size], bias [size].  PyTorch: nn.LayerNorm, keys `weight`, `bias`.

#include "core/nn/module.h"

namespace ta {

class LayerNorm : public TokenLayer {
 public:
  using TokenLayer::forward;
  explicit LayerNorm(int64_t size, double eps = 1e-5);
  const char* type() const override { return "LayerNorm"; }
  at::Tensor forward(const at::Tensor& x) override;
  LayerSize size() const override { return {own_parameters()[0].shape[0], own_parameters()[0].shape[0]}; }
  bool frozen() const { return !weight.requires_grad() && !bias.requires_grad(); }

  at::Tensor weight;
  at::Tensor bias;
  double eps;
};

}  // namespace ta
