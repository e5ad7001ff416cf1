#pragma once
// A weight R [r, in] whose rows (or columns, the shorter side) stay orthonormal while it trains, as
// torch.nn.utils.parametrizations.orthogonal makes it of X [r, in]; n = max(r, in), k = min(r, in), X and R transposed
// where r < in:
//   r ≠ in   R = base · H1 … Hk [:, :k] · diag(X)      Hi the Householder reflection of X's column i below the diagonal
//   r = in   R = base · exp(A − Aᵀ)                    A = tril(X)
// base [n, n] is orthogonal and never trains; X starts as −1 on the diagonal, so that R starts as base's first k
// columns. The diagonal of X stands for signs: it gets no gradient, and only its whole part counts, as in PyTorch.
// Weight decay would shrink it to less than 1 and R to zero, so X has none here. PyTorch keys:
// parametrizations.weight.original, parametrizations.weight.0.base.

#include "core/adapters/kept_values.h"
#include "core/nn/module.h"
#include "core/nn/random.h"

namespace ta {

class OrthogonalWeight : public Module {
 public:
  OrthogonalWeight(int64_t rows, int64_t columns);
  const char* type() const override { return "ParametrizedLinear"; }
  /// R, differentiable in X.
  at::Tensor value() const;
  /// R starts as what `weight` [r, in] is after its rows (or columns) are made orthonormal.
  void start_with(const at::Tensor& weight, Random& random);

 private:
  at::Tensor made() const;

  at::Tensor original_, base_;
  mutable KeptValues kept_;
};

}  // namespace ta
