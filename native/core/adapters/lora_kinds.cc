#include "core/adapters/lora_kinds.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <c10/core/GradMode.h>

#include "core/nn/gradient.h"

namespace ta {

VeraShared::VeraShared(const LoraConfig& config, int64_t in, int64_t out) : init_(config.init_weights) {
  parameter({.name = "lora_A", .shape = {config.rank, in}, .fixed = true}, a);
  parameter({.name = "lora_B", .shape = {out, config.rank}, .fixed = true}, b);
}

void VeraShared::initialise(Random& random) {
  c10::NoGradGuard guard;
  initialise_factor(a, init_, false, random);
  initialise_factor(b, init_, true, random);
}

Vera::Vera(const LoraConfig& config, std::shared_ptr<VeraShared> shared, const LoraTarget& target)
    : LowRankModule(config, target), shared_(std::move(shared)), in_(target.in()), out_(target.out()) {
  parameter({.name = "vera_D", .shape = {target.inner(config.rank)}, .decay = true}, d_);
  parameter({.name = "vera_B", .shape = {target.rows()}, .decay = true}, b_);
  add_magnitude_and_gate(target);
}

LowRank Vera::factors() const {
  const auto a = shared_->a.narrow(1, 0, in_), b = shared_->b.narrow(0, 0, out_);
  const int64_t n = parts_.count();
  return {tracked(d_).unsqueeze(1) * (n == 1 ? a : a.repeat({n, 1})),
          parts_.spread(tracked(b_).unsqueeze(1) * (n == 1 ? b : b.repeat({n, 1})))};
}

void Vera::initialise(Random& random) {
  c10::NoGradGuard guard;
  d_.fill_(*config_.vera_d);
  b_.fill_(*config_.vera_b);
  initialise_gate(random);
}

TaskMatrix::TaskMatrix(std::vector<int64_t> shape, bool linear)
    : type_(linear ? "TaskSpecificLinear" : "TaskSpecificSingularValue") {
  parameter({.name = "values", .shape = std::move(shape), .decay = true}, values);
}

MtlLora::MtlLora(const LoraConfig& config, const LoraTarget& target) : LowRankModule(config, target) {
  const int64_t rank = config.rank;
  const int64_t n = config.mtl->up_projections;
  parameter({.name = "lora_A", .shape = {target.inner(rank), target.in()}, .decay = true}, shared_->a);
  parameter({.name = "lora_B", .shape = {n, target.rows(), rank}, .decay = true}, shared_->b);
  parameter({.name = "weights", .shape = {n}, .decay = true}, weights_);
  add_magnitude_and_gate(target);
  const auto shape = config.mtl->linear ? std::vector<int64_t>{rank, rank} : std::vector<int64_t>{rank};
  task_ = std::make_shared<TaskMatrix>(shape, config.mtl->linear);
  child("task_specific", task_);
}

LowRank MtlLora::factors() const {
  const auto task = tracked(task_->values), b = tracked(shared_->b);
  const auto a = tracked(shared_->a).view({parts_.count(), config_.rank, shared_->a.size(1)});
  // One up-projection has the weight 1.
  const auto up =
      b.size(0) == 1 ? b.squeeze(0)
                     : (at::softmax(tracked(weights_) / config_.mtl->weights_sharpness, 0).view({-1, 1, 1}) * b).sum(0);
  const auto down = config_.mtl->linear ? at::matmul(task.t(), a) : task.view({1, config_.rank, 1}) * a;
  return {down.reshape(shared_->a.sizes()), parts_.spread(up)};
}

void MtlLora::initialise(Random& random) {
  c10::NoGradGuard guard;
  // As in the peer, B is 0 but for 'bert'.
  initialise_factor(shared_->a, config_.init_weights, false, random);
  initialise_factor(shared_->b, config_.init_weights == LoraInit::bert ? LoraInit::bert : LoraInit::lora, true, random);
  weights_.fill_(1);
  if (config_.mtl->linear) {
    task_->values.zero_().fill_diagonal_(1);
  } else {
    task_->values.fill_(1);
  }
  initialise_gate(random);
}

void MtlLora::use(std::shared_ptr<MtlFactors> factors) {
  shared_ = std::move(factors);
  repoint("lora_A", shared_->a);
  repoint("lora_B", shared_->b);
}

void MtlLora::share(const MtlLora& other) {
  use(other.shared_);
}

void MtlLora::unshare() {
  const c10::NoGradGuard guard;
  use(std::make_shared<MtlFactors>(MtlFactors{shared_->a.detach().clone(), shared_->b.detach().clone()}));
}

}  // namespace ta
