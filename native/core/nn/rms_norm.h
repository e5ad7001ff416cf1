#pragma once
// y = w ∘ x / √(mean(x²) + ε)  over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467).
// x [.., n], w [n].  What Llama and its kin have for a LayerNorm; PyTorch key: `weight`.

#include <ATen/core/Tensor.h>

namespace ta {

/// One node with its backward pass written out, for a weight that does not train. Float tensors of the CPU.
at::Tensor frozen_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace ta
