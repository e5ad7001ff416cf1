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

void initialise_bert(const std::shared_ptr<Linear>& layer, Random& random) {
  random.normal_(layer->weight, 0, 0.02);
  layer->bias.zero_();
}

// torch.nn.Linear: kaiming_uniform_ with a = √5, whose gain · √(3 / fan_in) is 1 / √fan_in, as the bias has it.
void initialise_weight_as_torch(const std::shared_ptr<Linear>& layer, Random& random) {
  const double bound = 1 / std::sqrt(static_cast<double>(layer->weight.size(1)));
  random.uniform_(layer->weight, -bound, bound);
}

void initialise_as_torch(const std::shared_ptr<Linear>& layer, Random& random) {
  initialise_weight_as_torch(layer, random);
  const double bound = 1 / std::sqrt(static_cast<double>(layer->weight.size(1)));
  random.uniform_(layer->bias, -bound, bound);
}

}  // namespace

Bottleneck::Bottleneck(int64_t hidden, int64_t bottleneck, const BottleneckConfig& config,
                       std::shared_ptr<PhmShared> shared)
    : config_(config) {
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
  make_projections(hidden, bottleneck, shared);
  activation = std::make_shared<Activation>(config.non_linearity);
  auto non_linearity = std::make_shared<Container>("Activation_Function_Class");
  non_linearity->add("f", activation);
  child("non_linearity", non_linearity);
  sequence->add(std::to_string(index++), down_layer_);
  sequence->add(std::to_string(index++), non_linearity);
  child("adapter_down", sequence);
  child("adapter_up", up_layer_);
  if (config.ln_after) {
    norm_after_ = std::make_shared<LayerNorm>(hidden);
    child("adapter_norm_after", norm_after_);
  }
  if (config.use_gating) {
    gate_ = std::make_shared<Linear>(hidden, 1);
    child("gate", gate_);
  }
}

void Bottleneck::make_projections(int64_t hidden, int64_t bottleneck, const std::shared_ptr<PhmShared>& shared) {
  if (config_.phm) {
    down_layer_ = phm_down_ = std::make_shared<PhmLayer>(hidden, bottleneck, PhmSide::down, config_, shared);
    up_layer_ = phm_up_ = std::make_shared<PhmLayer>(bottleneck, hidden, PhmSide::up, config_, shared);
  } else {
    down_layer_ = down = std::make_shared<Linear>(hidden, bottleneck);
    up_layer_ = up = std::make_shared<Linear>(bottleneck, hidden);
  }
}

bool Bottleneck::plain() const {
  return !config_.phm && !config_.ln_before && !config_.ln_after && !config_.use_gating &&
         config_.scaling == Scaling::fixed && config_.dropout == 0 && config_.stochastic_depth == 0 &&
         has_fused_backward(activation->kind());
}

at::Tensor Bottleneck::row_gate(const at::Tensor& x, const RowLayout& rows) const {
  auto gates = at::sigmoid(gate_->forward(x)).squeeze(1);
  auto row = row_of_token(rows, x.device());
  auto lengths = at::tensor(rows.lengths(), at::TensorOptions(at::kLong)).to(x.device());
  auto mean = at::zeros({rows.rows()}, x.options().requires_grad(false)).index_add(0, row, gates) / lengths;
  return mean.index_select(0, row).unsqueeze(1);
}

// z
at::Tensor Bottleneck::inside(const at::Tensor& x, const ForwardContext& context) const {
  return activation->forward(down_layer_->forward(norm_before_ ? norm_before_->forward(x) : x, context));
}

// [tokens, 1]: 0 for tokens of a row that skips the adapter, 1 / (1 - p) for the others; undefined where none skips.
at::Tensor Bottleneck::drop_path(const at::Tensor& x, const ForwardContext& context) const {
  if (config_.is_parallel || config_.stochastic_depth <= 0 || context.random == nullptr) return {};
  const auto& rows = *context.layout;
  auto keep = context.random->keep_mask({rows.rows()}, x.options().requires_grad(false), config_.stochastic_depth);
  return keep.index_select(0, row_of_token(rows, x.device())).unsqueeze(1);
}

UpProjection Bottleneck::up_projection(const at::Tensor& x, const ForwardContext& context) const {
  if (!up) return {raised(x, context), {}, {}, {}, 1};
  UpProjection u{inside(x, context), tracked(up->weight), tracked(up->bias), drop_path(x, context), 1};
  if (scaling_.defined()) {
    u.scale = u.scale.defined() ? u.scale * tracked(scaling_) : tracked(scaling_);
  } else if (u.scale.defined()) {
    u.scale = u.scale * config_.scaling_value;
  } else {
    u.factor = config_.scaling_value;
  }
  return u;
}

// u
at::Tensor Bottleneck::raised(const at::Tensor& x, const ForwardContext& context) const {
  auto u = up_layer_->forward(inside(x, context), context);
  if (auto keep = drop_path(x, context); keep.defined()) u = u * keep;
  if (scaling_.defined()) return u * tracked(scaling_);
  return config_.scaling_value != 1.0 ? u * config_.scaling_value : u;
}

at::Tensor Bottleneck::transform(const at::Tensor& x, const ForwardContext& context) const {
  auto u = dropout(raised(x, context), config_.dropout, context.random);
  return gate_ ? u * row_gate(x, *context.layout) : u;
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

at::Tensor Bottleneck::forward(const at::Tensor& h, const at::Tensor& r, LayerNorm* norm,
                               const ForwardContext& context) const {
  const auto [x, rho] = enter(h, r, norm);
  auto o = transform(x, context);
  if (!norm_after_) return o + rho;
  const bool residual_first = config_.adapter_residual_before_ln && !config_.is_parallel;
  return residual_first ? norm_after_->forward(o + rho) : norm_after_->forward(o) + rho;
}

void Bottleneck::initialise_linear(Random& random) const {
  auto zero = [](const std::shared_ptr<Linear>& layer) {
    layer->weight.zero_();
    layer->bias.zero_();
  };
  switch (config_.init_weights) {
    case AdapterInit::bert:
      initialise_bert(down, random);
      initialise_bert(up, random);
      break;
    case AdapterInit::mam_adapter:
      initialise_weight_as_torch(down, random);
      down->bias.zero_();
      zero(up);
      break;
    case AdapterInit::houlsby:
      for (const auto& layer : {down, up}) {
        random.truncated_normal_(layer->weight, 0, 0.01, -0.02, 0.02);
        layer->bias.zero_();
      }
      break;
    case AdapterInit::zeros:  // the seed's start: PyTorch's own Linear below, zeros above
      initialise_as_torch(down, random);
      zero(up);
      break;
  }
}

void Bottleneck::initialise(Random& random) {
  c10::NoGradGuard guard;
  if (config_.phm) {
    phm_down_->initialise(random);
    phm_up_->initialise(random);
  } else {
    initialise_linear(random);
  }
  if (gate_) {
    // Python's houlsby leaves it as torch made it.
    const bool is_torch = config_.init_weights == AdapterInit::houlsby;
    is_torch ? initialise_as_torch(gate_, random) : initialise_bert(gate_, random);
  }
  visit_parameters("", [](const std::string&, const Parameter& parameter) {
    if (parameter.init == Init::ones) parameter.value->fill_(1);
    if (parameter.init == Init::constant) parameter.value->fill_(parameter.constant);
  });
  for (const auto& norm : {norm_before_, norm_after_})
    if (norm) norm->bias.zero_();
}

}  // namespace ta
