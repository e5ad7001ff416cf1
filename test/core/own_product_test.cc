// Our own products against matmul in double precision: sizes around a tile's, operands that are parts of wider ones, a
// bias; a row's bits are the same in every batch and with any number of threads.
#include "core/nn/dot_product.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>

#include <limits>

#include "check.h"
#include "core/nn/panel_product.h"
#include "core/nn/random.h"
#include "core/nn/wide_product.h"
#include "products.h"

namespace {

using namespace ta;

const std::vector<ProductSize> kProductSizes = {{1, 8, 1},    {1, 8, 3},    {2, 16, 2},   {3, 24, 4},  {4, 16, 3},
                                                {5, 64, 48},  {31, 24, 7},  {32, 200, 9}, {33, 8, 11}, {33, 768, 1},
                                                {40, 776, 5}, {64, 8, 100}, {7, 3072, 50}};

TEST(dot_products_are_matmul) {
  Random random(11);
  for (const auto& [rows, inner, columns] : kProductSizes) {
    const auto x = product_numbers(random, {rows, inner}), w = product_numbers(random, {columns, inner});
    if (!dot_product_runs(x, w)) return;
    const auto bias = product_numbers(random, {columns});
    CHECK_NEAR(worst_difference(dot_product(x, w, {}), x, w, {}), 0, 2e-6);
    CHECK_NEAR(worst_difference(dot_product(x, w, bias), x, w, bias), 0, 2e-6);
    const auto wide_x = product_numbers(random, {rows, 2 * inner + 3});
    const auto wide_w = product_numbers(random, {columns + 9, inner + 5});
    const auto part_x = wide_x.narrow(1, 3, inner), part_w = wide_w.narrow(0, 4, columns).narrow(1, 5, inner);
    CHECK_NEAR(worst_difference(dot_product(part_x, part_w, bias), part_x, part_w, bias), 0, 2e-6);
  }
}

TEST(dot_products_want_plain_rows) {
  const auto options = at::TensorOptions(at::kFloat);
  const auto x = at::empty({4, 16}, options);
  CHECK(!dot_product_runs(x, at::empty({16, 4}, options).t()));
  CHECK(!dot_product_runs(x, at::empty({4, 16}, options.dtype(at::kDouble))));
  CHECK(!dot_product_runs(at::empty({4, 12}, options), at::empty({4, 12}, options)));
  CHECK(!dot_product_runs(at::empty({4, 0}, options), at::empty({4, 0}, options)));
}

TEST(a_row_has_the_same_bits_in_every_batch) {
  Random random(12);
  for (const int64_t inner : {64, 1000, 3072}) {
    const auto x = product_numbers(random, {300, inner}), w = product_numbers(random, {50, inner});
    if (!dot_product_runs(x, w)) return;
    const auto all = dot_product(x, w, {});
    for (const int64_t count : {1, 2, 3, 4, 31, 33, 256, 259}) {
      CHECK(at::equal(dot_product(x.narrow(0, 300 - count, count), w, {}), all.narrow(0, 300 - count, count)));
    }
  }
}

TEST(dot_products_have_the_same_bits_with_any_number_of_threads) {
  Random random(13);
  const auto x = product_numbers(random, {270, 800}), w = product_numbers(random, {301, 800});
  if (!dot_product_runs(x, w)) return;
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = dot_product(x, w, {});
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    CHECK(at::equal(dot_product(x, w, {}), one));
    CHECK(at::equal(dot_product(x.narrow(0, 0, 9), w, {}), one.narrow(0, 0, 9)));
  }
  at::set_num_threads(before);
}

TEST(dot_products_of_no_rows) {
  const auto options = at::TensorOptions(at::kFloat);
  const auto x = at::empty({0, 8}, options), w = at::empty({5, 8}, options);
  if (!dot_product_runs(x, w)) return;
  CHECK_EQ(dot_product(x, w, {}).sizes().vec(), (std::vector<int64_t>{0, 5}));
  CHECK_EQ(dot_product(w, x, {}).sizes().vec(), (std::vector<int64_t>{5, 0}));
}

const std::vector<ProductSize> kPanelSizes = {
    {1, 1, 1},    {6, 8, 16},  {5, 7, 15},  {7, 9, 17},     {12, 256, 32},  {13, 257, 33},  {258, 16, 16},
    {259, 24, 5}, {40, 1, 50}, {1, 600, 3}, {300, 520, 49}, {33, 768, 100}, {520, 263, 20}, {30, 3072, 18}};

TEST(panel_products_are_matmul) {
  Random random(14);
  for (const auto& [rows, inner, columns] : kPanelSizes) {
    const auto x = product_numbers(random, {rows, inner}), w = product_numbers(random, {columns, inner});
    if (!panel_product_runs(x, w)) return;
    const auto bias = product_numbers(random, {columns});
    const auto turned = w.t().contiguous().t();
    CHECK_NEAR(worst_difference(panel_product(x, w, {}), x, w, {}), 0, 2e-6);
    CHECK_NEAR(worst_difference(panel_product(x, w, bias), x, w, bias), 0, 2e-6);
    CHECK(at::equal(panel_product(x, turned, bias), panel_product(x, w, bias)));
    const auto wide_x = product_numbers(random, {rows, 2 * inner + 3});
    const auto wide_w = product_numbers(random, {columns + 9, inner + 5});
    const auto part_x = wide_x.narrow(1, 3, inner), part_w = wide_w.narrow(0, 4, columns).narrow(1, 5, inner);
    CHECK_NEAR(worst_difference(panel_product(part_x, part_w, bias), part_x, part_w, bias), 0, 2e-6);
    const auto tall_w = product_numbers(random, {inner + 2, columns + 3});
    const auto part_turned = tall_w.narrow(0, 1, inner).narrow(1, 2, columns).t();
    CHECK_NEAR(worst_difference(panel_product(x, part_turned, {}), x, part_turned, {}), 0, 2e-6);
  }
}

