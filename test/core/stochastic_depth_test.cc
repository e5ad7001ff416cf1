// Stochastic depth of a bottleneck, by hand: while it learns, a row skips the adapter with probability p, all of its
// tokens together, and what the others get is divided by 1 - p; in evaluation no row skips and nothing is divided.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "check.h"
#include "core/adapters/bottleneck.h"
#include "core/nn/forward_context.h"
#include "core/nn/random.h"
#include "tensors.h"

namespace {

using namespace ta;

constexpr double kSkips = 0.25, kScale = 3;

BottleneckConfig form() {
  BottleneckConfig config;
  config.stochastic_depth = kSkips;
  config.scaling_value = kScale;
  return config;
}

// u = Wu relu(Wd x + bd) + bu, which is (5.25, -2) for x = (3, 1): relu(3 - 1 + 0.5) is 2.5, twice that and 0.25, minus
// that and 0.5.
std::shared_ptr<Bottleneck> adapter(const BottleneckConfig& config) {
  auto made = std::make_shared<Bottleneck>(2, 1, config);
  made->down->weight = check::tensor({1, -1}, {1, 2}), made->down->bias = check::tensor({0.5}, {1});
  made->up->weight = check::tensor({2, -1}, {2, 1}), made->up->bias = check::tensor({0.25, 0.5}, {2});
  return made;
}

const at::Tensor& u() {
  static const auto value = check::tensor({5.25, -2}, {2});
  return value;
}

at::Tensor tokens(const RowLayout& rows) {
  return check::tensor({3, 1}, {1, 2}).expand({rows.tokens(), 2}).contiguous();
}

// Of each row: it skips (its tokens are as they were), or it has u / (1 - p); nothing else. How many do not skip.
int64_t rows_kept(const at::Tensor& y, const RowLayout& rows) {
  const auto skipped = check::tensor({3, 1}, {2}), kept = skipped + u() * (kScale / (1 - kSkips));
  int64_t count = 0;
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const int64_t first = rows.starts()[row], length = rows.starts()[row + 1] - first;
    const auto own = y.narrow(0, first, length);
    const bool is_kept = (own - kept).abs().max().item<double>() < 1e-5;
    CHECK(is_kept || at::equal(own, skipped.expand({length, 2})));
    count += is_kept ? 1 : 0;
  }
  return count;
}

RowLayout many_rows() {
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < 4000; ++row) lengths.push_back(1 + row % 3);
  return RowLayout(lengths);
}

}  // namespace

TEST(a_row_skips_the_adapter_with_all_of_its_tokens_and_what_is_left_is_scaled) {
  const auto rows = many_rows();
  const auto made = adapter(form());
  Random random(5);
  const ForwardContext learning{.layout = &rows, .random = &random};
  const auto h = tokens(rows), r = at::zeros({rows.tokens(), 2});
  const auto y = made->forward(h, r, nullptr, learning);
  // 3000 rows of 4000; the spread is √(4000 · 0.75 · 0.25), 27.
  CHECK_NEAR(static_cast<double>(rows_kept(y, rows)), 3000, 140);
  CHECK(!at::equal(y, made->forward(h, r, nullptr, learning)));
}

TEST(in_evaluation_no_row_skips_and_a_parallel_adapter_never_does) {
  const RowLayout rows({1, 3, 2});
  const auto h = tokens(rows), r = at::zeros({rows.tokens(), 2});
  const ForwardContext evaluation{.layout = &rows};
  const auto whole = check::tensor({3, 1}, {2}) + u() * kScale;
  const auto y = adapter(form())->forward(h, r, nullptr, evaluation);
  CHECK((y - whole).abs().max().item<double>() < 1e-5);
  auto parallel = form();
  parallel.is_parallel = true;
  Random random(5);
  const ForwardContext learning{.layout = &rows, .random = &random};
  for (int i = 0; i < 20; ++i) {
    const auto beside = adapter(parallel)->forward(r, h, nullptr, learning);  // reads the residual
    CHECK((beside - u() * kScale).abs().max().item<double>() < 1e-5);
  }
}

// What AdapterFusion reads: the factor of each token, the scale among it.
TEST(the_factor_of_a_skipped_row_is_zero_where_the_projection_is_left_to_others) {
  const auto rows = many_rows();
  Random random(5);
  const ForwardContext learning{.layout = &rows, .random = &random};
  const auto up = adapter(form())->up_projection(tokens(rows), learning);
  CHECK_EQ(up.scale.sizes().vec(), (std::vector<int64_t>{rows.tokens(), 1}));
  const auto zero = up.scale.eq(0), full = (up.scale - kScale / (1 - kSkips)).abs().lt(1e-5);
  CHECK(zero.logical_or(full).all().item<bool>());
  CHECK(zero.any().item<bool>() && full.any().item<bool>());
  CHECK_EQ(up.factor, 1.0);
}

// d Σ y / d bu is scale / (1 - p) for each token of the rows that do not skip: the others teach it nothing.
TEST(a_skipped_row_gives_the_adapter_no_gradient) {
  const auto rows = many_rows();
  const auto made = adapter(form());
  made->up->bias.set_requires_grad(true);
  made->up->bias.mutable_grad() = at::zeros({2});
  Random random(5);
  const ForwardContext learning{.layout = &rows, .random = &random};
  const auto h = tokens(rows);
  const auto y = made->forward(h, at::zeros({rows.tokens(), 2}), nullptr, learning);
  y.sum().backward();
  const auto kept = (y.detach() - h).abs().sum(1).gt(1e-3).sum().item<double>();
  CHECK(kept > 0 && kept < static_cast<double>(rows.tokens()));
  for (const double gradient : check::values(made->up->bias.grad()))
    CHECK_NEAR(gradient, kept * kScale / (1 - kSkips), 0.1);
}
