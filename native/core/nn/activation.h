#pragma once
// The non-linearities of Hugging Face's ACT2FN (transformers.activations, 4.57) and AdapterHub's `leakyrelu`, by name.
// prelu and xielu carry parameters: PyTorch's keys are `weight` and `alpha_p`, `alpha_n` below the activation, with
// xielu's constants `beta` and `eps` beside them.

#include <optional>
#include <string_view>

#include "core/nn/module.h"

namespace ta {

enum class ActivationKind {
  gelu,
  gelu_10,
  gelu_fast,
  gelu_tanh,
  laplace,
  leaky_relu,
  linear,
  mish,
  quick_gelu,
  relu,
  relu2,
  relu6,
  sigmoid,
  silu,
  tanh,
  prelu,
  xielu
};

/// The kind that a name stands for (case does not matter), or nothing.
std::optional<ActivationKind> activation_kind(std::string_view name);

class Activation : public TokenLayer {
 public:
  using TokenLayer::forward;
  /// Throws ERR_INVALID_ARGUMENT with the list of known names.
  explicit Activation(std::string_view name);
  const char* type() const override { return "Activation"; }
  at::Tensor forward(const at::Tensor& x) override;
  ActivationKind kind() const { return kind_; }

 private:
  ActivationKind kind_;
  at::Tensor weight_;             // prelu [1]
  at::Tensor alpha_p_, alpha_n_;  // xielu [1]
  at::Tensor beta_, eps_;         // xielu []
};

/// Kinds whose derivative is one operator on the input: those that the fused blocks take.
bool has_fused_backward(ActivationKind kind);
/// act(x) without autograd; only kinds with a fused backward.
at::Tensor activate(ActivationKind kind, const at::Tensor& x);
/// ∂act(x)/∂x ⊙ grad, without autograd.
at::Tensor activate_backward(ActivationKind kind, const at::Tensor& grad, const at::Tensor& x);

}  // namespace ta
