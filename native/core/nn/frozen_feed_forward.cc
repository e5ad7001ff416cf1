#include <ATen/TensorOperators.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>

#include "core/nn/frozen.h"
#include "core/nn/gemm.h"
#include "core/nn/node.h"

namespace ta {

namespace {

struct FeedForwardNode : BackwardNode {
  at::Tensor inner, w_in, w_out;
  ActivationKind act{};

  variable_list backward(const at::Tensor& g) override {
    return {times(activate_backward(act, times(g, w_out), inner), w_in)};
  }
  void release_variables() override { inner.reset(), w_in.reset(), w_out.reset(); }
};

struct AddNormNode : BackwardNode {
  at::Tensor sum, mean, rstd, weight, bias;

  variable_list backward(const at::Tensor& g) override {
    auto d = std::get<0>(
        at::native_layer_norm_backward(g, sum, {weight.size(0)}, mean, rstd, weight, bias, {true, false, false}));
    return {d, d};
  }
  void release_variables() override { sum.reset(), mean.reset(), rstd.reset(), weight.reset(), bias.reset(); }
};

}  // namespace

at::Tensor frozen_feed_forward(const at::Tensor& x, const Affine& in, ActivationKind act, const Affine& out) {
  const WithoutAutograd guard;
  auto inner = affine(x, in.weight, in.bias);
  auto y = affine(activate(act, inner), out.weight, out.bias);
  if (!needs_grad(x)) return y;
  auto node = make_node<FeedForwardNode>();
  node->inner = inner, node->w_in = in.weight, node->w_out = out.weight;
  node->act = act;
  return attach(y, node, x);
}

at::Tensor add_norm(const at::Tensor& h, const at::Tensor& r, LayerNorm& norm) {
  // A LayerNorm may be the first thing that trains, with no gradient to pass on.
  if (c10::GradMode::is_enabled() && !norm.frozen()) return norm.forward(h + r);
  const bool graph = needs_grad(h) || needs_grad(r);
  const WithoutAutograd guard;
  auto sum = h + r;
  auto [y, mean, rstd] = at::native_layer_norm(sum, {norm.weight.size(0)}, norm.weight, norm.bias, norm.eps);
  if (!graph) return y;
  auto node = make_node<AddNormNode>();
  node->sum = sum, node->mean = mean, node->rstd = rstd, node->weight = norm.weight, node->bias = norm.bias;
  return attach(y, node, h, r);
}

}  // namespace ta
