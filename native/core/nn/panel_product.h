#pragma once
// y = x wᵀ + b of many rows: both operands are copied into panels that lie in memory as the innermost loop reads them
// (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). MKL spends a quarter of its time
// on these copies on AMD's processors without AVX-512, where w is read from memory once a product; here they are cheap.
// Every number of y is a sum in an order that depends on the inner dimension alone: a row has the same bits in every
// batch, with any number of threads.

#include <ATen/core/Tensor.h>

namespace ta {

/// Whether it can be had: CPU, k > 0, dense rows of x, float32; of w dense rows or dense columns, float32 or bfloat16.
/// x [n, k], w [m, k].
bool panel_product_runs(const at::Tensor& x, const at::Tensor& w);
/// bias [m] or undefined → [n, m], without autograd. Only where panel_product_runs.
at::Tensor panel_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);

}  // namespace ta
