#pragma once
// y = x Wᵀ + b.  x [tokens, in], weight [out, in], bias [out].  PyTorch: nn.Linear, keys `weight`, `bias`.

#include "core/nn/module.h"

namespace ta {

class Linear : public Layer {
 public:
  Linear(int64_t in, int64_t out, bool with_bias = true);
  const char* type() const override { return "Linear"; }
  at::Tensor forward(const at::Tensor& x) override;
  /// True when neither tensor trains, so that no gradient of them is ever asked for.
  bool frozen() const;

  at::Tensor weight;
  at::Tensor bias;
};

}  // namespace ta
