#include "core/adapters/prefix.h"

#include <ATen/ops/sigmoid.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "core/adapters/kept_values.h"
#include "core/nn/gradient.h"
#include "core/nn/linear_start.h"
#include "core/nn/rows.h"

namespace ta {

namespace {

class FlatPrefix : public PrefixTable {
 public:
  FlatPrefix(int64_t length, int64_t size) : length_(length) {
    parameter({.name = "control_trans", .shape = {length * size}, .decay = true}, values_);
  }
  const char* type() const override { return "FlatPrefixTuning"; }
  at::Tensor values() const override { return tracked(values_).view({length_, -1}); }
  void initialise(Random& random) override {
    const c10::NoGradGuard guard;
    random.normal_(values_, 0, 1);
  }
  /// Before the adapter's parameters are laid out.
  void start_with(const at::Tensor& values) { values_ = values.reshape({-1}); }

 private:
  int64_t length_;
  at::Tensor values_;
};

class ReparametrisedPrefix : public PrefixTable {
 public:
  ReparametrisedPrefix(const PrefixConfig& config, int64_t length, int64_t hidden, int64_t size)
      : embedding_(std::make_shared<Embedding>(length, hidden)),
        in_(std::make_shared<Linear>(hidden, config.bottleneck_size)),
        out_(std::make_shared<Linear>(config.bottleneck_size, size)),
        activation_(std::make_shared<Activation>(config.non_linearity)) {
    child("wte", embedding_);
    auto non_linearity = std::make_shared<Container>("Activation_Function_Class");
    non_linearity->add("f", activation_);
    auto sequence = std::make_shared<Container>("Sequential");
    sequence->add("0", in_);
    sequence->add("1", non_linearity);
    sequence->add("2", out_);
    child("control_trans", sequence);
    visit_parameters("", [&](const std::string&, const Parameter& parameter) { all_.push_back(parameter.value); });
  }
  const char* type() const override { return "PrefixTuning"; }
  at::Tensor values() const override {
    std::vector<at::Tensor> parameters;
    for (const auto* each : all_) parameters.push_back(*each);
    return kept_.of(parameters, [&]() -> KeptValues::Value {
      return {out_->forward(activation_->forward(in_->forward(tracked(embedding_->weight))))};
    })[0];
  }
  void initialise(Random& random) override {
    const c10::NoGradGuard guard;
    random.normal_(embedding_->weight, 0, 1);
    start_as_pytorch(*in_, random);
    start_as_pytorch(*out_, random);
    activation_->visit_parameters("", [](const std::string&, const Parameter& p) { p.value->fill_(p.constant); });
  }

 private:
  std::shared_ptr<Embedding> embedding_;
  std::shared_ptr<Linear> in_, out_;
  std::shared_ptr<Activation> activation_;
  std::vector<const at::Tensor*> all_;
  mutable KeptValues kept_;
};

}  // namespace

PrefixGroup::PrefixGroup(const PrefixConfig& config, int64_t features, int64_t hidden, const std::string& location)
    : config_(config), features_(features), hidden_(hidden), location_(location) {
  for (int64_t length : config.lengths) {
    slots_ += length > 0;
    length_ = std::max(length_, length);
  }
  const int64_t size = 2 * slots_ * features;
  if (config.flat) {
    table_ = std::make_shared<FlatPrefix>(length_, size);
  } else {
    table_ = std::make_shared<ReparametrisedPrefix>(config, length_, hidden, size);
  }
  child(location_, table_);
}

std::vector<at::Tensor> PrefixGroup::keys_and_values() const {
  return table_->values().view({length_, 2 * slots_, features_}).unbind(1);
}

int64_t PrefixGroup::slot(int64_t layer) const {
  if (config_.lengths[layer] == 0) return -1;
  return std::count_if(config_.lengths.begin(), config_.lengths.begin() + layer, [](int64_t p) { return p > 0; });
}

std::shared_ptr<PrefixGroup> PrefixGroup::ejected() const {
  const c10::NoGradGuard guard;
  auto config = config_;
  config.flat = true;
  auto group = std::make_shared<PrefixGroup>(config, features_, hidden_, location_);
  static_cast<FlatPrefix&>(*group->table_).start_with(table_->values());
  return group;
}

PrefixGate::PrefixGate(const PrefixConfig& config, int64_t hidden) {
  const int64_t out = config.shared_gating ? 1 : 2;
  parameter({.name = "weight", .shape = {out, hidden}, .decay = true}, weight_);
  parameter({.name = "bias", .shape = {out}}, bias_);
}

void PrefixGate::initialise(Random& random) {
  const c10::NoGradGuard guard;
  random.normal_(weight_, 0, 0.02);
  const double bound = 1 / std::sqrt(static_cast<double>(weight_.size(1)));  // the peer leaves nn.Linear's bias
  random.uniform_(bias_, -bound, bound);
}

at::Tensor PrefixGate::forward(const at::Tensor& x, const RowLayout& rows) const {
  return row_means(at::sigmoid(linear(x, weight_, bias_)), rows);
}

}  // namespace ta
