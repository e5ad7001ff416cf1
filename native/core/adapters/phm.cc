#include "core/adapters/phm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/nn/gradient.h"

namespace ta {

namespace {

int64_t weight_rank(const PhmConfig& config) {
  return config.factorized_weights ? config.rank : 0;
}

void describe_rule(PhmMatrices& rule, const PhmConfig& config, const std::function<void(Parameter, at::Tensor&)>& add) {
  rule.describe("phm_rule", config.dim, config.dim, config.dim, config.factorized_rule ? 1 : 0, !config.learn_rule,
                add);
}

// [in, out] of C [n, n, n] and W [n, in / n, out / n].
at::Tensor kronecker_sum(const at::Tensor& c, const at::Tensor& w) {
  const int64_t n = w.size(0), p = w.size(1), q = w.size(2);
  const auto all = at::mm(c.permute({1, 2, 0}).reshape({n * n, n}), w.reshape({n, p * q}));
  return all.view({n, n, p, q}).permute({0, 2, 1, 3}).reshape({n * p, n * q});
}

// [n n r, out]: rows by (a, i, rank), columns by (b, j).
at::Tensor rule_in_right(const at::Tensor& c, const at::Tensor& right) {
  const int64_t n = right.size(0), r = right.size(1), q = right.size(2);
  const auto all = c.permute({1, 0, 2}).reshape({n, n, 1, n, 1}) * right.view({1, n, r, 1, q});
  return all.reshape({n * n * r, n * q});
}

// [in, n n r]: rows by (a, k), columns by (b, i, rank).
at::Tensor rule_in_left(const at::Tensor& c, const at::Tensor& left) {
  const int64_t n = left.size(0), p = left.size(1), r = left.size(2);
  const auto all = c.permute({1, 2, 0}).reshape({n, 1, n, n, 1}) * left.permute({1, 0, 2}).reshape({1, p, 1, n, r});
  return all.reshape({n * p, n * n * r});
}

}  // namespace

PhmShared::PhmShared(int64_t hidden, int64_t bottleneck, const BottleneckConfig& config) : config_(config) {
  const auto& phm = *config.phm;
  const auto add = [this](Parameter description, at::Tensor& value) { parameter(std::move(description), value); };
  if (phm.shared_weights) {
    const int64_t n = phm.dim, rank = weight_rank(phm);
    down.describe("W_down", n, hidden / n, bottleneck / n, rank, false, add);
    up.describe("W_up", n, bottleneck / n, hidden / n, rank, false, add);
  }
  if (phm.shared_rule) describe_rule(rule, phm, add);
}

void PhmShared::initialise(Random& random) {
  c10::NoGradGuard guard;
  initialise_weights(down, config_, false, random);
  if (up.exist()) initialise_weights(up, config_, true, random);
  initialise_rule(rule, *config_.phm, config_.phm->init_range, 1, random);
}

PhmLayer::PhmLayer(int64_t in, int64_t out, PhmSide side, const BottleneckConfig& config,
                   std::shared_ptr<PhmShared> shared)
    : in_(in), out_(out), side_(side), config_(config), shared_(std::move(shared)), form_(cheapest()) {
  const auto& phm = *config.phm;
  const auto add = [this](Parameter description, at::Tensor& value) { parameter(std::move(description), value); };
  if (!phm.shared_rule) describe_rule(own_rule_, phm, add);
  if (!phm.shared_weights)
    own_weights_.describe("W", phm.dim, in / phm.dim, out / phm.dim, weight_rank(phm), false, add);
  // A bias by what it does; by its name it is none, and the peer's Trainer lets it decay.
  if (phm.bias) parameter({.name = "b", .shape = {out}, .init = Init::zeros, .decay = true}, b_);
}

PhmLayer::Form PhmLayer::cheapest() const {
  const auto& phm = *config_.phm;
  if (!phm.factorized_weights) return Form::whole;
  // Multiplications for each token.
  const int64_t parts = phm.dim * phm.rank;
  const int64_t right = parts * (in_ + phm.dim * out_), left = parts * (phm.dim * in_ + out_);
  if (std::min(left, right) >= in_ * out_) return Form::whole;
  return right <= left ? Form::rule_in_right : Form::rule_in_left;
}

const PhmMatrices& PhmLayer::weights() const {
  if (!config_.phm->shared_weights) return own_weights_;
  return side_ == PhmSide::down ? shared_->down : shared_->up;
}

const PhmMatrices& PhmLayer::rule() const {
  return config_.phm->shared_rule ? shared_->rule : own_rule_;
}

PassMemo::Value PhmLayer::factors() const {
  const auto& w = weights();
  const auto c = rule().product();
  if (form_ == Form::whole) return {kronecker_sum(c, w.product())};
  const int64_t n = config_.phm->dim, parts = n * config_.phm->rank;
  const auto left = tracked(w.left), right = tracked(w.right);
  if (form_ == Form::rule_in_left) return {rule_in_left(c, left), right.reshape({parts, out_ / n})};
  return {left.permute({1, 0, 2}).reshape({in_ / n, parts}), rule_in_right(c, right)};
}

at::Tensor PhmLayer::forward(const at::Tensor& x, const ForwardContext& context) {
  PassMemo own;
  auto& memo = context.memo != nullptr ? *context.memo : own;
  const auto& f = memo.of({&rule(), &weights()}, [this] { return factors(); });
  const int64_t n = config_.phm->dim, tokens = x.size(0);
  const auto biased = [&](const at::Tensor& value, const at::Tensor& matrix) {
    return b_.defined() ? at::addmm(tracked(b_), value, matrix) : at::mm(value, matrix);
  };
  switch (form_) {
    case Form::whole:
      return biased(x, f[0]);
    case Form::rule_in_right:
      return biased(at::mm(x.reshape({tokens * n, in_ / n}), f[0]).view({tokens, f[1].size(0)}), f[1]);
    case Form::rule_in_left: {
      const auto parts = at::mm(x, f[0]).view({tokens * n, f[1].size(0)});
      const auto y = at::mm(parts, f[1]).view({tokens, out_});
      return b_.defined() ? y + tracked(b_) : y;
    }
  }
  return {};
}

void PhmLayer::initialise(Random& random) {
  c10::NoGradGuard guard;
  if (own_weights_.exist()) initialise_weights(own_weights_, config_, side_ == PhmSide::up, random);
  initialise_rule(own_rule_, *config_.phm, 0.01, 0.01, random);
  if (b_.defined()) b_.zero_();
}

}  // namespace ta
