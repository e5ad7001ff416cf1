#pragma once
// y = x wᵀ + b of a few rows as dot products over the rows of x and w as they lie in memory. A library copies its
// operands together first, which few rows do not pay for: an adapter that has one row of a batch, a token that is
// generated. Every number of y is the sum of eight partial sums in an order that depends on the inner dimension alone.

#include <ATen/core/Tensor.h>

namespace ta {

/// Whether it can be had: CPU, dense rows, k a multiple of 8. x [n, k] float32, w [m, k] float32 or bfloat16.
bool dot_product_runs(const at::Tensor& x, const at::Tensor& w);

/// bias [m] or undefined → [n, m], without autograd. Only where dot_product_runs.
at::Tensor dot_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);

}  // namespace ta
