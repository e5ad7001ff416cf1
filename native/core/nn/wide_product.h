#pragma once
// y = x wᵀ + b on processors with AVX-512, for as many rows as a batch of texts has. MKL copies w before it multiplies,
// and waits for memory meanwhile: a weight of a model is in no cache when its turn comes. Here what comes next is
// fetched during the sums. Where w's rows are dense (x Wᵀ) it is read where it lies, one number at a time, and x is
// copied in panels whose vectors run along its rows; where its columns are (g W), w is copied in panels whose vectors
// run along its columns, a part at a time that the second cache holds, and x is read in place. Every number of y is a
// sum in an order that depends on the inner dimension and the side alone: a row has the same bits in every batch, with
// any number of threads.

#include <ATen/core/Tensor.h>

namespace ta {

/// Whether it can be had: CPU with AVX-512, float32, dense rows of x, dense rows of w or (m ≥ 32) dense columns, m and
/// k multiples of 16, k > 0.  x [n, k], w [m, k].
bool wide_product_runs(const at::Tensor& x, const at::Tensor& w);
/// bias [m] or undefined → [n, m], without autograd. Only where wide_product_runs.
at::Tensor wide_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);

}  // namespace ta
