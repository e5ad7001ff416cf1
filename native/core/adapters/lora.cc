#include "core/adapters/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/nn/bf16_gemm.h"
#include "core/nn/gradient.h"
#include "core/nn/rows.h"

namespace ta {

namespace {

// ‖W + B A‖ of each row, [out], without a matrix of W's size: ‖w‖² + 2 (W Aᵀ) · B + B (A Aᵀ) · B.
at::Tensor row_norms(const at::Tensor& matrix, const at::Tensor& squares, const LowRank& low) {
  const auto weight = matrix.to(at::kFloat);  // a bfloat16 trunk's
  const auto& b = low.b;
  const auto at = low.a.t();
  auto cross = at::matmul(weight, at) * 2 + at::matmul(b, at::matmul(low.a, at));
  return (squares + (cross * b).sum(1)).sqrt();
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
  gate_ = std::make_shared<Linear>(in, parts_.count());
  child("gate", gate_);
}

at::Tensor LoraModule::gate(const at::Tensor& x, const RowLayout& rows, int64_t out) const {
  const auto means = for_each_token(row_means(at::sigmoid(gate_->forward(x)), rows), rows);
  return parts_.whole() ? means : parts_.put(means.repeat_interleave(parts_.rows_of_each(out), 1), 1, 1);
}

void LoraModule::initialise_gate(Random& random) const {
  if (!gate_) return;
  random.normal_(gate_->weight, 0, 0.02);
  const double bound = 1 / std::sqrt(static_cast<double>(gate_->weight.size(1)));  // the peer leaves nn.Linear's bias
  random.uniform_(gate_->bias, -bound, bound);
}

LowRankModule::LowRankModule(const LoraConfig& config, const LoraTarget& target)
    : LoraModule(target.parts), config_(config) {}

void LowRankModule::add_magnitude_and_gate(const LoraTarget& target) {
  if (config_.dora != Dora::none) {
    magnitude_ = std::make_shared<Linear>(1, target.rows(), false);
    magnitude_->weight = at::linalg_vector_norm(target.parts.take(target.weight.detach()).to(at::kFloat), 2, {1}, true);
    child("m", magnitude_);
  }
  if (config_.use_gating) add_gate(target.in());
}

LowRank LowRankModule::tracked_factors() const {
  auto low = factors();
  if (low.a.is_leaf()) low.a = tracked(low.a);
  if (low.b.is_leaf()) low.b = tracked(low.b);
  return low;
}

std::optional<LowRank> LowRankModule::added(Random* random) const {
  if (!adds(random)) return std::nullopt;
  auto low = factors();
  low.scale = scale();
  return low;
}

at::Tensor LowRankModule::share(const at::Tensor& m, const at::Tensor& norms) const {
  return parts_.put(m.squeeze(1) / parts_.take(norms), 0, 1);
}

OutputScaling LowRankModule::scaling(const LinearTensors& linear) const {
  auto parameters = shared_parameters();
  visit_parameters("", [&](const std::string&, const Parameter& own) { parameters.push_back(*own.value); });
  parameters.insert(parameters.end(), {linear.weight, linear.bias});
  const auto kept = kept_scaling_.of(parameters, [&]() -> KeptValues::Value {
    const auto made = made_scaling(linear);
    return {made.factor, made.shift};
  });
  return {kept[0], kept[1]};
}

OutputScaling LowRankModule::made_scaling(const LinearTensors& linear) const {
  const auto m = tracked(magnitude_->weight);
  const auto squares = linear.row_squares();
  if (config_.dora == Dora::adapters)
    return {share(m, row_norms(linear.tracked_matrix(), squares, tracked_factors())), {}};
  const auto low = factors();
  const LowRank scaled{low.a.detach(), low.b.detach() * scale()};
  const auto ratio = share(m, row_norms(linear.matrix(), squares.detach(), scaled));
  return {ratio, linear.bias.defined() ? tracked(linear.bias) * (1 - ratio) : at::Tensor()};
}

at::Tensor LowRankModule::apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear,
                                const RowLayout& rows, Random* random) const {
  const auto low = tracked_factors();
  auto product = at::matmul(at::matmul(dropout(x, config_.dropout, random), low.a.t()), low.b.t());
  const auto sum = y + (gated() ? product * gate(x, rows, y.size(1)) : product * scale());
  return is_dora() ? scaling(linear).of(sum) : sum;
}

LinearTensors LowRankModule::merged(const LinearTensors& linear) const {
  c10::NoGradGuard guard;
  const auto& bias = linear.bias;
  const auto low = factors();
  const auto product = at::matmul(doubled(low.b), doubled(low.a)), w = doubled(linear.matrix());
  const auto type = linear.weight.scalar_type();
  auto sum = w + product * scale();
  if (!magnitude_) return {sum.to(type), bias};
  const bool whole = config_.dora == Dora::peft;
  const auto ratio = share(doubled(magnitude_->weight), at::linalg_vector_norm(whole ? sum : w + product, 2, {1}));
  return {(sum * ratio.unsqueeze(1)).to(type),
          bias.defined() && !whole ? (doubled(bias) * ratio).to(bias.scalar_type()) : bias};
}

Lora::Lora(const LoraConfig& config, const LoraTarget& target) : LowRankModule(config, target) {
  parameter({.name = "lora_A", .shape = {target.inner(config.rank), target.in()}, .decay = true}, a_);
  parameter({.name = "lora_B", .shape = {target.rows(), config.rank}, .decay = true}, b_);
  add_magnitude_and_gate(target);
}

LowRank Lora::factors() const {
  return {a_, parts_.whole() ? b_ : parts_.spread(tracked(b_))};
}

void Lora::initialise(Random& random) {
  c10::NoGradGuard guard;
  initialise_factor(a_, config_.init_weights, false, random);
  initialise_factor(b_, config_.init_weights, true, random);
  initialise_gate(random);
}

Ia3::Ia3(const LoraConfig& config, const LoraTarget& target) : LoraModule(target.parts), config_(config) {
  parameter({.name = "lora_B", .shape = {target.rows(), 1}, .decay = true}, l_);
  if (config.use_gating) add_gate(target.in());
}

OutputScaling Ia3::scaling(const LinearTensors&) const {
  const auto l = tracked(l_).squeeze(1);
  return {parts_.put(config_.alpha == 1 ? l : l * config_.alpha, 0, 1), {}};
}

at::Tensor Ia3::apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear, const RowLayout& rows,
                      Random*) const {
  if (!gated()) return scaling(linear).of(y);
  return y * parts_.put(tracked(l_).squeeze(1), 0, 1) * gate(x, rows, y.size(1));
}

