#pragma once
// The products that a linear layer spends its time in, without autograd. libtorch sends float32 products to MKL,
// which is slow on AMD's processors. With AVX-512 there, oneDNN, which libtorch brings too, takes the same plain
// weights (nothing is packed or copied) and reaches 10–25 % more; without it our own loops do, for few rows
// (dot_product.h) and for many (panel_product.h). On Intel's with AVX-512 our own are ahead for a batch of texts
// (wide_product.h), forward and backward, and where there is AMX far ahead, at the same exactness (amx_product.h); the
// rest is MKL's, small products everywhere.
// A weight may be bfloat16 where it is the frozen trunk's (bf16_gemm.h).

#include <ATen/core/Tensor.h>

namespace ta {

/// x Wᵀ + b.  x [n, in], weight [out, in], bias [out] or undefined → [n, out].
at::Tensor affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// g W, the gradient of affine's input.  g [n, out], weight [out, in] → [n, in].
at::Tensor times(const at::Tensor& g, const at::Tensor& weight);

/// y += gᵀ x, the gradient of affine's weight.  g [n, out], x [n, in], y [out, in].
void add_times(at::Tensor& y, const at::Tensor& g, const at::Tensor& x);

/// x wᵀ + b by our own loops; undefined where MKL is as fast. w [m, k] float32 or bfloat16.
at::Tensor own_product(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);

}  // namespace ta
