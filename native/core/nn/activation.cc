#include "core/nn/activation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/minimum.h>
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
#include "core/nn/gradient.h"

namespace ta {

namespace {

using Act = ActivationKind;

constexpr std::pair<std::string_view, Act> kNames[] = {
    {"gelu", Act::gelu},
    {"gelu_10", Act::gelu_10},
    {"gelu_accurate", Act::gelu_tanh},
    {"gelu_fast", Act::gelu_fast},
    {"gelu_new", Act::gelu_tanh},
    {"gelu_python", Act::gelu},
    {"gelu_python_tanh", Act::gelu_tanh},
    {"gelu_pytorch_tanh", Act::gelu_tanh},
    {"laplace", Act::laplace},
    {"leaky_relu", Act::leaky_relu},
    {"leakyrelu", Act::leaky_relu},
    {"linear", Act::linear},
    {"mish", Act::mish},
    {"prelu", Act::prelu},
    {"quick_gelu", Act::quick_gelu},
    {"relu", Act::relu},
    {"relu2", Act::relu2},
    {"relu6", Act::relu6},
    {"sigmoid", Act::sigmoid},
    {"silu", Act::silu},
    {"swish", Act::silu},
    {"tanh", Act::tanh},
    {"xielu", Act::xielu},
};

// xIELU (arXiv 2411.13010). Its start is softplus⁻¹(0.8) and softplus⁻¹(0.8 - beta), as transformers computes them: in
// bfloat16, and so is eps. There the two stay of that type, whatever the model's is: what is stored here in fp32 counts
// as it is read there, and so do its gradients.
constexpr double kXieluBeta = 0.5;
constexpr double kXieluEps = -9.98377799987793e-07;
constexpr double kXieluAlphaP = 0.2041015625;
constexpr double kXieluAlphaN = -1.046875;

at::Tensor xielu(const at::Tensor& x, const at::Tensor& alpha_p, const at::Tensor& alpha_n, const at::Tensor& beta,
                 const at::Tensor& eps) {
  auto positive = at::softplus(alpha_p.to(at::kBFloat16));
  auto negative = at::softplus(alpha_n.to(at::kBFloat16)) + beta.to(at::kBFloat16);
  auto linear = x * beta;
  return at::where(x > 0, positive * x * x + linear, (at::expm1(at::minimum(x, eps)) - x) * negative + linear);
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
  if (kind_ == Act::prelu) {
    parameter({.name = "weight", .shape = {1}, .init = Init::constant, .decay = true, .constant = 0.25}, weight_);
  } else if (kind_ == Act::xielu) {
    parameter({.name = "alpha_p", .shape = {1}, .init = Init::constant, .decay = true, .constant = kXieluAlphaP},
              alpha_p_);
    parameter({.name = "alpha_n", .shape = {1}, .init = Init::constant, .decay = true, .constant = kXieluAlphaN},
              alpha_n_);
    const auto constant = [&](const char* name, double value, at::Tensor& place) {
      parameter({.name = name, .shape = {}, .init = Init::constant, .constant = value, .fixed = true, .buffer = true},
                place);
    };
    constant("beta", kXieluBeta, beta_);
    constant("eps", kXieluEps, eps_);
  }
}

at::Tensor Activation::forward(const at::Tensor& x) {
  switch (kind_) {
    case Act::gelu:
      return at::gelu(x);
    case Act::gelu_10:
      return at::clamp(at::gelu(x), -10, 10);
    case Act::gelu_fast:
      return 0.5 * x * (1.0 + at::tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)));
    case Act::gelu_tanh:
      return at::gelu(x, "tanh");
    case Act::laplace:
      return 0.5 * (1.0 + at::erf((x - 0.707107) / (0.282095 * std::sqrt(2.0))));
    case Act::leaky_relu:
      return at::leaky_relu(x);
    case Act::linear:
      return x;
    case Act::mish:
      return at::mish(x);
    case Act::quick_gelu:
      return x * at::sigmoid(1.702 * x);
    case Act::relu:
      return at::relu(x);
    case Act::relu2:
      return at::relu(x).square();
    case Act::relu6:
      return at::clamp(x, 0, 6);
    case Act::sigmoid:
      return at::sigmoid(x);
    case Act::silu:
      return at::silu(x);
    case Act::tanh:
      return at::tanh(x);
    case Act::prelu:
      return at::prelu(x, tracked(weight_));
    case Act::xielu:
      return xielu(x, tracked(alpha_p_), tracked(alpha_n_), beta_, eps_);
  }
  return x;
}

bool has_fused_backward(Act kind) {
  switch (kind) {
    case Act::gelu:
    case Act::gelu_tanh:
    case Act::relu:
    case Act::silu:
    case Act::sigmoid:
    case Act::tanh:
    case Act::linear:
      return true;
    default:
      return false;
  }
}

at::Tensor activate(Act kind, const at::Tensor& x) {
  switch (kind) {
    case Act::gelu:
      return at::gelu(x);
    case Act::gelu_tanh:
      return at::gelu(x, "tanh");
    case Act::relu:
      return at::relu(x);
    case Act::silu:
      return at::silu(x);
    case Act::sigmoid:
      return at::sigmoid(x);
    case Act::tanh:
      return at::tanh(x);
    default:
      return x;
  }
}

at::Tensor activate_backward(Act kind, const at::Tensor& grad, const at::Tensor& x) {
  switch (kind) {
    case Act::gelu:
      return at::gelu_backward(grad, x);
    case Act::gelu_tanh:
      return at::gelu_backward(grad, x, "tanh");
    case Act::relu:
      return at::threshold_backward(grad, x, 0);
    case Act::silu:
      return at::silu_backward(grad, x);
    case Act::sigmoid:
      return at::sigmoid_backward(grad, at::sigmoid(x));
    case Act::tanh:
      return at::tanh_backward(grad, at::tanh(x));
    default:
      return grad;
  }
}

}  // namespace ta
