// Dropout's numbers: how many elements go, what becomes of the rest, and that neither rows nor steps share a mask.

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>

#include <cmath>

#include "check.h"
#include "core/nn/random.h"

using namespace ta;

TEST(dropout_takes_its_share_and_scales_the_rest) {
  const int64_t rows = 400, width = 250;
  for (const double p : {0.1, 0.3, 0.9}) {
    Random random(7);
    const auto y = dropout(at::ones({rows, width}), p, &random);
    const auto gone = (y == 0).sum().item<double>() / double(rows * width);
    // Five deviations of a share of so many draws.
    CHECK_NEAR(gone, p, 5 * std::sqrt(p * (1 - p) / double(rows * width)));
    CHECK_NEAR(y.max().item<double>(), 1 / (1 - p), 1e-6);
    CHECK(((y == 0) | (y == y.max())).all().item<bool>());
    // In each row, too: none is left out, none is spared.
    const auto shares = (y == 0).sum(1).to(at::kDouble) / double(width);
    CHECK_NEAR(shares.min().item<double>(), p, 6 * std::sqrt(p * (1 - p) / double(width)));
    CHECK_NEAR(shares.max().item<double>(), p, 6 * std::sqrt(p * (1 - p) / double(width)));
  }
}

TEST(each_row_and_each_step_has_a_mask_of_its_own) {
  Random random(7), same(7), other(8);
  const auto x = at::ones({16, 64});
  const auto first = dropout(x, 0.5, &random), second = dropout(x, 0.5, &random);
  CHECK(!at::equal(first, second));
  CHECK(at::equal(first, dropout(x, 0.5, &same)));
  CHECK(!at::equal(first, dropout(x, 0.5, &other)));
  for (int64_t a = 0; a < 16; ++a)
    for (int64_t b = 0; b < a; ++b) CHECK(!at::equal(first[a], first[b]));
}

TEST(without_random_numbers_or_without_a_share_nothing_is_dropped) {
  Random random(7);
  const auto x = at::ones({3, 5});
  CHECK(dropout(x, 0.5, nullptr).is_same(x));
  CHECK(dropout(x, 0, &random).is_same(x));
}