TEST(a_row_of_a_panel_product_has_the_same_bits_in_every_batch) {
  Random random(15);
  for (const int64_t inner : {64, 1000}) {
    const auto x = product_numbers(random, {300, inner}), w = product_numbers(random, {50, inner});
    if (!panel_product_runs(x, w)) return;
    const auto all = panel_product(x, w, {});
    for (const int64_t count : {1, 5, 6, 7, 258, 259}) {
      CHECK(at::equal(panel_product(x.narrow(0, 300 - count, count), w, {}), all.narrow(0, 300 - count, count)));
    }
  }
}

TEST(panel_products_have_the_same_bits_with_any_number_of_threads) {
  Random random(16);
  const auto x = product_numbers(random, {270, 800}), w = product_numbers(random, {301, 800});
  if (!panel_product_runs(x, w)) return;
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = panel_product(x, w, {});
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    CHECK(at::equal(panel_product(x, w, {}), one));
  }
  at::set_num_threads(before);
}

TEST(panel_products_keep_what_is_no_number_in_its_row) {
  Random random(17);
  auto x = product_numbers(random, {8, 20});
  const auto w = product_numbers(random, {9, 20});
  if (!panel_product_runs(x, w)) return;
  x[6][19] = std::numeric_limits<float>::infinity();
  const auto y = panel_product(x, w, {});
  for (int64_t row = 0; row < 8; ++row) CHECK_EQ(at::isfinite(y[row]).all().item<bool>(), row != 6);
}

TEST(panel_products_of_no_rows) {
  const auto options = at::TensorOptions(at::kFloat);
  const auto x = at::empty({0, 8}, options), w = at::empty({5, 8}, options);
  if (!panel_product_runs(x, w)) return;
  CHECK_EQ(panel_product(x, w, {}).sizes().vec(), (std::vector<int64_t>{0, 5}));
  CHECK_EQ(panel_product(w, x, {}).sizes().vec(), (std::vector<int64_t>{5, 0}));
  CHECK(!panel_product_runs(at::empty({4, 0}, options), at::empty({4, 0}, options)));
  CHECK(!panel_product_runs(at::empty({4, 9}, options).t(), at::empty({6, 4}, options)));
}

const std::vector<ProductSize> kWideSizes = {{1, 16, 32},    {8, 48, 48},   {15, 48, 64},   {17, 768, 80},
                                             {33, 784, 96},  {48, 32, 144}, {49, 1600, 32}, {96, 3072, 400},
                                             {289, 64, 784}, {600, 800, 48}};

// A sum has up to 768 terms before it meets another.
TEST(wide_products_are_matmul) {
  Random random(18);
  for (const auto& size : kWideSizes) check_products(random, size, 1.2e-5, wide_product_runs, wide_product);
}

TEST(wide_products_of_one_vector_of_columns) {
  Random random(21);
  const auto x = product_numbers(random, {33, 784}), w = product_numbers(random, {16, 784});
  if (!wide_product_runs(x, w)) return;
  CHECK_NEAR(worst_difference(wide_product(x, w, {}), x, w, {}), 0, 1.2e-5);
  CHECK(!wide_product_runs(x, with_dense_columns(w)));
}

TEST(a_row_of_a_wide_product_has_the_same_bits_in_every_batch_and_with_any_number_of_threads) {
  Random random(19);
  const auto x = product_numbers(random, {300, 1600}), rows = product_numbers(random, {848, 1600});
  if (wide_product_runs(x, rows)) check_bits(x, rows, {1, 8, 16, 17, 33, 48, 289}, wide_product);
}

TEST(wide_products_keep_what_is_no_number_in_its_row) {
  Random random(20);
  const auto rows = product_numbers(random, {32, 32});
  if (wide_product_runs(rows, rows))
    check_no_number(random, rows, std::numeric_limits<float>::infinity(), wide_product);
}

TEST(wide_products_want_dense_rows_or_columns_and_whole_lines) {
  const auto options = at::TensorOptions(at::kFloat);
  const auto x = at::empty({0, 32}, options), w = at::empty({48, 32}, options);
  if (!wide_product_runs(x, w)) return;
  CHECK_EQ(wide_product(x, w, {}).sizes().vec(), (std::vector<int64_t>{0, 48}));
  CHECK_EQ(wide_product(x, with_dense_columns(w), {}).sizes().vec(), (std::vector<int64_t>{0, 48}));
  CHECK(!wide_product_runs(x, at::empty({48, 64}, options).slice(1, 0, 64, 2)));
  CHECK(!wide_product_runs(x, at::empty({1, 48}, options).expand({32, 48}).t()));
  CHECK(!wide_product_runs(x, at::empty({47, 32}, options)));
  CHECK(!wide_product_runs(at::empty({32, 4}, options).t(), w));
  CHECK(!wide_product_runs(at::empty({4, 24}, options), at::empty({16, 24}, options)));
  CHECK(!wide_product_runs(x, w.to(at::kBFloat16)));
}

}  // namespace
