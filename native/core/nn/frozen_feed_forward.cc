#include <ATen/TensorOperators.h>
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

struct FrozenFeedForward : torch::autograd::Function<FrozenFeedForward> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const Linear* in, ActivationKind act,
                            const Linear* out) {
    auto inner = affine(x, in->weight, in->bias);
    ctx->save_for_backward({inner, in->weight, out->weight});
    ctx->saved_data["act"] = static_cast<int64_t>(act);
    return affine(activate(act, inner), out->weight, out->bias);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const auto act = static_cast<ActivationKind>(ctx->saved_data["act"].toInt());
    auto d_inner = activate_backward(act, times(grads[0], saved[2]), saved[0]);
    return {times(d_inner, saved[1]), {}, {}, {}};
  }
};

struct AddNorm : torch::autograd::Function<AddNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& h, const at::Tensor& r, const LayerNorm* norm) {
    auto sum = h + r;
    auto [y, mean, rstd] = at::native_layer_norm(sum, {norm->weight.size(0)}, norm->weight, norm->bias, norm->eps);
    ctx->save_for_backward({sum, mean, rstd, norm->weight, norm->bias});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto s = ctx->get_saved_variables();
    auto d = std::get<0>(at::native_layer_norm_backward(grads[0].contiguous(), s[0], {s[3].size(0)}, s[1], s[2], s[3],
                                                        s[4], {true, false, false}));
    return {d, d, {}};
  }
};

}  // namespace

at::Tensor frozen_feed_forward(const at::Tensor& x, const Linear& in, ActivationKind act, const Linear& out) {
  if (!needs_grad(x)) {
    c10::NoGradGuard guard;
    return affine(activate(act, affine(x, in.weight, in.bias)), out.weight, out.bias);
  }
  return FrozenFeedForward::apply(x, &in, act, &out);
}

at::Tensor add_norm(const at::Tensor& h, const at::Tensor& r, LayerNorm& norm) {
  if (!norm.frozen() || !(needs_grad(h) || needs_grad(r))) return norm.forward(h + r);
  return AddNorm::apply(h, r, &norm);
}

}  // namespace ta
