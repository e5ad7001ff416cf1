#pragma once
// The scaled up-projection of an adapter, u = scale ∘ (z Wᵀ + b), with its factors kept apart: what AdapterFusion
// reads.

#include <ATen/core/Tensor.h>

namespace ta {

struct UpProjection {
  at::Tensor z;             ///< [tokens, bottleneck]; without a weight the value itself, [tokens, hidden]
  at::Tensor weight, bias;  ///< [hidden, bottleneck], [hidden], as autograd must take them
  at::Tensor scale;         ///< broadcasts to [tokens, hidden]; undefined: `factor`
  double factor = 1;
};

}  // namespace ta
