#include "core/adapters/bottleneck_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>

#include "core/nn/gemm.h"
#include "core/nn/gradient.h"
#include "core/nn/node.h"

namespace ta {

namespace {

// What the node does, as flags that survive until the backward pass.
struct Form {
  bool parallel, norm_before, norm_after;
  ResidualBeforeLn residual;
  double scale;
  ActivationKind act;
};

Form form_of(const Bottleneck& adapter) {
  const auto& c = adapter.config();
  return {c.is_parallel,       c.original_ln_before && !c.is_parallel,
          c.original_ln_after, c.residual_before_ln,
          c.scaling_value,     adapter.activation->kind()};
}

struct Normed {
  at::Tensor y, mean, rstd;
};

Normed layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  auto [y, mean, rstd] = at::native_layer_norm(x, {weight.size(0)}, weight, bias, eps);
  return {y, mean, rstd};
}

at::Tensor layer_norm_grad(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& mean, const at::Tensor& rstd,
                           const at::Tensor& weight, const at::Tensor& bias) {
  return std::get<0>(
      at::native_layer_norm_backward(grad, x, {weight.size(0)}, mean, rstd, weight, bias, {true, false, false}));
}

struct Values {
  at::Tensor sum, mean1, rstd1;   // h + r and its LayerNorm's statistics, with norm_before
  at::Tensor x, inner;            // the adapter's input, and before the activation
  at::Tensor last, mean2, rstd2;  // before the last LayerNorm
  at::Tensor y;
};

Values compute(const at::Tensor& h, const at::Tensor& r, const Form& form, const Linear& down, const Linear& up,
               const LayerNorm& norm) {
  Values v;
  v.x = form.parallel ? r : h;
  if (form.norm_before) {
    v.sum = h + r;
    auto normed = layer_norm(v.sum, norm.weight, norm.bias, norm.eps);
    v.x = normed.y, v.mean1 = normed.mean, v.rstd1 = normed.rstd;
  }
  v.inner = affine(v.x, down.weight, down.bias);

  // The residual that the up-projection accumulates onto, with r where the last LayerNorm wants it.
  at::Tensor base;
  const bool from_h = form.parallel || form.residual == ResidualBeforeLn::yes || !form.norm_before;
  if (from_h) {
    base = !form.norm_after ? h : v.sum.defined() ? v.sum : h + r;
  } else {
    const auto& rho = form.residual == ResidualBeforeLn::post_add ? v.sum : v.x;
    base = form.norm_after ? rho + r : rho;
  }
  v.last = base.add(up.bias, form.scale);
  v.last.addmm_(activate(form.act, v.inner), up.weight.t(), 1, form.scale);
  v.y = v.last;
  if (form.norm_after) {
    auto normed = layer_norm(v.last, norm.weight, norm.bias, norm.eps);
    v.y = normed.y, v.mean2 = normed.mean, v.rstd2 = normed.rstd;
  }
  return v;
}

struct BottleneckNode : BackwardNode {
  Form form{};
  at::Tensor input, mean1, rstd1;  // with norm_before the sum h + r, otherwise the adapter's input
  at::Tensor inner;
  at::Tensor last, mean2, rstd2;
  at::Tensor down_weight, up_weight, norm_weight, norm_bias;
  at::Tensor d_down_weight, d_down_bias, d_up_weight, d_up_bias;  // where gradients are added; undefined: frozen
  double eps = 0;

  variable_list backward(const at::Tensor& g) override {
    auto d_last = form.norm_after ? layer_norm_grad(g, last, mean2, rstd2, norm_weight, norm_bias) : g;
    auto d_up = form.scale == 1.0 ? d_last : d_last * form.scale;
    if (d_up_weight.defined()) add_product(d_up_weight, d_up, activate(form.act, inner));
    add_sum(d_up_bias, d_up);
    auto d_inner = activate_backward(form.act, times(d_up, up_weight), inner);
    if (d_down_weight.defined()) {
      add_product(d_down_weight, d_inner, form.norm_before ? layer_norm(input, norm_weight, norm_bias, eps).y : input);
    }
    add_sum(d_down_bias, d_inner);
    if (!should_compute_output(0) && !should_compute_output(1)) return variable_list(2);
    return inputs(d_last, times(d_inner, down_weight));
  }

  // d_last: of the last sum; d_x: of the adapter's input. Both are this node's own.
  variable_list inputs(const at::Tensor& d_last, at::Tensor d_x) {
    at::Tensor after = form.norm_after ? d_last : at::Tensor();  // the share of r in the last sum
    if (form.parallel) return {d_last, after.defined() ? d_x.add_(after) : d_x};
    if (!form.norm_before) return {d_x.add_(d_last), after};
    if (form.residual == ResidualBeforeLn::no) d_x.add_(d_last);
    auto d_sum = layer_norm_grad(d_x, input, mean1, rstd1, norm_weight, norm_bias);
    if (form.residual == ResidualBeforeLn::post_add) d_sum.add_(d_last);
    const bool rho_is_h = form.residual == ResidualBeforeLn::yes;
    if (rho_is_h && after.defined()) {
      d_sum.add_(d_last);  // h and r stand in the same sums: one gradient for both
      return {d_sum, d_sum};
    }
    return {rho_is_h ? d_sum + d_last : d_sum, after.defined() ? d_sum + after : d_sum};
  }

  void release_variables() override {
    for (auto* tensor : {&input, &mean1, &rstd1, &inner, &last, &mean2, &rstd2, &down_weight, &up_weight, &norm_weight,
                         &norm_bias, &d_down_weight, &d_down_bias, &d_up_weight, &d_up_bias})
      tensor->reset();
  }
};

}  // namespace

at::Tensor bottleneck_site(const at::Tensor& h, const at::Tensor& r, const Bottleneck& adapter, const LayerNorm& norm) {
  const WithoutAutograd guard;
  const auto &down = *adapter.down, &up = *adapter.up;
  const auto form = form_of(adapter);
  auto v = compute(h, r, form, down, up, norm);
  const bool trains = c10::GradMode::is_enabled() && !(down.frozen() && up.frozen());
  if (!trains && !needs_grad(h) && !needs_grad(r)) return v.y;
  auto node = c10::make_intrusive<BottleneckNode>();
  node->form = form;
  // With norm_before the input comes back from the sum; otherwise it is h or r, which live elsewhere anyway.
  node->input = form.norm_before ? v.sum : v.x;
  node->mean1 = v.mean1, node->rstd1 = v.rstd1, node->inner = v.inner;
  if (form.norm_after) node->last = v.last, node->mean2 = v.mean2, node->rstd2 = v.rstd2;
  node->down_weight = down.weight, node->up_weight = up.weight;
  node->norm_weight = norm.weight, node->norm_bias = norm.bias, node->eps = norm.eps;
  node->d_down_weight = gradient_of(down.weight), node->d_down_bias = gradient_of(down.bias);
  node->d_up_weight = gradient_of(up.weight), node->d_up_bias = gradient_of(up.bias);
  return attach(v.y, node, h, r);
}

}  // namespace ta
