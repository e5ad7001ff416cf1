#pragma once
// y = x wᵀ + b as dot products, for processors where the library's products are slow: AMD's without AVX-512, on which
// MKL spends a quarter of its time on copying operands together. Every number of y is the sum of eight partial sums
// over the inner dimension, in an order that depends on its length alone: not on how many rows there are, nor on
// threads, so a row has the same bits in every batch.

#include <ATen/core/Tensor.h>

namespace ta {

/// Whether dot_product is the faster way to x wᵀ here, by processor, sizes and type alone.
/// x [n, k], w [m, k], both of any strides.
bool dot_product_serves(const at::Tensor& x, const at::Tensor& w);
/// Whether this processor can run it at all.
bool dot_product_runs(const at::Tensor& x, const at::Tensor& w);

/// bias [m] or undefined → [n, m], without autograd. Only where dot_product_runs.
at::Tensor dot_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);

}  // namespace ta
