#include "core/adapters/fusion.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/nn/gradient.h"

namespace ta {

namespace {

constexpr double kHottest = 50;
constexpr double kCooling = kHottest / 1000;

// a · b for each token: [tokens, n] → [tokens, 1].
at::Tensor token_dot(const at::Tensor& a, const at::Tensor& b) {
  return (a * b).sum(-1, true);
}

// t · u for each token, without u: [tokens, hidden] → [tokens, 1].
at::Tensor score(const at::Tensor& t, const UpProjection& u) {
  if (!u.weight.defined()) return token_dot(t, u.z);
  auto scaled = u.scale.defined() ? t * u.scale : u.factor == 1 ? t : t * u.factor;
  return token_dot(at::matmul(scaled, u.weight), u.z) + at::matmul(scaled, u.bias.unsqueeze(1));
}

// Σ pi ui, the factored ones of them in one product.  p [tokens, N] → [tokens, hidden].
at::Tensor weighted_sum(const at::Tensor& p, const std::vector<UpProjection>& inputs) {
  std::vector<at::Tensor> bottlenecks, weights, biases, shares;
  at::Tensor sum;
  auto add = [&](const at::Tensor& part) { sum = sum.defined() ? sum + part : part; };
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto& u = inputs[i];
    auto share = p.narrow(1, static_cast<int64_t>(i), 1);
    if (!u.weight.defined()) {
      add(share * u.z);
    } else if (u.scale.defined()) {
      add((at::matmul(share * u.z, u.weight.t()) + share * u.bias) * u.scale);
    } else {
      if (u.factor != 1) share = share * u.factor;
      bottlenecks.push_back(share * u.z);
      weights.push_back(u.weight);
      biases.push_back(u.bias);
      shares.push_back(share);
    }
  }
  if (!bottlenecks.empty()) {
    add(at::matmul(at::cat(bottlenecks, 1), at::cat(weights, 1).t()) +
        at::matmul(at::cat(shares, 1), at::stack(biases)));
  }
  return sum;
}

}  // namespace

Fusion::Fusion(int64_t hidden, const FusionConfig& config) : config_(config), hidden_(hidden) {
  if (config.query) child("query", query_ = std::make_shared<Linear>(hidden, hidden));
  if (config.key) child("key", key_ = std::make_shared<Linear>(hidden, hidden));
  if (config.value) child("value", value_ = std::make_shared<Linear>(hidden, hidden, false));
  if (config.temperature) temperature = kHottest;
}

at::Tensor Fusion::forward(const at::Tensor& q, const std::vector<UpProjection>& inputs, const at::Tensor& rho,
                           Random* random, at::Tensor* scores) const {
  const auto Q = query_ ? query_->forward(q) : q;
  const auto t = key_ ? at::matmul(Q, tracked(key_->weight)) : Q;
  std::vector<at::Tensor> columns;
  for (const auto& u : inputs) columns.push_back(score(t, u));
  auto s = at::cat(columns, 1);
  if (config_.dropout_prob > 0 && random != nullptr) {
    // What is the same for all adapters changes no softmax, but a score that is dropped loses it, too.
    if (key_) s = s + at::matmul(Q, tracked(key_->bias).unsqueeze(1));
    if (config_.residual_before) s = s + token_dot(t, rho);
    s = dropout(s, config_.dropout_prob, random);
  }
  const auto p = at::softmax(temperature == 1 ? s : s / temperature, -1);
  if (scores != nullptr) *scores = p.detach();
  auto sum = weighted_sum(p, inputs);
  if (config_.residual_before) sum = sum + rho;
  return value_ ? value_->forward(sum) : sum;
}

at::Tensor Fusion::folded(const at::Tensor& q, const at::Tensor& x, const std::vector<const Bottleneck*>& adapters,
                          at::Tensor* scores) const {
  if (c10::GradMode::is_enabled() || config_.residual_before || adapters.empty() || !x.device().is_cpu()) return {};
  const auto* first = adapters.front();
  const bool plain = std::all_of(adapters.begin(), adapters.end(), [&](const Bottleneck* adapter) {
    const auto& config = adapter->config();
    return !config.phm && !config.ln_before && config.scaling == Scaling::fixed &&
           adapter->activation->kind() == first->activation->kind() && has_fused_backward(first->activation->kind());
  });
  if (!plain) return {};
  const FusionWeights weights{query_.get(), key_.get(), value_.get()};
  return folded_.of(weights, adapters)->forward(q, x, temperature, scores);
}

void Fusion::cool() {
  if (config_.temperature) temperature = std::max(temperature - kCooling, 1.0);
}

void Fusion::add_regularisation() const {
  if (!value_ || !config_.regularization || !value_->weight.requires_grad()) return;
  c10::NoGradGuard guard;
  // d/dW 0.01 ‖I - W‖² = 0.02 (W - I)
  const auto& weight = value_->weight;
  weight.mutable_grad().add_(weight - at::eye(hidden_, weight.options().requires_grad(false)), 0.02);
}

void Fusion::initialise(Random& random) {
  c10::NoGradGuard guard;
  for (const auto& layer : {query_, key_}) {
    if (!layer) continue;
    random.normal_(layer->weight, 0, 0.02);
    layer->bias.zero_();
  }
  if (!value_) return;
  if (config_.value_initialized) {
    value_->weight.fill_(1e-6).fill_diagonal_(1);
  } else {
    random.normal_(value_->weight, 0, 0.02);
  }
}

}  // namespace ta
