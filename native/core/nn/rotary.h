#pragma once
// Rotary positions (Su et al. 2021, arXiv 2104.09864), as transformers has them, the halves of a head side by side:
//   y = x ∘ cos + (-x₂, x₁) ∘ sin        x = (x₁, x₂)
// x [rows, heads, tokens, d], of any strides with the features side by side; cos, sin [rows or 1, 1, tokens, d].

#include <ATen/core/Tensor.h>

namespace ta {

/// Whether rotate() takes these: float tensors of the CPU that fit, cos and sin without a gradient.
bool rotates(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// One node with its backward pass written out.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace ta
