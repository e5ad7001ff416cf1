// Generation's parts: the cache of keys and values against whole rows, and what is drawn from.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <cmath>

#include "check.h"
#include "core/inference/generate.h"
#include "core/inference/sample.h"
#include "core/nn/key_value_cache.h"

using namespace ta;

namespace {

at::Tensor normal_rows(Random& random, at::IntArrayRef shape) {
  auto tensor = at::empty(shape, at::TensorOptions(at::kFloat));
  return random.normal_(tensor, 0, 1);
}

bool equal_values(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() < 1e-5;
}

}  // namespace

TEST(a_cache_gives_what_whole_rows_give) {
  Random random(1);
  constexpr int64_t hidden = 8, heads = 2, steps = 3;
  const std::vector<int64_t> prompts = {2, 2, 1, 4};
  // Whole rows with the tokens that come later.
  std::vector<at::Tensor> q, k, v, whole;
  for (int64_t length : prompts) {
    for (auto* list : {&q, &k, &v}) list->push_back(normal_rows(random, {length + steps, hidden}));
    const RowLayout one({length + steps});
    whole.push_back(packed_attention(q.back(), k.back(), v.back(), one, one, {heads, true}, 0, nullptr));
  }
  KeyValueCache cache(1, 4, 4 + steps, hidden, at::TensorOptions(at::kFloat));
  std::vector<int64_t> rows = {0, 1, 2, 3};
  for (int64_t step = 0; step <= steps; ++step) {
    std::vector<int64_t> lengths;
    std::vector<at::Tensor> qs, ks, vs, expected;
    for (int64_t row : rows) {
      const int64_t begin = step == 0 ? 0 : prompts[row] + step - 1, count = step == 0 ? prompts[row] : 1;
      lengths.push_back(count);
      qs.push_back(q[row].narrow(0, begin, count));
      ks.push_back(k[row].narrow(0, begin, count));
      vs.push_back(v[row].narrow(0, begin, count));
      expected.push_back(whole[row].narrow(0, begin, count));
    }
    const RowLayout fresh(lengths);
    CHECK(equal_values(cache.attend(0, at::cat(qs), at::cat(ks), at::cat(vs), fresh, heads), at::cat(expected)));
    cache.advance(fresh);
    if (step == 1) {
      cache.keep({0, 3});
      rows = {0, 3};
    }
  }
  CHECK(cache.rows() == 2 && cache.length(0) == 2 + steps && cache.length(1) == 4 + steps);
  CHECK_THROWS(ErrorCode::invalid_argument, cache.attend(0, q[0], k[0], v[0], RowLayout({2, 3}), heads));
}

TEST(what_is_drawn_from) {
  // Probabilities 0.5, 0.25, 0.125, 0.125 in another order.
  const float logits[] = {std::log(0.125f), std::log(0.5f), std::log(0.125f), std::log(0.25f)};
  CHECK(likeliest(logits, 4) == 1);
  GenerateOptions options;
  auto all = candidates(logits, 4, options);
  CHECK(all.size() == 4 && all[0].token == 1 && all[1].token == 3 && std::abs(all[0].probability - 0.5) < 1e-6);
  CHECK(draw(all, 0.0) == 1 && draw(all, 0.49) == 1 && draw(all, 0.51) == 3 && draw(all, 0.76) == 0);
  CHECK(draw(all, 0.99999999999) == 2);

  options.top_k = 2;
  auto two = candidates(logits, 4, options);
  CHECK(two.size() == 2 && std::abs(two[0].probability - 2.0 / 3) < 1e-6);
  options.top_k = 3;
  CHECK(candidates(logits, 4, options).size() == 4);  // the third and the fourth are equal

  options.top_k = 0;
  options.top_p = 0.6;
  CHECK(candidates(logits, 4, options).size() == 2);
  options.top_p = 0.4;
  CHECK(candidates(logits, 4, options).size() == 1);

  options.top_p = 1;
  options.temperature = 0.5;  // probabilities squared
  CHECK(std::abs(candidates(logits, 4, options)[0].probability - 0.25 / (0.25 + 0.0625 + 2 * 0.015625)) < 1e-6);
}
