#pragma once
// Products with a matrix that is kept in bfloat16, the trunk's: y = x Wᵀ + b and g W. W is bfloat16; x, b, g and the
// result are float32, and so are the sums.
//
//   rounded  where the processor multiplies bfloat16 (AVX512-BF16, AMX; CUDA): x and g are rounded, too, and libtorch's
//            bfloat16 product does the rest, whose result is rounded once.
//   loops    where our own loops are taken (own_product in gemm.h): they read W as it is and widen it in registers.
//   widened  elsewhere: some columns of Wᵀ at a time become float32 in a buffer that stays in the cache, and MKL
//            multiplies; libtorch's own bfloat16 product takes five times as long there. In both x keeps all its
//            digits.
//
// Between products everything is float32: adapters, LayerNorms, softmax, residual sums and losses are computed as with
// a float32 trunk, and nothing but these functions and Embedding knows what the trunk is. Half-width hidden states
// would save little beside the matrices, and cost digits wherever they are added up.

#include <ATen/core/Tensor.h>

namespace ta {

/// Whether a matrix is the trunk's in bfloat16.
inline bool is_bf16(const at::Tensor& weight) {
  return weight.scalar_type() == at::kBFloat16;
}

/// x M + b.  x [n, in] float32, M [in, out] bfloat16, of any strides, b [out] float32 or undefined → [n, out] float32.
/// Which way depends on processor and device alone, so bits repeat.
at::Tensor bf16_product(const at::Tensor& x, const at::Tensor& m, const at::Tensor& bias);

/// Two of the ways, for those who compare them.
at::Tensor rounded_product(const at::Tensor& x, const at::Tensor& m, const at::Tensor& bias);
at::Tensor widened_product(const at::Tensor& x, const at::Tensor& m, const at::Tensor& bias);

/// Whether this device multiplies bfloat16 itself.
bool multiplies_bf16(at::Device device);

}  // namespace ta
