// A trunk of bfloat16 matrices: both ways of its products, and that float32 matrices go the way that they went.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include "check.h"
#include "core/models/trunk_probe.h"
#include "core/nn/bf16_gemm.h"
#include "core/nn/conv1d.h"
#include "core/nn/dot_product.h"
#include "core/nn/embedding.h"
#include "core/nn/gemm.h"
#include "core/nn/node.h"
#include "core/nn/panel_product.h"
#include "core/nn/random.h"
#include "core/surgery/state_io.h"
#include "tiny.h"

using namespace ta;

namespace {

at::Tensor numbers(Random& random, std::vector<int64_t> sizes, double spread = 1) {
  auto x = at::empty(sizes, at::TensorOptions(at::kFloat));
  random.normal_(x, 0, spread);
  return x;
}

double trunk_difference(const at::Tensor& a, const at::Tensor& b) {
  const auto wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).abs().max() / wide.abs().max()).item<double>();
}

at::Tensor rounded(const at::Tensor& x) {
  return x.to(at::kBFloat16).to(at::kDouble);
}

}  // namespace

// Of 3,072 products: on arm64 libtorch's own mm is 1.8e-6 from the sum in float64. bfloat16 would be 4e-3.
constexpr double kFloat32 = 3e-6;

// Sizes that fill several panels, end within one, and are smaller than 8.
TEST(widened_products_are_exact_but_for_float32) {
  Random random(1);
  for (const auto& [tokens, in, out] : {std::tuple{1, 3, 5}, {7, 768, 1000}, {33, 3072, 130}, {5, 64, 64}}) {
    const auto x = numbers(random, {tokens, in}), bias = numbers(random, {out});
    const auto w = numbers(random, {out, in}).to(at::kBFloat16);
    const auto expected = at::mm(x.to(at::kDouble), w.to(at::kDouble).t());
    CHECK(trunk_difference(widened_product(x, w.t(), bias), expected + bias) < kFloat32);
    CHECK(trunk_difference(widened_product(x, w.t().contiguous(), {}), expected) < kFloat32);
    // Columns of a wider matrix, as GPT-2's query, key and value are.
    const auto all = numbers(random, {in, 3 * out}).to(at::kBFloat16);
    const auto part = all.narrow(1, out, out);
    CHECK(trunk_difference(widened_product(x, part, {}), at::mm(x.to(at::kDouble), part.to(at::kDouble))) < kFloat32);
    CHECK(trunk_difference(widened_product(x.narrow(1, 0, in), part.contiguous(), bias),
                           at::mm(x.to(at::kDouble), part.to(at::kDouble)) + bias) < kFloat32);
  }
}

// Both kinds of loops, and matrices whose columns lie one after the other.
TEST(our_own_loops_read_bfloat16) {
  Random random(6);
  for (const auto& [tokens, in, out] : {std::tuple{1, 768, 50}, {7, 192, 8}, {40, 200, 49}, {300, 1600, 70}}) {
    const auto x = numbers(random, {tokens, in}), bias = numbers(random, {out});
    const auto w = numbers(random, {out, in}).to(at::kBFloat16), turned = w.t().contiguous().t();
    const auto expected = at::mm(x.to(at::kDouble), w.to(at::kDouble).t());
    if (dot_product_runs(x, w)) {
      CHECK(trunk_difference(dot_product(x, w, bias), expected + bias) < 1e-6);
      // The same bits as of the same numbers in float32.
      CHECK(at::equal(dot_product(x, w, bias), dot_product(x, w.to(at::kFloat), bias)));
    }
    for (const auto& one : {w, turned}) {
      if (!panel_product_runs(x, one)) continue;
      CHECK(trunk_difference(panel_product(x, one, {}), expected) < 1e-6);
      CHECK(at::equal(panel_product(x, one, bias), panel_product(x, one.to(at::kFloat), bias)));
    }
  }
}

