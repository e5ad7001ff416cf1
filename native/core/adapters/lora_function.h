#pragma once
// y = x Wᵀ + b + Σ s (x Aᵀ) Bᵀ for some of the tokens each, as one autograd node. Only x and the small products x Aᵀ
// are kept, and nothing at all where no gradient is needed.

#include <ATen/core/Tensor.h>

#include <vector>

namespace ta {

/// A product B A that is added to a weight.
struct LowRank {
  at::Tensor a;      ///< [r, in]
  at::Tensor b;      ///< [out, r]
  double scale = 1;  ///< s
};

struct LoraTerm {
  LowRank factors;
  int64_t begin = 0, count = 0;  ///< of the tokens that it is for
};

/// x [tokens, in], weight [out, in], bias [out] or undefined → [tokens, out]. Factors are parameters, or made of some.
at::Tensor lora_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       const std::vector<LoraTerm>& terms);

}  // namespace ta
