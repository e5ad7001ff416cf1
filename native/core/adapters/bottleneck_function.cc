#include "core/adapters/bottleneck_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/nn/frozen.h"
#include "core/nn/gemm.h"

namespace ta {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

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

struct BottleneckSite : torch::autograd::Function<BottleneckSite> {
  // The biases are inputs for autograd alone; their values come with the adapter.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& h, const at::Tensor& r,
                            const at::Tensor& down_weight, const at::Tensor&, const at::Tensor& up_weight,
                            const at::Tensor&, const Bottleneck* adapter, const LayerNorm* norm) {
    const auto form = form_of(*adapter);
    auto v = compute(h, r, form, *adapter->down, *adapter->up, *norm);
    // With norm_before the input comes back from the sum; otherwise it is h or r, which live elsewhere anyway.
    ctx->save_for_backward({form.norm_before ? v.sum : v.x, v.mean1, v.rstd1, v.inner,
                            form.norm_after ? v.last : at::Tensor(), v.mean2, v.rstd2, down_weight, up_weight,
                            norm->weight, norm->bias});
    ctx->saved_data["parallel"] = form.parallel;
    ctx->saved_data["norm_before"] = form.norm_before;
    ctx->saved_data["norm_after"] = form.norm_after;
    ctx->saved_data["residual"] = static_cast<int64_t>(form.residual);
    ctx->saved_data["scale"] = form.scale;
    ctx->saved_data["act"] = static_cast<int64_t>(form.act);
    ctx->saved_data["eps"] = norm->eps;
    return v.y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    const auto &input = s[0], &mean1 = s[1], &rstd1 = s[2], &inner = s[3], &last = s[4], &mean2 = s[5], &rstd2 = s[6];
    const auto &down_weight = s[7], &up_weight = s[8], &norm_weight = s[9], &norm_bias = s[10];
    auto& data = ctx->saved_data;
    const Form form{data["parallel"].toBool(),   data["norm_before"].toBool(),
                    data["norm_after"].toBool(), static_cast<ResidualBeforeLn>(data["residual"].toInt()),
                    data["scale"].toDouble(),    static_cast<ActivationKind>(data["act"].toInt())};

    auto d_last = grads[0].contiguous();
    if (form.norm_after) d_last = layer_norm_grad(d_last, last, mean2, rstd2, norm_weight, norm_bias);

    at::Tensor d_down_weight, d_down_bias, d_up_weight, d_up_bias, d_h, d_r;
    auto d_up = form.scale == 1.0 ? d_last : d_last * form.scale;
    if (ctx->needs_input_grad(4)) d_up_weight = at::mm(d_up.t(), activate(form.act, inner));
    if (ctx->needs_input_grad(5)) d_up_bias = d_up.sum(0);
    auto d_inner = activate_backward(form.act, times(d_up, up_weight), inner);
    if (ctx->needs_input_grad(2)) {
      auto x = form.norm_before ? layer_norm(input, norm_weight, norm_bias, data["eps"].toDouble()).y : input;
      d_down_weight = at::mm(d_inner.t(), x);
    }
    if (ctx->needs_input_grad(3)) d_down_bias = d_inner.sum(0);

    if (ctx->needs_input_grad(0) || ctx->needs_input_grad(1)) {
      auto d_x = times(d_inner, down_weight);
      at::Tensor after = form.norm_after ? d_last : at::Tensor();  // the share of r in the last sum
      if (form.parallel) {
        d_h = d_last;
        d_r = after.defined() ? d_x.add_(after) : d_x;
      } else if (form.norm_before) {
        if (form.residual == ResidualBeforeLn::no) d_x.add_(d_last);
        auto d_sum = layer_norm_grad(d_x, input, mean1, rstd1, norm_weight, norm_bias);
        if (form.residual == ResidualBeforeLn::post_add) d_sum.add_(d_last);
        const bool rho_is_h = form.residual == ResidualBeforeLn::yes;
        if (rho_is_h && after.defined()) {
          d_h = d_sum.add_(d_last);  // h and r stand in the same sums: one gradient for both
          d_r = d_h;
        } else {
          d_h = rho_is_h ? d_sum + d_last : d_sum;
          d_r = after.defined() ? d_sum + after : d_sum;
        }
      } else {
        d_h = d_x.add_(d_last);
        d_r = after;
      }
    }
    return {d_h, d_r, d_down_weight, d_down_bias, d_up_weight, d_up_bias, {}, {}};
  }
};

}  // namespace

at::Tensor bottleneck_site(const at::Tensor& h, const at::Tensor& r, const Bottleneck& adapter, const LayerNorm& norm) {
  const auto &down = *adapter.down, &up = *adapter.up;
  if (!c10::GradMode::is_enabled() || !(h.requires_grad() || r.requires_grad() || !down.frozen() || !up.frozen())) {
    c10::NoGradGuard guard;
    return compute(h, r, form_of(adapter), down, up, norm).y;
  }
  return BottleneckSite::apply(h, r, down.weight, down.bias, up.weight, up.bias, &adapter, &norm);
}

}  // namespace ta
