#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/nn/attention.h"
#include "core/nn/frozen.h"
#include "core/nn/gemm.h"

namespace ta {

bool needs_grad(const at::Tensor& x) {
  return c10::GradMode::is_enabled() && x.requires_grad();
}

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Projected {
  at::Tensor q, k, v;
};

Projected project(const at::Tensor& xq, const at::Tensor& x, const AttentionWeights& w) {
  return {affine(xq, w.query.weight, w.query.bias), affine(x, w.key.weight, w.key.bias),
          affine(x, w.value.weight, w.value.bias)};
}

struct FrozenAttention : torch::autograd::Function<FrozenAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& xq, const AttentionWeights* w,
                            const RowLayout* queries, const RowLayout* keys, int64_t heads) {
    auto [q, k, v] = project(xq, x, *w);
    std::vector<at::Tensor> saved;
    auto context = flash_attention(q, k, v, *queries, *keys, heads, &saved);
    auto out = affine(context, w->output.weight, w->output.bias);
    saved.insert(saved.end(), {q, k, v, context, w->query.weight, w->key.weight, w->value.weight, w->output.weight});
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["queries"] = queries->lengths();
    ctx->saved_data["keys"] = keys->lengths();
    ctx->saved_data["same"] = xq.is_same(x);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const size_t n = saved.size() - 8;
    const auto &q = saved[n], &k = saved[n + 1], &v = saved[n + 2], &context = saved[n + 3];
    const auto &wq = saved[n + 4], &wk = saved[n + 5], &wv = saved[n + 6], &wo = saved[n + 7];
    std::vector<at::Tensor> logsumexp(saved.begin(), saved.begin() + static_cast<int64_t>(n));
    RowLayout queries(ctx->saved_data["queries"].toIntVector()), keys(ctx->saved_data["keys"].toIntVector());
    auto d = flash_attention_backward(times(grads[0], wo), q, k, v, context, logsumexp, queries, keys,
                                      ctx->saved_data["heads"].toInt());
    auto dx = times(d.k, wk).add_(times(d.v, wv));
    auto dxq = times(d.q, wq);
    if (ctx->saved_data["same"].toBool()) return {dx.add_(dxq), {}, {}, {}, {}, {}};
    return {dx, dxq, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor frozen_attention(const at::Tensor& xq, const at::Tensor& x, const AttentionWeights& weights,
                            const RowLayout& queries, const RowLayout& keys, int64_t heads) {
  if (!needs_grad(x)) {
    c10::NoGradGuard guard;
    auto [q, k, v] = project(xq, x, weights);
    return affine(flash_attention(q, k, v, queries, keys, heads, nullptr), weights.output.weight, weights.output.bias);
  }
  return FrozenAttention::apply(x, xq, &weights, &queries, &keys, heads);
}

}  // namespace ta
