#include "core/adapters/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/nn/gradient.h"
#include "core/nn/rows.h"

namespace ta {

namespace {

// ‖W + B A‖ of each row, [out], without a matrix of W's size: ‖w‖² + 2 (W Aᵀ) · B + B (A Aᵀ) · B.
at::Tensor row_norms(const at::Tensor& weight, const LowRank& low) {
  const auto& b = low.b;
  const auto at = low.a.t();
  auto cross = at::matmul(weight, at) * 2 + at::matmul(b, at::matmul(low.a, at));
  return ((weight * weight).sum(1) + (cross * b).sum(1)).sqrt();
}

at::Tensor doubled(const at::Tensor& tensor) {
  return tensor.detach().to(at::kDouble);
}

}  // namespace

void initialise_factor(at::Tensor& factor, LoraInit init, bool is_b, Random& random) {
  auto uniform = [&](double gain) {
    const double bound = gain * std::sqrt(3.0 / static_cast<double>(factor.size(-1)));
    random.uniform_(factor, -bound, bound);
  };
  switch (init) {
    case LoraInit::lora:
      if (is_b) {
        factor.zero_();
      } else {
        uniform(std::sqrt(1.0 / 3.0));  // nn.Linear's: a = √5
      }
      break;
    case LoraInit::bert:
      random.normal_(factor, 0, 0.02);
      break;
    case LoraInit::ia3:
      factor.fill_(1);
      break;
    case LoraInit::vera:
      uniform(std::sqrt(2.0));
      break;
  }
}

void LoraModule::add_gate(int64_t in) {
  gate_ = std::make_shared<Linear>(in, 1);
  child("gate", gate_);
}

at::Tensor LoraModule::gate(const at::Tensor& x, const RowLayout& rows) const {
  return for_each_token(row_means(at::sigmoid(gate_->forward(x)), rows), rows);
}

void LoraModule::initialise_gate(Random& random) const {
  if (!gate_) return;
  random.normal_(gate_->weight, 0, 0.02);
  const double bound = 1 / std::sqrt(static_cast<double>(gate_->weight.size(1)));  // the peer leaves nn.Linear's bias
  random.uniform_(gate_->bias, -bound, bound);
}

LowRankModule::LowRankModule(const LoraConfig& config, int64_t rank) : config_(config), rank_(rank) {}

void LowRankModule::add_magnitude_and_gate(const at::Tensor& weight) {
  if (config_.dora != Dora::none) {
    magnitude_ = std::make_shared<Linear>(1, weight.size(0), false);
    magnitude_->weight = at::linalg_vector_norm(weight.detach(), 2, {1}, true);
    child("m", magnitude_);
  }
  if (config_.use_gating) add_gate(weight.size(1));
}

LowRank LowRankModule::tracked_factors() const {
  auto low = factors();
  if (low.a.is_leaf()) low.a = tracked(low.a);
  if (low.b.is_leaf()) low.b = tracked(low.b);
  return low;
}

std::optional<LowRank> LowRankModule::added(Random* random) const {
  if (gated() || (config_.dropout > 0 && random != nullptr)) return std::nullopt;
  auto low = factors();
  low.scale = scale();
  return low;
}

at::Tensor LowRankModule::finish(const at::Tensor& sum, const LinearTensors& linear) const {
  if (!magnitude_) return sum;
  const auto m = tracked(magnitude_->weight).squeeze(1);
  if (config_.dora == Dora::adapters) return sum * (m / row_norms(tracked(linear.weight), tracked_factors()));
  const auto low = factors();
  const auto share = m / row_norms(linear.weight.detach(), {low.a.detach(), low.b.detach() * scale()});
  if (!linear.bias.defined()) return sum * share;
  const auto bias = tracked(linear.bias);
  return (sum - bias) * share + bias;
}

at::Tensor LowRankModule::apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear,
                                const RowLayout& rows, Random* random) const {
  const auto low = tracked_factors();
  auto product = at::matmul(at::matmul(dropout(x, config_.dropout, random), low.a.t()), low.b.t());
  return finish(y + (gated() ? product * gate(x, rows) : product * scale()), linear);
}

LinearTensors LowRankModule::merged(const LinearTensors& linear) const {
  c10::NoGradGuard guard;
  const auto& [weight, bias] = linear;
  const auto low = factors();
  const auto product = at::matmul(doubled(low.b), doubled(low.a)), w = doubled(weight);
  auto sum = w + product * scale();
  if (!magnitude_) return {sum.to(weight.scalar_type()), bias};
  const bool whole = config_.dora == Dora::peft;
  const auto share = doubled(magnitude_->weight) / at::linalg_vector_norm(whole ? sum : w + product, 2, {1}, true);
  return {(sum * share).to(weight.scalar_type()),
          bias.defined() && !whole ? (doubled(bias) * share.squeeze(1)).to(bias.scalar_type()) : bias};
}

Lora::Lora(const LoraConfig& config, int64_t rank, const at::Tensor& weight) : LowRankModule(config, rank) {
  parameter({.name = "lora_A", .shape = {rank, weight.size(1)}, .decay = true}, a_);
  parameter({.name = "lora_B", .shape = {weight.size(0), rank}, .decay = true}, b_);
  add_magnitude_and_gate(weight);
}

LowRank Lora::factors() const {
  return {a_, b_};
}

void Lora::initialise(Random& random) {
  c10::NoGradGuard guard;
  initialise_factor(a_, config_.init_weights, false, random);
  initialise_factor(b_, config_.init_weights, true, random);
  initialise_gate(random);
}

Ia3::Ia3(const LoraConfig& config, const at::Tensor& weight) : config_(config) {
  parameter({.name = "lora_B", .shape = {weight.size(0), 1}, .decay = true}, l_);
  if (config.use_gating) add_gate(weight.size(1));
}

at::Tensor Ia3::apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors&, const RowLayout& rows,
                      Random*) const {
  auto scaled = y * tracked(l_).squeeze(1);
  if (gated()) return scaled * gate(x, rows);
  return config_.alpha == 1 ? scaled : scaled * config_.alpha;
}

LinearTensors Ia3::merged(const LinearTensors& linear) const {
  const auto& [weight, bias] = linear;
  const auto share = doubled(l_) * config_.alpha;
  return {(doubled(weight) * share).to(weight.scalar_type()),
          bias.defined() ? (doubled(bias) * share.squeeze(1)).to(bias.scalar_type()) : bias};
}

void Ia3::initialise(Random& random) {
  c10::NoGradGuard guard;
  initialise_factor(l_, config_.init_weights, true, random);
  initialise_gate(random);
}

InputIa3::InputIa3(const LoraConfig& config, const at::Tensor& weight) : config_(config) {
  parameter({.name = "lora_A", .shape = {1, weight.size(1)}, .decay = true}, l_);
  if (config.use_gating) add_gate(weight.size(1));
}

at::Tensor InputIa3::apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear, const RowLayout& rows,
                           Random*) const {
  const auto l = tracked(l_).squeeze(0);
  const auto share = gated() ? gate(x, rows) * l : l * config_.alpha;
  return y + at::matmul(x * (share - 1), tracked(linear.weight).t());
}

LinearTensors InputIa3::merged(const LinearTensors& linear) const {
  return {(doubled(linear.weight) * (doubled(l_) * config_.alpha)).to(linear.weight.scalar_type()), linear.bias};
}

void InputIa3::initialise(Random& random) {
  c10::NoGradGuard guard;
  initialise_factor(l_, config_.init_weights, true, random);
  initialise_gate(random);
}

}  // namespace ta
