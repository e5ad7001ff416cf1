#pragma once
// y = x Wᵀ + b + Σ s (x Aᵀ) Bᵀ for some of the tokens each, as one autograd node. Only x and the small products x Aᵀ
// are kept, and nothing at all where no gradient is needed.

#include <ATen/core/Tensor.h>

#include <vector>

namespace ta {

/// A Linear's W and b, without or with an adapter in them. b may be undefined.
struct LinearTensors {
  at::Tensor weight, bias;
  bool transposed = false;  ///< weight is Wᵀ: a Conv1D's

  /// W [out, in] without its gradient.
  at::Tensor matrix() const { return transposed ? weight.detach().t() : weight.detach(); }
  /// W for autograd's own operators.
  at::Tensor tracked_matrix() const;
  /// ‖w‖² of each row of W, [out]: computed once for all who ask, unless W trains.
  at::Tensor row_squares() const;

  mutable at::Tensor squares;  ///< what row_squares() has found
};

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

/// x [tokens, in] → [tokens, out]. Factors are parameters, or made of some.
at::Tensor lora_linear(const at::Tensor& x, const LinearTensors& linear, const std::vector<LoraTerm>& terms);

}  // namespace ta
