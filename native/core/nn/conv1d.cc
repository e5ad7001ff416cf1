#include "core/nn/conv1d.h"

#include "core/nn/gemm.h"
#include "core/nn/gradient.h"
#include "core/nn/node.h"

namespace ta {

namespace {

struct Conv1DNode : BackwardNode {
  at::Tensor x;  // kept only where the weight trains
  at::Tensor weight, weight_grad, bias_grad;

  variable_list backward(const at::Tensor& g) override {
    if (weight_grad.defined()) add_product(weight_grad, x, g);
    add_sum(bias_grad, g);
    if (!should_compute_output(0)) return {{}};
    return {affine(g, weight, {})};  // g Wᵀ
  }
  void release_variables() override { x.reset(), weight.reset(), weight_grad.reset(), bias_grad.reset(); }
};

}  // namespace

Conv1D::Conv1D(int64_t in, int64_t out, double scale) {
  parameter({.name = "weight", .shape = {in, out}, .init = Init::normal, .decay = true, .constant = scale}, weight);
  parameter({.name = "bias", .shape = {out}, .init = Init::zeros}, bias);
}

at::Tensor Conv1D::forward(const at::Tensor& x) {
  const WithoutAutograd guard;
  auto y = affine(x, weight.t(), bias);
  if (!needs_grad(x) && !needs_grad(weight) && !needs_grad(bias)) return y;
  auto node = make_node<Conv1DNode>();
  if (weight.requires_grad()) node->x = x;
  node->weight = weight;
  node->weight_grad = gradient_of(weight);
  node->bias_grad = gradient_of(bias);
  return attach(y, node, x);
}

}  // namespace ta
