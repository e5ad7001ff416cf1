#include "core/nn/linear.h"

#include <ATen/ops/linear.h>

#include "core/nn/gemm.h"
#include "core/nn/gradient.h"
#include "core/nn/node.h"

namespace ta {

namespace {

struct LinearNode : BackwardNode {
  at::Tensor x;  // kept only where the weight trains
  at::Tensor weight, weight_grad, bias_grad;

  variable_list backward(const at::Tensor& g) override {
    if (weight_grad.defined()) add_product(weight_grad, g, x);
    add_sum(bias_grad, g);
    if (!should_compute_output(0)) return {{}};
    return {times(g, weight)};
  }
  void release_variables() override { x.reset(), weight.reset(), weight_grad.reset(), bias_grad.reset(); }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const WithoutAutograd guard;
  auto y = affine(x, weight, bias);
  if (!needs_grad(x) && !needs_grad(weight) && !(bias.defined() && needs_grad(bias))) return y;
  auto node = make_node<LinearNode>();
  if (weight.requires_grad()) node->x = x;
  node->weight = weight;
  node->weight_grad = gradient_of(weight);
  node->bias_grad = gradient_of(bias);
  return attach(y, node, x);
}

Linear::Linear(int64_t in, int64_t out, bool with_bias) {
  parameter({.name = "weight", .shape = {out, in}, .init = Init::normal, .decay = true}, weight);
  if (with_bias) parameter({.name = "bias", .shape = {out}, .init = Init::zeros}, bias);
}

at::Tensor Linear::forward(const at::Tensor& x) {
  return linear(x, weight, bias);
}

at::Tensor LinearLayer::forward(const at::Tensor& x, const ForwardContext& context) {
  return extended(context) ? extension_->forward(x, context) : forward(x);
}

bool LinearLayer::extended(const ForwardContext& context) const {
  return extension_ != nullptr && extension_->acts(context);
}

void LinearLayer::extend(const std::string& name, std::shared_ptr<Module> place, LinearExtension& extension) {
  child(name, std::move(place));
  extension_ = &extension;
}

bool LinearLayer::frozen() const {
  return !weight.requires_grad() && !(bias.defined() && bias.requires_grad());
}

}  // namespace ta
