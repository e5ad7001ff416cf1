// Attention over packed rows against its formula, in double precision and with PyTorch's own autograd: short rows (one
// call for all), long ones, both in one batch; causal; few queries; columns of a wider tensor; any number of threads.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <limits>

#include "check.h"
#include "core/nn/attention.h"
#include "core/nn/short_attention.h"

namespace {

using namespace ta;

at::Tensor attention_numbers(Random& random, at::IntArrayRef shape) {
  auto tensor = at::empty(shape, at::TensorOptions(at::kFloat));
  return random.normal_(tensor, 0, 1);
}

// Row by row, head by head, in the dtype of q.
at::Tensor attention_by_formula(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const RowLayout& queries,
                                const RowLayout& keys, const AttentionForm& form) {
  const int64_t size = q.size(1) / form.heads;
  std::vector<at::Tensor> rows;
  for (int64_t row = 0; row < keys.rows(); ++row) {
    const int64_t asked = queries.length(row), seen = keys.length(row);
    std::vector<at::Tensor> heads;
    for (int64_t head = 0; head < form.heads; ++head) {
      auto of = [&](const at::Tensor& x, const RowLayout& rows, int64_t count) {
        return x.narrow(0, rows.starts()[row], count).narrow(1, head * size, size);
      };
      auto scores = at::matmul(of(q, queries, asked), of(k, keys, seen).t()) / std::sqrt(static_cast<double>(size));
      if (form.causal && asked > 1) {
        auto later = at::ones({asked, seen}, at::TensorOptions(at::kBool)).triu(1 + seen - asked);
        scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
      }
      heads.push_back(at::matmul(at::softmax(scores, -1), of(v, keys, seen)));
    }
    rows.push_back(at::cat(heads, 1));
  }
  return at::cat(rows);
}

struct AttentionCase {
  std::vector<int64_t> asked, seen;
  int64_t heads, size;
  bool causal;
};

const std::vector<AttentionCase> kAttentionCases = {
    {{1}, {1}, 1, 8, false},
    {{1, 2, 7, 8, 9, 64}, {1, 2, 7, 8, 9, 64}, 4, 32, false},
    {{5, 65, 3, 3, 70, 70, 64}, {5, 65, 3, 3, 70, 70, 64}, 2, 16, false},
    {{5, 65, 3, 3, 70, 70, 64}, {5, 65, 3, 3, 70, 70, 64}, 2, 16, true},
    {{1, 1, 1}, {4, 90, 17}, 3, 24, false},
    {{2, 5, 1, 3}, {9, 5, 30, 80}, 2, 64, true},
    {{3, 3}, {6, 6}, 3, 4, false},  // heads that are no whole vectors
    {{33, 40}, {33, 40}, 1, 128, true},
};

double attention_distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b).abs().max().item<double>() / (1 + b.abs().max().item<double>());
}

// Values and gradients of one case, against the formula.
void compare_attention(const AttentionCase& c, Random& random, bool wide) {
  const RowLayout queries(c.asked), keys(c.seen);
  const AttentionForm form(c.heads, c.causal);
  const int64_t hidden = c.heads * c.size;
  std::vector<at::Tensor> inputs, leaves, exact;
  for (int64_t tokens : {queries.starts().back(), keys.starts().back(), keys.starts().back()}) {
    auto whole = attention_numbers(random, {tokens, wide ? 3 * hidden : hidden});
    inputs.push_back(wide ? whole.narrow(1, hidden, hidden) : whole);
  }
  for (const auto& x : inputs) {
    // detach keeps the strides: a leaf that is a view of something wider.
    leaves.push_back(x.detach().requires_grad_(true));
    exact.push_back(x.to(at::kDouble).requires_grad_(true));
  }
  auto y = packed_attention(leaves[0], leaves[1], leaves[2], queries, keys, form, 0.0, nullptr);
  auto z = attention_by_formula(exact[0], exact[1], exact[2], queries, keys, form);
  CHECK(attention_distance(y.detach(), z.detach()) < 2e-6);
  auto weights = attention_numbers(random, y.sizes());
  (y * weights).sum().backward();
  (z * weights.to(at::kDouble)).sum().backward();
  for (size_t i = 0; i < 3; ++i) CHECK(attention_distance(leaves[i].grad(), exact[i].grad()) < 4e-6);
}

}  // namespace

TEST(attention_follows_its_formula) {
  Random random(5);
  for (const auto& c : kAttentionCases) {
    compare_attention(c, random, false);
    compare_attention(c, random, true);
  }
}

TEST(large_scores_stay_finite) {
  const RowLayout rows({3, 5});
  auto q = at::ones({8, 8}) * 100;
  auto y = packed_attention(q, q, q, rows, rows, 1, 0.0, nullptr);
  CHECK(attention_distance(y, q.to(at::kDouble)) < 1e-6);  // equal weights of equal values
  auto k = -q;
  k[1].copy_(q[1]);
  // One key of the first row is 6,000 ahead of the others: it alone counts.
  auto v = at::ones({8, 8});
  v[1].mul_(7);
  CHECK(at::equal(packed_attention(q, k, v, rows, rows, 1, 0.0, nullptr)[0], v[1]));
}

TEST(a_row_has_the_same_bits_in_any_company_and_with_any_threads) {
  Random random(9);
  const std::vector<int64_t> lengths = {7, 30, 30, 64, 12};
  const RowLayout rows(lengths), alone({30});
  auto q = attention_numbers(random, {143, 128}), k = attention_numbers(random, {143, 128}),
       v = attention_numbers(random, {143, 128});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  auto one = packed_attention(q, k, v, rows, rows, 4, 0.0, nullptr);
  at::set_num_threads(2);
  auto two = packed_attention(q, k, v, rows, rows, 4, 0.0, nullptr);
  at::set_num_threads(threads);
  CHECK(at::equal(one, two));
  if (!short_attention_serves(q, 4)) return;
  auto part = [](const at::Tensor& x) { return x.narrow(0, 37, 30); };
  CHECK(at::equal(part(one), packed_attention(part(q), part(k), part(v), alone, alone, 4, 0.0, nullptr)));
}
