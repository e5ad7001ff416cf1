// Products by AMX against matmul in double precision: sizes around a panel's and a part's, operands that are parts of
// wider ones, a bias; as exact as float32; a row's bits are the same in every batch and with any number of threads.
// Where the processor has no AMX there is nothing to test.
#include "core/nn/amx_product.h"

#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/isfinite.h>

#include <bit>
#include <limits>

#include "check.h"
#include "products.h"

namespace {

using namespace ta;

const std::vector<ProductSize> kAmxSizes = {{1, 32, 32},    {15, 64, 64},    {16, 96, 96},    {17, 192, 128},
                                            {31, 224, 160}, {32, 384, 32},   {33, 416, 288},  {48, 800, 64},
                                            {49, 64, 320},  {256, 1600, 96}, {257, 768, 128}, {530, 3072, 32},
                                            {40, 33, 33},   {64, 50, 100},   {70, 800, 145},  {65, 415, 63}};

TEST(amx_products_are_matmul) {
  Random random(31);
  for (const auto& size : kAmxSizes) check_products(random, size, 5e-6, amx_product_runs, amx_product);
}

// The gradient of a weight: gᵀ x, added.
TEST(amx_products_are_added_to_what_is_there) {
  Random random(36);
  for (const auto& [rows, inner, columns] : kAmxSizes) {
    const auto g = product_numbers(random, {inner, rows}), x = product_numbers(random, {inner, columns});
    const auto turned = g.t().contiguous();
    if (!amx_product_runs(turned, x.t())) return;
    const auto before = product_numbers(random, {rows, columns});
    auto wide = product_numbers(random, {rows, columns + 5});
    auto y = wide.narrow(1, 2, columns);
    y.copy_(before);
    const auto around = wide.narrow(1, columns + 2, 3).clone();
    amx_add_product(y, turned, x.t());
    CHECK_NEAR(worst_difference(y - before, turned, x.t(), {}), 0, 5e-6);
    CHECK(at::equal(wide.narrow(1, columns + 2, 3), around));
  }
}

double root_mean_square(const at::Tensor& x) {
  return x.square().mean().sqrt().item<double>();
}

TEST(amx_products_are_as_exact_as_sums_of_float32) {
  Random random(32);
  for (const double scale : {1.0, 1e-12, 1e15}) {
    const auto x = product_numbers(random, {128, 1024}) * scale, rows = product_numbers(random, {256, 1024});
    if (!amx_product_runs(x, rows)) return;
    const auto want = at::matmul(x.to(at::kDouble), rows.to(at::kDouble).t());
    // A sum of float32's 1024 products, each rounded, one after the other.
    auto sums = at::zeros({128, 256}, x.options());
    for (int64_t k = 0; k < 1024; ++k) sums += x.select(1, k).unsqueeze(1) * rows.select(1, k);
    const double float32 = root_mean_square(sums.to(at::kDouble) - want);
    for (const auto& w : {rows, with_dense_columns(rows)})
      CHECK(root_mean_square(amx_product(x, w, {}).to(at::kDouble) - want) < float32);
  }
}

// One of three parts that is lost or read at another place shows.
TEST(amx_products_with_the_identity_are_bit_for_bit_what_was_given) {
  Random random(33);
  const auto numbers = product_numbers(random, {96, 96}), one = at::eye(96, numbers.options());
  if (!amx_product_runs(numbers, one)) return;
  CHECK(at::equal(amx_product(numbers, one, {}), numbers));
  CHECK(at::equal(amx_product(one, numbers, {}), numbers.t()));
  CHECK(at::equal(amx_product(one, with_dense_columns(numbers), {}), numbers.t()));
}

TEST(a_row_of_an_amx_product_has_the_same_bits_in_every_batch_and_with_any_number_of_threads) {
  Random random(34);
  const auto x = product_numbers(random, {300, 1600}), rows = product_numbers(random, {864, 1600});
  if (amx_product_runs(x, rows)) check_bits(x, rows, {1, 16, 17, 31, 32, 33, 48, 256, 289}, amx_product);
}

TEST(amx_products_keep_what_is_no_number_in_its_row) {
  Random random(35);
  const auto rows = product_numbers(random, {32, 64});
  if (!amx_product_runs(rows, rows)) return;
  for (const float value : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(),
                            std::bit_cast<float>(0x7FFFFFFFU), std::bit_cast<float>(0xFFFFFFFFU)})
    check_no_number(random, rows, value, amx_product);
}

TEST(amx_products_want_dense_rows_or_columns_and_one_step) {
  const auto options = at::TensorOptions(at::kFloat);
  const auto x = at::empty({0, 32}, options), w = at::empty({64, 32}, options);
  if (!amx_product_runs(x, w)) return;
  CHECK_EQ(amx_product(x, w, {}).sizes().vec(), (std::vector<int64_t>{0, 64}));
  CHECK_EQ(amx_product(x, with_dense_columns(w), {}).sizes().vec(), (std::vector<int64_t>{0, 64}));
  CHECK(!amx_product_runs(x, at::empty({64, 64}, options).slice(1, 0, 64, 2)));
  CHECK(!amx_product_runs(x, at::empty({1, 64}, options).expand({32, 64}).t()));
  CHECK(!amx_product_runs(x, at::empty({31, 32}, options)));
  CHECK(!amx_product_runs(at::empty({32, 4}, options).t(), w));
  CHECK(!amx_product_runs(at::empty({4, 31}, options), at::empty({32, 31}, options)));
  CHECK(!amx_product_runs(x, w.to(at::kBFloat16)));
}

}  // namespace
