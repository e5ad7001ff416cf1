#pragma once
// What many low-rank adapters add to one output, each for its own tokens: y += s (x Aᵀ) Bᵀ, and the gradients; of
// bottlenecks the two products, each with its bias. One call does all of them, by threads side by side, with products
// of few rows (thin_product.h) that read each factor where it lies; [tokens, rank] is all that is made in between.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/nn/thin_product.h"

namespace ta {

/// Whether these products can read it: float32 on the CPU, its rows dense.
inline bool has_dense_floats(const at::Tensor& matrix) {
  return matrix.scalar_type() == at::kFloat && matrix.device().is_cpu() && matrix.stride(1) == 1;
}
inline thin::Matrix rows_of(const at::Tensor& matrix) {
  return {matrix.const_data_ptr<float>(), matrix.stride(0)};
}
inline thin::Output rows_into(const at::Tensor& matrix) {
  return {matrix.mutable_data_ptr<float>(), matrix.stride(0)};
}

struct LowRankTerm {
  int64_t begin, count;  ///< of the tokens
  int64_t rank;
  thin::Matrix a, b;                                 ///< [rank, in], [out, rank]
  float scale;                                       ///< s
  float* z;                                          ///< [count, rank]: s x Aᵀ
  const float *bias_a = nullptr, *bias_b = nullptr;  ///< added to z, and to y; null: none
  // Of the backward pass.
  float* d_z = nullptr;       ///< [count, rank]: where the gradient of x Aᵀ goes; null where nobody asks for it
  thin::Output d_a{}, d_b{};  ///< where gradients are added; null: frozen
};

/// Each term is for the tokens of the one before it, or for later ones. Its rank is at most kMostRank.
struct LowRankTerms {
  static constexpr int64_t kMostRank = 512;

  int64_t in, out;
  std::vector<LowRankTerm> each;

  /// x [tokens, in], y [tokens, out].
  void add(thin::Matrix x, thin::Output y) const;
  /// The first half, each z, and the second.
  void down(thin::Matrix x) const;
  void up(thin::Output y) const;
  /// g [tokens, out], the gradient of y. d_x [tokens, in] is added to where it is not null.
  void add_gradients(thin::Matrix x, thin::Matrix g, thin::Output d_x) const;
};

}  // namespace ta
