#include "core/nn/rotary.h"

#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "core/nn/node.h"
#include "core/nn/parallel.h"

namespace ta {

namespace {

constexpr int64_t kNumbersForTurns = 50'000;

const float* line_of(const at::Tensor& x, int64_t row, int64_t head, int64_t token) {
  return x.const_data_ptr<float>() + (x.size(0) == 1 ? 0 : row * x.stride(0)) +
         (x.size(1) == 1 ? 0 : head * x.stride(1)) + token * x.stride(2);
}

// out = x ∘ cos ± swapped halves ∘ sin; backwards the swap comes after the product, with the other sign.
void turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& out, bool backwards) {
  const int64_t rows = x.size(0), heads = x.size(1), tokens = x.size(2), d = x.size(3), half = d / 2;
  auto* data = out.mutable_data_ptr<float>();
  const auto strides = out.strides();
  const int64_t grain = std::max<int64_t>(1, kNumbersForTurns / std::max<int64_t>(1, tokens * d));
  parallel_for(0, rows * heads, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = i / heads, head = i % heads;
      for (int64_t token = 0; token < tokens; ++token) {
        const float *xs = line_of(x, row, head, token), *c = line_of(cos, row, 0, token),
                    *s = line_of(sin, row, 0, token);
        float* y = data + row * strides[0] + head * strides[1] + token * strides[2];
        if (backwards) {
          for (int64_t j = 0; j < half; ++j) y[j] = xs[j] * c[j] + xs[j + half] * s[j + half];
          for (int64_t j = 0; j < half; ++j) y[j + half] = xs[j + half] * c[j + half] - xs[j] * s[j];
        } else {
          for (int64_t j = 0; j < half; ++j) y[j] = xs[j] * c[j] - xs[j + half] * s[j];
          for (int64_t j = 0; j < half; ++j) y[j + half] = xs[j + half] * c[j + half] + xs[j] * s[j + half];
        }
      }
    }
  });
}

struct RotaryNode : BackwardNode {
  at::Tensor cos, sin;
  variable_list backward(const at::Tensor& g) override {
    auto dx = at::empty_like(g);
    turn(g, cos, sin, dx, true);
    return {dx};
  }
  void release_variables() override { cos.reset(), sin.reset(); }
};

bool lies_well(const at::Tensor& x) {
  return x.dim() == 4 && x.device().is_cpu() && x.scalar_type() == at::kFloat && x.stride(3) == 1;
}

}  // namespace

bool rotates(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  if (!lies_well(x) || x.size(3) % 2 != 0 || x.numel() == 0) return false;
  const auto fits = [&](const at::Tensor& one) {
    return lies_well(one) && !one.requires_grad() && (one.size(0) == 1 || one.size(0) == x.size(0)) &&
           one.size(1) == 1 && one.size(2) == x.size(2) && one.size(3) == x.size(3);
  };
  return fits(cos) && fits(sin);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const bool graph = needs_grad(x);
  const WithoutAutograd guard;
  auto y = at::empty_like(x);
  if (y.stride(3) != 1) y = at::empty_like(x, at::MemoryFormat::Contiguous);
  turn(x, cos, sin, y, false);
  if (!graph) return y;
  auto node = make_node<RotaryNode>();
  node->cos = cos, node->sin = sin;
  return attach(y, node, x);
}

}  // namespace ta
