#include "core/nn/gradient.h"

#include <ATen/TensorOperators.h>

#include <stdexcept>
#include <utility>

#include "core/nn/gemm.h"
#include "core/nn/node.h"

namespace ta {

namespace {

thread_local const GradientBuffers* buffers_here = nullptr;

struct AddToBuffer : BackwardNode {
  at::Tensor buffer;
  variable_list backward(const at::Tensor& grad) override {
    buffer.add_(grad);
    buffer.unsafeGetTensorImpl()->bump_version();  // operators below autograd do not
    return {};
  }
  void release_variables() override { buffer.reset(); }
};

}  // namespace

void GradientBuffers::add(const at::Tensor& parameter, at::Tensor buffer) {
  buffers_.emplace(parameter.unsafeGetTensorImpl(), std::move(buffer));
}

at::Tensor GradientBuffers::of(const at::Tensor& parameter) const {
  const auto found = buffers_.find(parameter.unsafeGetTensorImpl());
  if (found == buffers_.end()) throw std::logic_error("a parameter that trains has no gradient buffer");
  return found->second;
}

GradientScope::GradientScope(const GradientBuffers& buffers) : before_(std::exchange(buffers_here, &buffers)) {}

GradientScope::~GradientScope() {
  buffers_here = before_;
}

at::Tensor gradient_of(const at::Tensor& parameter) {
  if (!parameter.defined() || !parameter.requires_grad()) return {};
  auto buffer = buffers_here != nullptr ? buffers_here->of(parameter) : parameter.grad();
  buffer.unsafeGetTensorImpl()->bump_version();  // nodes add to it below autograd, which would do that
  return buffer;
}

at::Tensor tracked(const at::Tensor& parameter) {
  if (buffers_here == nullptr || !parameter.defined() || !needs_grad(parameter)) return parameter;
  auto node = make_node<AddToBuffer>();
  node->buffer = buffers_here->of(parameter);
  const WithoutAutograd guard;
  return attach(parameter.detach(), node);
}

void add_product(at::Tensor& grad, const at::Tensor& g, const at::Tensor& x) {
  if (grad.defined()) add_times(grad, g, x);
}

void add_sum(at::Tensor& grad, const at::Tensor& g) {
  if (grad.defined()) grad.add_(g.sum(0));
}

}  // namespace ta
