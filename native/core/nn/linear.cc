#include "core/nn/linear.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/nn/gemm.h"

namespace ta {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias) {
    // The input is kept only where the weight trains.
    ctx->save_for_backward({weight.requires_grad() ? x : at::Tensor(), weight});
    return affine(x, weight, bias);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto g = grads[0].contiguous();
    at::Tensor d_x, d_weight, d_bias;
    if (ctx->needs_input_grad(0)) d_x = times(g, saved[1]);
    if (ctx->needs_input_grad(1)) d_weight = times(g.t(), saved[0]);
    if (ctx->needs_input_grad(2)) d_bias = g.sum(0);
    return {d_x, d_weight, d_bias};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  // A Function must not be given an undefined tensor.
  if (!bias.defined() || !uses_onednn(x, weight)) return at::linear(x, weight, bias);
  return LinearFunction::apply(x, weight, bias);
}

Linear::Linear(int64_t in, int64_t out, bool with_bias) {
  parameter({.name = "weight", .shape = {out, in}, .init = Init::normal, .decay = true}, weight);
  if (with_bias) parameter({.name = "bias", .shape = {out}, .init = Init::zeros}, bias);
}

at::Tensor Linear::forward(const at::Tensor& x) {
  return linear(x, weight, bias);
}

bool Linear::frozen() const {
  return !weight.requires_grad() && !(bias.defined() && bias.requires_grad());
}

}  // namespace ta
