#include "core/nn/rms_norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>

#include "core/nn/node.h"
#include "core/nn/parallel.h"

namespace ta {

namespace {

constexpr int64_t kLanes = 8;  // partial sums, which a compiler keeps in one vector
constexpr int64_t kNumbersForThreads = 100'000;

/// Σ f(i)
template <class F>
float sum_of(int64_t n, const F& f) {
  float part[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t j = 0; j < kLanes; ++j) part[j] += f(i + j);
  for (; i < n; ++i) part[0] += f(i);
  return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
}

template <class F>
void each_row(int64_t rows, int64_t n, const F& f) {
  parallel_for(0, rows, std::max<int64_t>(1, kNumbersForThreads / n), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) f(row);
  });
}

struct RmsNormNode : BackwardNode {
  at::Tensor x, weight, scales;  // scales [rows]: 1 / √(mean(x²) + ε)

  // dx = s (w ∘ g) - x s³ Σ(w ∘ g ∘ x) / n
  variable_list backward(const at::Tensor& g) override {
    auto dx = at::empty_like(x);
    const int64_t n = weight.size(0);
    const auto *xs = x.const_data_ptr<float>(), *w = weight.const_data_ptr<float>(), *gs = g.const_data_ptr<float>();
    const auto* s = scales.const_data_ptr<float>();
    auto* out = dx.mutable_data_ptr<float>();
    each_row(scales.size(0), n, [&](int64_t row) {
      const float *xr = xs + row * n, *gr = gs + row * n;
      const float scale = s[row];
      const float along = sum_of(n, [&](int64_t i) { return w[i] * gr[i] * xr[i]; });
      const float back = scale * scale * scale * along / static_cast<float>(n);
      for (int64_t i = 0; i < n; ++i) out[row * n + i] = scale * w[i] * gr[i] - back * xr[i];
    });
    return {dx};
  }
  void release_variables() override { x.reset(), weight.reset(), scales.reset(); }
};

}  // namespace

at::Tensor frozen_rms_norm(const at::Tensor& given, const at::Tensor& given_weight, double eps) {
  const bool graph = needs_grad(given);
  const WithoutAutograd guard;
  const auto x = given.contiguous(), weight = given_weight.contiguous();
  const int64_t n = weight.size(0), rows = x.numel() / n;
  auto y = at::empty_like(x), scales = at::empty({rows}, x.options());
  const auto *xs = x.const_data_ptr<float>(), *w = weight.const_data_ptr<float>();
  auto *out = y.mutable_data_ptr<float>(), *s = scales.mutable_data_ptr<float>();
  each_row(rows, n, [&](int64_t row) {
    const float* xr = xs + row * n;
    const float mean = sum_of(n, [&](int64_t i) { return xr[i] * xr[i]; }) / static_cast<float>(n);
    const float scale = s[row] = 1 / std::sqrt(mean + static_cast<float>(eps));
    for (int64_t i = 0; i < n; ++i) out[row * n + i] = w[i] * (xr[i] * scale);
  });
  if (!graph) return y;
  auto node = make_node<RmsNormNode>();
  node->x = x, node->weight = weight, node->scales = scales;
  return attach(y, node, given);
}

}  // namespace ta