// A result has 8 bits: half a unit in the last place is 2^-9 of it; float32 sums of the rounded factors add nothing
// that shows.
TEST(a_processors_own_products_round_both_factors_and_the_result) {
  Random random(2);
  const auto x = numbers(random, {9, 40}), bias = numbers(random, {24});
  const auto w = numbers(random, {24, 40}).to(at::kBFloat16);
  const auto exact = at::mm(rounded(x), w.to(at::kDouble).t());
  const auto y = rounded_product(x, w.t(), bias);
  CHECK(y.scalar_type() == at::kFloat);
  CHECK(((y - bias - exact).abs() <= exact.abs() / 256 + 1e-5).all().item<bool>());
  CHECK(trunk_difference(rounded_product(x, w.t(), {}), exact) < 1.0 / 256);
  CHECK(trunk_difference(widened_product(x, w.t(), bias), exact + bias) < 1.0 / 128);
}

TEST(layers_take_a_bfloat16_matrix_forward_and_back) {
  Random random(3);
  const auto x = numbers(random, {6, 16});
  const auto same = [&](LinearLayer& narrow, LinearLayer& wide) {
    for (auto* layer : {&narrow, &wide}) layer->bias = numbers(random, {24}).fill_(0.25);
    wide.weight = numbers(random, wide.own_parameters()[0].shape);
    narrow.weight = wide.weight.to(at::kBFloat16);
    wide.weight = narrow.weight.to(at::kFloat);
    std::vector<at::Tensor> values, gradients;
    for (auto* layer : {&narrow, &wide}) {
      const auto input = x.clone().requires_grad_(true);
      const auto y = layer->forward(input);
      CHECK(y.scalar_type() == at::kFloat);
      y.sum().backward();
      values.push_back(y.detach()), gradients.push_back(input.grad());
    }
    CHECK(trunk_difference(values[0], values[1]) < 1.0 / 128);
    CHECK(trunk_difference(gradients[0], gradients[1]) < 1.0 / 128);
  };
  Linear first(16, 24), second(16, 24);
  same(first, second);
  Conv1D third(16, 24), fourth(16, 24);
  same(third, fourth);
  Embedding table(10, 4);
  table.weight = numbers(random, {10, 4}).to(at::kBFloat16);
  const auto ids = at::arange(3);
  CHECK(at::equal(table.forward(ids), table.weight.narrow(0, 0, 3).to(at::kFloat)));
}

TEST(float32_products_go_the_way_they_went) {
  Random random(4);
  const auto x = numbers(random, {12, 32}), w = numbers(random, {20, 32}), b = numbers(random, {20});
  CHECK(at::equal(affine(x, w, b), at::linear(x, w, b)));
  CHECK(at::equal(times(numbers(random, {3, 20}).fill_(1), w), at::mm(numbers(random, {3, 20}).fill_(1), w)));
}

TEST(matrices_alone_are_narrow_and_do_not_train) {
  auto backbone = std::make_shared<BertModel>(tiny_models::tiny(0));
  auto plain = std::make_shared<BertModel>(tiny_models::tiny(0));
  Random random(5), again(5);
  initialise_missing(*backbone, backbone->prefix(), 0.02, random, at::kCPU, at::kBFloat16);
  initialise_missing(*plain, plain->prefix(), 0.02, again, at::kCPU);
  AdapterModel model(backbone, at::kCPU, at::kBFloat16), other(plain, at::kCPU);
  const auto own = model.named_parameters(), theirs = other.named_parameters();
  CHECK(own.size() == theirs.size());
  for (size_t i = 0; i < own.size(); ++i) {
    const auto &value = *own[i].parameter.value, &wide = *theirs[i].parameter.value;
    CHECK(is_bf16(value) == (value.dim() == 2));
    CHECK(at::equal(value, wide.to(value.scalar_type())));
  }
  Trainable norms, matrices;
  for (const auto& named : own) (named.parameter.value->dim() == 1 ? norms : matrices).base.push_back(named.name);
  model.set_trainable(norms);
  CHECK_THROWS(ErrorCode::unsupported, model.set_trainable(matrices));
  // Values that are set are kept as the trunk's.
  StateDict values;
  values.add(matrices.base[0], at::full(own[0].parameter.shape, 1.001));
  set_parameters(model, values);
  CHECK(is_bf16(*own[0].parameter.value));
  CHECK(own[0].parameter.value->min().item<float>() == 1);
}

TEST(the_probe_measures_once) {
  const auto first = probe_trunk(32, 64, at::kCPU), second = probe_trunk(32, 64, at::kCPU);
  CHECK(first.float32 > 0 && first.bfloat16 > 0);
  CHECK(first.float32 == second.float32 && first.bfloat16 == second.bfloat16);
}
