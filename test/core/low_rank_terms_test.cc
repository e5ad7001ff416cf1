// Low-rank adapters of many rows at one Linear against the plain formula in double precision, forward and gradients:
// segments of no and of one token, ranks from 1 to 64 side by side, sizes that are no multiple of a vector, several
// adapters for the same tokens, one adapter for several segments, rows without any.
#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include "check.h"
#include "core/adapters/lora_function.h"
#include "core/nn/thin_product.h"
#include "products.h"

namespace {

using namespace ta;

// An adapter's product, for some tokens.
struct Part {
  int64_t adapter, begin, count;
};

struct LoraCase {
  int64_t tokens, in, out;
  std::vector<int64_t> ranks;  // of each adapter
  std::vector<Part> parts;
};

const std::vector<LoraCase> kLoraCases = {
    {64, 768, 768, {8, 8, 8, 8}, {{0, 0, 16}, {1, 16, 16}, {2, 32, 16}, {3, 48, 16}}},
    // one token, none, rows without any, an adapter twice, two for the same tokens
    {23, 50, 33, {1, 2, 3, 5, 7}, {{0, 0, 1}, {1, 1, 0}, {2, 1, 6}, {3, 1, 6}, {0, 9, 2}, {4, 11, 11}}},
    {40, 17, 130, {16, 64, 33, 4}, {{0, 0, 9}, {1, 9, 13}, {2, 22, 1}, {3, 23, 17}}},
    // more tokens than are taken at once; many of a high rank, which are a library's
    {300, 40, 48, {9, 6, 64}, {{0, 0, 261}, {2, 0, 261}, {1, 261, 39}}},
    // a turned factor has parts; the sums of x Aᵀ have some, too
    {7, 1500, 1100, {300, 512, 12}, {{0, 0, 3}, {1, 3, 2}, {2, 5, 2}}},
    {2, 8, 1, {1}, {{0, 0, 2}}},
};

at::Tensor parameter(at::Tensor values) {
  values.set_requires_grad(true);
  values.mutable_grad() = at::zeros_like(values);
  return values;
}

struct LoraNumbers {
  at::Tensor x, weight, bias, g;
  std::vector<at::Tensor> a, b;
};

LoraNumbers numbers_for(const LoraCase& c, uint64_t seed) {
  Random random(seed);
  LoraNumbers n{product_numbers(random, {c.tokens, c.in}),
                product_numbers(random, {c.out, c.in}),
                product_numbers(random, {c.out}),
                product_numbers(random, {c.tokens, c.out}),
                {},
                {}};
  for (const int64_t rank : c.ranks) {
    n.a.push_back(parameter(product_numbers(random, {rank, c.in})));
    n.b.push_back(parameter(product_numbers(random, {c.out, rank})));
  }
  n.x.set_requires_grad(true);
  return n;
}

double scale_of(int64_t adapter) {
  return 0.5 + 0.25 * static_cast<double>(adapter);
}

std::vector<LoraTerm> terms_for(const LoraCase& c, const LoraNumbers& n) {
  std::vector<LoraTerm> terms;
  for (const auto& [adapter, begin, count] : c.parts)
    terms.push_back({{n.a[adapter], n.b[adapter], scale_of(adapter)}, begin, count});
  return terms;
}

struct LoraValues {
  at::Tensor y, d_x;
  std::vector<at::Tensor> d_a, d_b;
};

LoraValues values_of(const LoraCase& c, const LoraNumbers& n) {
  const auto y = lora_linear(n.x, {n.weight, n.bias}, terms_for(c, n));
  y.backward(n.g);
  LoraValues values{y.detach(), n.x.grad(), {}, {}};
  for (size_t i = 0; i < n.a.size(); ++i) values.d_a.push_back(n.a[i].grad()), values.d_b.push_back(n.b[i].grad());
  return values;
}

at::Tensor as_double(const at::Tensor& x) {
  return x.detach().to(at::kDouble);
}

// y = x Wᵀ + b + Σ s (x Aᵀ) Bᵀ and its gradients, written out.
LoraValues expected_values(const LoraCase& c, const LoraNumbers& n) {
  const auto x = as_double(n.x), w = as_double(n.weight), g = as_double(n.g);
  LoraValues values{at::matmul(x, w.t()) + as_double(n.bias), at::matmul(g, w), {}, {}};
  for (size_t i = 0; i < n.a.size(); ++i) {
    values.d_a.push_back(at::zeros_like(as_double(n.a[i])));
    values.d_b.push_back(at::zeros_like(as_double(n.b[i])));
  }
  for (const auto& [adapter, begin, count] : c.parts) {
    const auto a = as_double(n.a[adapter]), b = as_double(n.b[adapter]);
    const auto own_x = x.narrow(0, begin, count), own_g = g.narrow(0, begin, count);
    const double scale = scale_of(adapter);
    const auto z = at::matmul(own_x, a.t()) * scale, d_z = at::matmul(own_g, b) * scale;
    values.y.narrow(0, begin, count).add_(at::matmul(z, b.t()));
    values.d_x.narrow(0, begin, count).add_(at::matmul(d_z, a));
    values.d_a[adapter].add_(at::matmul(d_z.t(), own_x));
    values.d_b[adapter].add_(at::matmul(own_g.t(), z));
  }
  return values;
}

void check_close(const at::Tensor& got, const at::Tensor& want) {
  const double size = want.abs().max().item<double>() + 1e-30;
  CHECK_NEAR((got.to(at::kDouble) - want).abs().max().item<double>() / size, 0, 2e-6);
}

void check_values(const LoraValues& got, const LoraValues& want) {
  check_close(got.y, want.y);
  check_close(got.d_x, want.d_x);
  for (size_t i = 0; i < want.d_a.size(); ++i)
    check_close(got.d_a[i], want.d_a[i]), check_close(got.d_b[i], want.d_b[i]);
}

}  // namespace

