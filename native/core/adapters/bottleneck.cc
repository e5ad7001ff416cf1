#include "core/adapters/bottleneck.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/nn/gradient.h"

namespace ta {

namespace {

// Row numbers for each token: [tokens] int64.
at::Tensor row_of_token(const RowLayout& rows, at::Device device) {
  auto lengths = at::tensor(rows.lengths(), at::TensorOptions(at::kLong));
  return at::repeat_interleave(lengths).to(device);
}

}  // namespace

Bottleneck::Bottleneck(int64_t hidden, int64_t bottleneck, const BottleneckConfig& config) : config_(config) {
  // The order is the peer's, so that named_parameters() comes in PyTorch's order.
  if (config.scaling != Scaling::fixed) {
    parameter({.name = "scaling",
               .shape = {config.scaling == Scaling::learned ? 1 : hidden},
               .init = Init::ones,
               .decay = true},
              scaling_);
  }
  auto sequence = std::make_shared<Container>("Sequential");
  int index = 0;
  if (config.ln_before) {
    norm_before_ = std::make_shared<LayerNorm>(hidden);
    child("adapter_norm_before", norm_before_);
    sequence->add(std::to_string(index++), norm_before_);
  }
  down = std::make_shared<Linear>(hidden, bottleneck);
  activation = std::make_shared<Activation>(config.non_linearity);
  auto non_linearity = std::make_shared<Container>("Activation_Function_Class");
  non_linearity->add("f", activation);
  child("non_linearity", non_linearity);
  sequence->add(std::to_string(index++), down);
  sequence->add(std::to_string(index++), non_linearity);
  child("adapter_down", sequence);
  up = std::make_shared<Linear>(bottleneck, hidden);
  child("adapter_up", up);
  if (config.ln_after) {
    norm_after_ = std::make_shared<LayerNorm>(hidden);
    child("adapter_norm_after", norm_after_);
  }
  if (config.use_gating) {
    gate_ = std::make_shared<Linear>(hidden, 1);
    child("gate", gate_);
  }
}

bool Bottleneck::plain() const {
  return !config_.ln_before && !config_.ln_after && !config_.use_gating && config_.scaling == Scaling::fixed &&
         config_.dropout == 0 && config_.stochastic_depth == 0 && has_fused_backward(activation->kind());
}

at::Tensor Bottleneck::row_gate(const at::Tensor& x, const RowLayout& rows) const {
  auto gates = at::sigmoid(gate_->forward(x)).squeeze(1);
  auto row = row_of_token(rows, x.device());
  auto lengths = at::tensor(rows.lengths(), at::TensorOptions(at::kLong)).to(x.device());
  auto mean = at::zeros({rows.rows()}, x.options().requires_grad(false)).index_add(0, row, gates) / lengths;
  return mean.index_select(0, row).unsqueeze(1);
}

// z
at::Tensor Bottleneck::inside(const at::Tensor& x) const {
  return activation->forward(down->forward(norm_before_ ? norm_before_->forward(x) : x));
}

// [tokens, 1]: 0 for tokens of a row that skips the adapter, 1 / (1 - p) for the others; undefined where none skips.
at::Tensor Bottleneck::drop_path(const at::Tensor& x, const RowLayout& rows, Random* random) const {
  if (config_.is_parallel || config_.stochastic_depth <= 0 || random == nullptr) return {};
  auto keep = random->keep_mask({rows.rows()}, x.options().requires_grad(false), config_.stochastic_depth);
  return keep.index_select(0, row_of_token(rows, x.device())).unsqueeze(1);
}

UpProjection Bottleneck::up_projection(const at::Tensor& x, const RowLayout& rows, Random* random) const {
  UpProjection u{inside(x), tracked(up->weight), tracked(up->bias), drop_path(x, rows, random), 1};
  if (scaling_.defined()) {
    u.scale = u.scale.defined() ? u.scale * tracked(scaling_) : tracked(scaling_);
  } else if (u.scale.defined()) {
    u.scale = u.scale * config_.scaling_value;
  } else {
    u.factor = config_.scaling_value;
  }
  return u;
}

at::Tensor Bottleneck::transform(const at::Tensor& x, const RowLayout& rows, Random* random) const {
  auto u = up->forward(inside(x));
  if (auto keep = drop_path(x, rows, random); keep.defined()) u = u * keep;
  if (scaling_.defined()) {
    u = u * tracked(scaling_);
  } else if (config_.scaling_value != 1.0) {
    u = u * config_.scaling_value;
  }
  u = dropout(u, config_.dropout, random);
  if (gate_) u = u * row_gate(x, rows);
  return u;
}

Bottleneck::Entry Bottleneck::enter(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm) const {
  if (config_.is_parallel) return {r, h};
  Entry entry{h, h};
  if (config_.original_ln_before) {
    auto sum = h + r;
    entry.x = norm == nullptr ? sum : norm->forward(sum);
    if (config_.residual_before_ln == ResidualBeforeLn::post_add) entry.rho = sum;
  }
  if (config_.residual_before_ln == ResidualBeforeLn::no) entry.rho = entry.x;
  return entry;
}

at::Tensor Bottleneck::forward(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm, const RowLayout& rows,
                               Random* random) const {
  const auto [x, rho] = enter(h, r, norm);
  auto o = transform(x, rows, random);
  if (!norm_after_) return o + rho;
  const bool residual_first = config_.adapter_residual_before_ln && !config_.is_parallel;
  return residual_first ? norm_after_->forward(o + rho) : norm_after_->forward(o) + rho;
}

void Bottleneck::initialise(Random& random) {
  c10::NoGradGuard guard;
  auto zero = [](const std::shared_ptr<Linear>& layer) {
    layer->weight.zero_();
    layer->bias.zero_();
  };
  auto bert = [&](const std::shared_ptr<Linear>& layer) {
    random.normal_(layer->weight, 0, 0.02);
    layer->bias.zero_();
  };
  auto kaiming = [&](const std::shared_ptr<Linear>& layer, bool with_bias) {
    const double bound = 1 / std::sqrt(static_cast<double>(layer->weight.size(1)));  // a = √5: gain · √(3 / fan_in)
    random.uniform_(layer->weight, -bound, bound);
    if (with_bias) {
      random.uniform_(layer->bias, -bound, bound);
    } else {
      layer->bias.zero_();
    }
  };
  switch (config_.init_weights) {
    case AdapterInit::bert:
      bert(down);
      bert(up);
      break;
    case AdapterInit::mam_adapter:
      kaiming(down, false);
      zero(up);
      break;
    case AdapterInit::houlsby:
      for (const auto& layer : {down, up}) {
        random.truncated_normal_(layer->weight, 0, 0.01, -0.02, 0.02);
        layer->bias.zero_();
      }
      break;
    case AdapterInit::zeros:  // the seed's start: PyTorch's own Linear below, zeros above
      kaiming(down, true);
      zero(up);
      break;
  }
  if (gate_) bert(gate_);
  visit_parameters("", [](const std::string&, const Parameter& parameter) {
    if (parameter.init == Init::ones) parameter.value->fill_(1);
    if (parameter.init == Init::constant) parameter.value->fill_(parameter.constant);
  });
  for (const auto& norm : {norm_before_, norm_after_})
    if (norm) norm->bias.zero_();
}

}  // namespace ta
