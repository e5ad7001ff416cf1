#pragma once
// Operands of products and how far a product is from matmul in double precision.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/matmul.h>

#include <cmath>

#include "check.h"
#include "core/nn/random.h"

namespace ta {

struct ProductSize {
  int64_t rows, inner, columns;
};

inline at::Tensor product_numbers(Random& random, at::IntArrayRef shape) {
  auto tensor = at::empty(shape, at::TensorOptions(at::kFloat));
  return random.normal_(tensor, 0, 1);
}

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

/// A product by rows and by columns of w, of matrices and of parts of wider ones, with a bias and without.
template <class Runs, class Product>
void check_products(Random& random, const ProductSize& size, double tolerance, const Runs& runs,
                    const Product& product) {
  const auto& [rows, inner, columns] = size;
  const auto x = product_numbers(random, {rows, inner}), w = product_numbers(random, {columns, inner});
  if (!runs(x, w)) return;
  const auto bias = product_numbers(random, {columns});
  const auto wide_x = product_numbers(random, {rows, 2 * inner + 3});
  const auto wide_w = product_numbers(random, {columns + 9, inner + 5});
  const auto tall_w = product_numbers(random, {inner + 2, columns + 3});
  const auto part_x = wide_x.narrow(1, 3, inner), part_w = wide_w.narrow(0, 4, columns).narrow(1, 5, inner);
  const auto part_turned = tall_w.narrow(0, 1, inner).narrow(1, 2, columns).t();
  for (const auto& [a, b] : {std::pair{x, w}, {x, with_dense_columns(w)}, {part_x, part_w}, {part_x, part_turned}}) {
    CHECK(runs(a, b));
    CHECK_NEAR(worst_difference(product(a, b, at::Tensor()), a, b, {}), 0, tolerance);
    CHECK_NEAR(worst_difference(product(a, b, bias), a, b, bias), 0, tolerance);
  }
}

/// The last rows alone have the bits that they have among all, with any number of threads.
template <class Product>
void check_bits(const at::Tensor& x, const at::Tensor& rows, const std::vector<int64_t>& counts,
                const Product& product) {
  const int before = at::get_num_threads();
  for (const auto& w : {rows, with_dense_columns(rows)}) {
    at::set_num_threads(1);
    const auto all = product(x, w, at::Tensor());
    for (const int64_t count : counts) {
      const auto last = product(x.narrow(0, x.size(0) - count, count), w, at::Tensor());
      CHECK(at::equal(last, all.narrow(0, x.size(0) - count, count)));
    }
    for (const int threads : {2, 3, 7}) {
      at::set_num_threads(threads);
      CHECK(at::equal(product(x, w, at::Tensor()), all));
    }
  }
  at::set_num_threads(before);
}

/// What is no number in row 18 of 20 stays there.
template <class Product>
void check_no_number(Random& random, const at::Tensor& rows, float value, const Product& product) {
  auto x = product_numbers(random, {20, rows.size(1)});
  x[18].mutable_data_ptr<float>()[rows.size(1) - 1] = value;
  for (const auto& w : {rows, with_dense_columns(rows)}) {
    const auto y = product(x, w, at::Tensor());
    for (int64_t row = 0; row < 20; ++row) CHECK_EQ(at::isfinite(y[row]).all().template item<bool>(), row != 18);
  }
}

}  // namespace ta
