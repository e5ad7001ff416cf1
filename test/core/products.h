#pragma once
// Operands of products and how far a product is from matmul in double precision.

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include <cmath>

#include "core/nn/random.h"

namespace ta {

inline at::Tensor product_numbers(Random& random, at::IntArrayRef shape) {
  auto tensor = at::empty(shape, at::TensorOptions(at::kFloat));
  return random.normal_(tensor, 0, 1);
}

struct ProductSize {
  int64_t rows, inner, columns;
};

inline double worst_difference(const at::Tensor& got, const at::Tensor& x, const at::Tensor& w,
                               const at::Tensor& bias) {
  auto want = at::matmul(x.to(at::kDouble), w.to(at::kDouble).t());
  if (bias.defined()) want = want + bias.to(at::kDouble);
  // Errors grow as the square root of the terms.
  return ((got.to(at::kDouble) - want).abs().max() / std::sqrt(static_cast<double>(x.size(1)))).item<double>();
}

inline at::Tensor with_dense_columns(const at::Tensor& w) {
  return w.t().contiguous().t();
}

}  // namespace ta