TEST(adapters_of_many_rows_give_the_plain_formulas_values) {
  for (const auto& c : kLoraCases) {
    const auto numbers = numbers_for(c, 3);
    check_values(values_of(c, numbers), expected_values(c, numbers));
  }
}

TEST(without_gradients_the_values_are_the_same) {
  for (const auto& c : kLoraCases) {
    const auto numbers = numbers_for(c, 4);
    const c10::NoGradGuard guard;
    const auto y = lora_linear(numbers.x, {numbers.weight, numbers.bias}, terms_for(c, numbers));
    CHECK(!y.requires_grad());
    check_close(y, expected_values(c, numbers).y);
  }
}

TEST(frozen_factors_and_inputs_get_no_gradient) {
  const auto& c = kLoraCases[1];
  for (const bool a_trains : {false, true}) {
    auto numbers = numbers_for(c, 5);
    numbers.x = numbers.x.detach();
    for (auto& frozen : a_trains ? numbers.b : numbers.a) frozen = frozen.detach();
    lora_linear(numbers.x, {numbers.weight, numbers.bias}, terms_for(c, numbers)).backward(numbers.g);
    const auto want = expected_values(c, numbers);
    for (size_t i = 0; i < c.ranks.size(); ++i) {
      check_close((a_trains ? numbers.a : numbers.b)[i].grad(), (a_trains ? want.d_a : want.d_b)[i]);
      CHECK(!(a_trains ? numbers.b : numbers.a)[i].grad().defined());
    }
    CHECK(!numbers.x.grad().defined());
  }
}

// VeRA's factors are made of vectors, and parts of larger matrices.
TEST(gradients_go_through_what_factors_are_made_of) {
  const auto& c = kLoraCases[1];
  const auto numbers = numbers_for(c, 6), made = numbers_for(c, 6);
  const auto beside = product_numbers(*std::make_unique<Random>(7), {64, 64});
  LoraNumbers of_others = made;
  for (size_t i = 0; i < c.ranks.size(); ++i) {
    of_others.a[i] = at::cat({made.a[i], beside.narrow(0, 0, c.ranks[i])}, 1).narrow(1, 0, c.in);
    of_others.b[i] = made.b[i] * 1;
  }
  lora_linear(of_others.x, {made.weight, made.bias}, terms_for(c, of_others)).backward(made.g);
  const auto want = expected_values(c, numbers);
  check_close(made.x.grad(), want.d_x);
  for (size_t i = 0; i < c.ranks.size(); ++i)
    check_close(made.a[i].grad(), want.d_a[i]), check_close(made.b[i].grad(), want.d_b[i]);
}

TEST(bits_are_the_same_with_any_number_of_threads) {
  const int before = at::get_num_threads();
  // So many rows that threads share them.
  LoraCase many{32 * 16, 768, 768, std::vector<int64_t>(8, 8), {}};
  for (int64_t row = 0; row < 32; ++row) many.parts.push_back({row % 8, row * 16, 16});
  at::set_num_threads(1);
  const auto alone = values_of(many, numbers_for(many, 8));
  check_values(alone, expected_values(many, numbers_for(many, 8)));
  for (const int threads : {2, 3, 7}) {
    at::set_num_threads(threads);
    const auto got = values_of(many, numbers_for(many, 8));
    CHECK(at::equal(got.y, alone.y));
    CHECK(at::equal(got.d_x, alone.d_x));
    for (size_t i = 0; i < got.d_a.size(); ++i) {
      CHECK(at::equal(got.d_a[i], alone.d_a[i]));
      CHECK(at::equal(got.d_b[i], alone.d_b[i]));
    }
  }
  at::set_num_threads(before);
}

// A row alone has the bits that it has among others.
TEST(a_rows_bits_do_not_depend_on_the_batch) {
  const int64_t hidden = 200;
  Random random(9);
  const auto x = product_numbers(random, {37, hidden}), a = product_numbers(random, {6, hidden});
  const auto b = product_numbers(random, {hidden, 6}), weight = at::zeros({hidden, hidden}, x.options());
  const auto all = lora_linear(x, {weight, {}}, {{{a, b, 2}, 0, 37}});
  if (!thin::runs()) return;
  for (int64_t row = 0; row < 37; ++row) {
    const auto alone = lora_linear(x.narrow(0, row, 1), {weight, {}}, {{{a, b, 2}, 0, 1}});
    CHECK(at::equal(alone, all.narrow(0, row, 1)));
  }
}
