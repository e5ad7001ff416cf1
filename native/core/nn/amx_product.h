#pragma once
// y = x wᵀ + b by AMX (amx_tile.h), as exact as float32 sums: the parts of x's rows stay in the second cache, w's are
// made panel by panel while the panel before it is multiplied, so w is read once for so many rows, where it lies, its
// rows dense (x Wᵀ) or its columns (g W). Every number of y is a sum in an order that depends on the inner dimension
// alone: a row has the same bits in every batch, with any number of threads. What is no number, or is within 2^-8 of
// float32's largest, makes its sums no numbers.

#include <ATen/core/Tensor.h>

namespace ta {

/// Whether it can be had: CPU with AMX for bfloat16, float32, dense rows of x, dense rows or columns of w, m and k from
/// 32 on. What is left of them above a multiple of 32 is copied.  x [n, k], w [m, k].
bool amx_product_runs(const at::Tensor& x, const at::Tensor& w);
/// bias [m] or undefined → [n, m], without autograd. Only where amx_product_runs.
at::Tensor amx_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);
/// y += x wᵀ.  y [n, m], its rows dense. Only where amx_product_runs.
void amx_add_product(at::Tensor& y, const at::Tensor& x, const at::Tensor& w);

}  // namespace ta
