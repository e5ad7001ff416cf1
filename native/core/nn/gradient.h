#pragma once
// Where gradients of parameters go. Usually a parameter's own .grad(); a thread that works on its share of a batch has
// buffers of its own instead, which are summed in a fixed order afterwards, so that the sum has the same bits each
// time.

#include <ATen/core/Tensor.h>

#include <unordered_map>

namespace ta {

/// One thread's gradients.
class GradientBuffers {
 public:
  /// `buffer` has the parameter's shape and is added to; it must be zero when a batch begins.
  void add(const at::Tensor& parameter, at::Tensor buffer);
  at::Tensor of(const at::Tensor& parameter) const;

 private:
  std::unordered_map<const at::TensorImpl*, at::Tensor> buffers_;
};

/// While it lives, graphs recorded on this thread send gradients of parameters to these buffers.
class GradientScope {
 public:
  explicit GradientScope(const GradientBuffers& buffers);
  ~GradientScope();
  GradientScope(const GradientScope&) = delete;
  GradientScope& operator=(const GradientScope&) = delete;

 private:
  const GradientBuffers* before_;
};

/// The buffer that a node which is being recorded has to add the parameter's gradient to; undefined where the parameter
/// does not train.
at::Tensor gradient_of(const at::Tensor& parameter);

/// The parameter as autograd's own operators must take it, so that its gradient arrives in the right buffer.
at::Tensor tracked(const at::Tensor& parameter);

/// grad += gᵀ x.  g [tokens, out], x [tokens, in], grad [out, in] or undefined.
void add_product(at::Tensor& grad, const at::Tensor& g, const at::Tensor& x);
/// grad += Σ_tokens g.  g [tokens, out], grad [out] or undefined.
void add_sum(at::Tensor& grad, const at::Tensor& g);

}  // namespace ta
