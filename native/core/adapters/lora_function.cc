#include "core/adapters/lora_function.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "core/nn/gemm.h"
#include "core/nn/gradient.h"
#include "core/nn/node.h"

namespace ta {

namespace {

// A factor and where its gradient goes: to a buffer where it is a parameter, otherwise back through what it was made
// of.
struct Factor {
  explicit Factor(const at::Tensor& factor) : value(factor) {
    trains = needs_grad(factor);
    if (trains && factor.is_leaf()) buffer = gradient_of(factor);
  }
  at::Tensor value, buffer;
  bool trains = false;

  at::Tensor edge() const { return trains && !buffer.defined() ? value : at::Tensor(); }
  // The gradient is s · leftᵀ right. Undefined where a buffer took it.
  at::Tensor take(const at::Tensor& left, const at::Tensor& right, double scale) {
    if (!trains) return {};
    if (!buffer.defined()) return at::mm(left.t(), right).mul_(scale);
    buffer.addmm_(left.t(), right, 1, scale);
    return {};
  }
};

struct Term {
  Factor a, b;
  double scale;
  int64_t begin, count;
  at::Tensor z;  // x Aᵀ, where B trains
};

struct LoraNode : BackwardNode {
  at::Tensor x;  // where A or the weight trains
  at::Tensor weight, weight_grad, bias_grad;
  std::vector<Term> terms;

  // For x, and for A and B of each term.
  variable_list backward(const at::Tensor& g) override {
    if (weight_grad.defined()) add_product(weight_grad, g, x);
    add_sum(bias_grad, g);
    variable_list grads(1 + 2 * terms.size());
    if (should_compute_output(0)) grads[0] = times(g, weight);
    for (size_t i = 0; i < terms.size(); ++i) {
      auto& term = terms[i];
      const auto own = g.narrow(0, term.begin, term.count);
      grads[2 + 2 * i] = term.b.trains ? term.b.take(own, term.z, term.scale) : at::Tensor();
      if (!term.a.trains && !grads[0].defined()) continue;
      const auto d_z = at::mm(own, term.b.value);
      if (term.a.trains) grads[1 + 2 * i] = term.a.take(d_z, x.narrow(0, term.begin, term.count), term.scale);
      if (grads[0].defined()) grads[0].narrow(0, term.begin, term.count).addmm_(d_z, term.a.value, 1, term.scale);
    }
    return grads;
  }
  void release_variables() override {
    for (auto* tensor : {&x, &weight, &weight_grad, &bias_grad}) tensor->reset();
    terms.clear();
  }
};

}  // namespace

at::Tensor LinearTensors::tracked_matrix() const {
  const auto own = tracked(weight);
  return transposed ? own.t() : own;
}

at::Tensor lora_linear(const at::Tensor& x, const LinearTensors& linear, const std::vector<LoraTerm>& terms) {
  const WithoutAutograd guard;
  const auto& [weight, bias, transposed] = linear;
  const auto matrix = linear.matrix();
  auto y = affine(x, matrix, bias);
  std::vector<Term> own;
  std::vector<at::Tensor> inputs{x};
  for (const auto& [factors, begin, count] : terms) {
    Term term{Factor(factors.a), Factor(factors.b), factors.scale, begin, count, {}};
    term.z = at::mm(x.narrow(0, begin, count), factors.a.t());
    y.narrow(0, begin, count).addmm_(term.z, factors.b.t(), 1, factors.scale);
    if (!term.b.trains) term.z.reset();
    inputs.push_back(term.a.edge());
    inputs.push_back(term.b.edge());
    own.push_back(std::move(term));
  }
  const bool base_trains = needs_grad(weight) || (bias.defined() && needs_grad(bias));
  const bool trains = std::any_of(own.begin(), own.end(), [](const Term& t) { return t.a.trains || t.b.trains; });
  if (!needs_grad(x) && !base_trains && !trains) return y;
  auto node = make_node<LoraNode>();
  if (weight.requires_grad() || std::any_of(own.begin(), own.end(), [](const Term& t) { return t.a.trains; })) {
    node->x = x;
  }
  node->weight = matrix;
  node->weight_grad = gradient_of(weight);
  if (transposed && node->weight_grad.defined()) node->weight_grad = node->weight_grad.t();
  node->bias_grad = gradient_of(bias);
  node->terms = std::move(own);
  return attach(y, node, inputs);
}

}  // namespace ta