LinearTensors Ia3::merged(const LinearTensors& linear) const {
  const auto& bias = linear.bias;
  const auto share = parts_.put(doubled(l_).squeeze(1) * config_.alpha, 0, 1);
  return {(doubled(linear.matrix()) * share.unsqueeze(1)).to(linear.weight.scalar_type()),
          bias.defined() ? (doubled(bias) * share).to(bias.scalar_type()) : bias};
}

void Ia3::initialise(Random& random) {
  c10::NoGradGuard guard;
  initialise_factor(l_, config_.init_weights, true, random);
  initialise_gate(random);
}

InputIa3::InputIa3(const LoraConfig& config, const at::Tensor& weight) : LoraModule({}), config_(config) {
  parameter({.name = "lora_A", .shape = {1, weight.size(1)}, .decay = true}, l_);
  if (config.use_gating) add_gate(weight.size(1));
}

at::Tensor InputIa3::apply(const at::Tensor& y, const at::Tensor& x, const LinearTensors& linear, const RowLayout& rows,
                           Random*) const {
  const auto l = tracked(l_).squeeze(0);
  const auto share = gated() ? gate(x, rows, y.size(1)) * l : l * config_.alpha;
  const auto change = x * (share - 1);
  if (is_bf16(linear.weight)) return y + ta::linear(change, linear.matrix(), {});
  return y + at::matmul(change, linear.tracked_matrix().t());
}

LinearTensors InputIa3::merged(const LinearTensors& linear) const {
  const auto share = doubled(l_) * config_.alpha;
  return {(doubled(linear.matrix()) * share).to(linear.weight.scalar_type()), linear.bias};
}

void InputIa3::initialise(Random& random) {
  c10::NoGradGuard guard;
  initialise_factor(l_, config_.init_weights, true, random);
  initialise_gate(random);
}

}  // namespace ta
