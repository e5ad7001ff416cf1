#include "core/nn/activation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/prelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sigmoid_backward.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tanh_backward.h>
#include <ATen/ops/threshold_backward.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"

namespace ta {

namespace {

using Kind = ActivationKind;

constexpr std::pair<std::string_view, Kind> kNames[] = {
    {"gelu", Kind::gelu},
    {"gelu_10", Kind::gelu_10},
    {"gelu_accurate", Kind::gelu_tanh},
    {"gelu_fast", Kind::gelu_fast},
    {"gelu_new", Kind::gelu_tanh},
    {"gelu_python", Kind::gelu},
    {"gelu_python_tanh", Kind::gelu_tanh},
    {"gelu_pytorch_tanh", Kind::gelu_tanh},
    {"laplace", Kind::laplace},
    {"leaky_relu", Kind::leaky_relu},
    {"leakyrelu", Kind::leaky_relu},
    {"linear", Kind::linear},
    {"mish", Kind::mish},
    {"prelu", Kind::prelu},
    {"quick_gelu", Kind::quick_gelu},
    {"relu", Kind::relu},
    {"relu2", Kind::relu2},
    {"relu6", Kind::relu6},
    {"sigmoid", Kind::sigmoid},
    {"silu", Kind::silu},
    {"swish", Kind::silu},
    {"tanh", Kind::tanh},
    {"xielu", Kind::xielu},
};

// xIELU (arXiv 2411.13010). Its start is softplus⁻¹(0.8) and softplus⁻¹(0.8 - beta), as transformers computes them: in
// bfloat16, and so is eps.
constexpr double kXieluBeta = 0.5;
constexpr double kXieluEps = -9.98377799987793e-07;
constexpr double kXieluAlphaP = 0.2041015625;
constexpr double kXieluAlphaN = -1.046875;

at::Tensor xielu(const at::Tensor& x, const at::Tensor& alpha_p, const at::Tensor& alpha_n) {
  auto positive = at::softplus(alpha_p);
  auto negative = at::softplus(alpha_n) + kXieluBeta;
  auto linear = x * kXieluBeta;
  return at::where(x > 0, positive * x * x + linear, (at::expm1(at::clamp_max(x, kXieluEps)) - x) * negative + linear);
}

}  // namespace

std::optional<ActivationKind> activation_kind(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const auto& [known, kind] : kNames)
    if (known == lower) return kind;
  return std::nullopt;
}

Activation::Activation(std::string_view name) {
  auto kind = activation_kind(name);
  if (!kind) {
    std::string known;
    for (const auto& entry : kNames) known += (known.empty() ? "" : ", ") + std::string(entry.first);
    fail(ErrorCode::invalid_argument, "activation",
         "unknown non-linearity '" + std::string(name) + "'; known: " + known);
  }
  kind_ = *kind;
  if (kind_ == Kind::prelu) {
    parameter({.name = "weight", .shape = {1}, .init = Init::constant, .decay = true, .constant = 0.25}, weight_);
  } else if (kind_ == Kind::xielu) {
    parameter({.name = "alpha_p", .shape = {1}, .init = Init::constant, .decay = true, .constant = kXieluAlphaP},
              alpha_p_);
    parameter({.name = "alpha_n", .shape = {1}, .init = Init::constant, .decay = true, .constant = kXieluAlphaN},
              alpha_n_);
  }
}

at::Tensor Activation::forward(const at::Tensor& x) {
  switch (kind_) {
    case Kind::gelu:
      return at::gelu(x);
    case Kind::gelu_10:
      return at::clamp(at::gelu(x), -10, 10);
    case Kind::gelu_fast:
      return 0.5 * x * (1.0 + at::tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)));
    case Kind::gelu_tanh:
      return at::gelu(x, "tanh");
    case Kind::laplace:
      return 0.5 * (1.0 + at::erf((x - 0.707107) / (0.282095 * std::sqrt(2.0))));
    case Kind::leaky_relu:
      return at::leaky_relu(x);
    case Kind::linear:
      return x;
    case Kind::mish:
      return at::mish(x);
    case Kind::quick_gelu:
      return x * at::sigmoid(1.702 * x);
    case Kind::relu:
      return at::relu(x);
    case Kind::relu2:
      return at::relu(x).square();
    case Kind::relu6:
      return at::clamp(x, 0, 6);
    case Kind::sigmoid:
      return at::sigmoid(x);
    case Kind::silu:
      return at::silu(x);
    case Kind::tanh:
      return at::tanh(x);
    case Kind::prelu:
      return at::prelu(x, weight_);
    case Kind::xielu:
      return xielu(x, alpha_p_, alpha_n_);
  }
  return x;
}

bool has_fused_backward(Kind kind) {
  switch (kind) {
    case Kind::gelu:
    case Kind::gelu_tanh:
    case Kind::relu:
    case Kind::silu:
    case Kind::sigmoid:
    case Kind::tanh:
    case Kind::linear:
      return true;
    default:
      return false;
  }
}

at::Tensor activate(Kind kind, const at::Tensor& x) {
  switch (kind) {
    case Kind::gelu:
      return at::gelu(x);
    case Kind::gelu_tanh:
      return at::gelu(x, "tanh");
    case Kind::relu:
      return at::relu(x);
    case Kind::silu:
      return at::silu(x);
    case Kind::sigmoid:
      return at::sigmoid(x);
    case Kind::tanh:
      return at::tanh(x);
    default:
      return x;
  }
}

at::Tensor activate_backward(Kind kind, const at::Tensor& grad, const at::Tensor& x) {
  switch (kind) {
    case Kind::gelu:
      return at::gelu_backward(grad, x);
    case Kind::gelu_tanh:
      return at::gelu_backward(grad, x, "tanh");
    case Kind::relu:
      return at::threshold_backward(grad, x, 0);
    case Kind::silu:
      return at::silu_backward(grad, x);
    case Kind::sigmoid:
      return at::sigmoid_backward(grad, at::sigmoid(x));
    case Kind::tanh:
      return at::tanh_backward(grad, at::tanh(x));
    default:
      return grad;
  }
}

}  // namespace ta
