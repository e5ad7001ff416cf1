#include "core/models/gpt2.h"

#include <ATen/TensorOperators.h>

#include <cmath>
#include <unordered_set>

#include "core/adapters/parallel_layer.h"
#include "core/error.h"
#include "core/nn/conv1d.h"
#include "core/nn/frozen.h"
#include "core/nn/key_value_cache.h"
#include "core/nn/layer_context.h"
#include "core/nn/named_dropout.h"
#include "core/nn/sequential.h"

namespace ta {

namespace {

// The weights that write into the residual stream start smaller, the more layers there are.
double residual_scale(const ModelConfig& config) {
  return 1 / std::sqrt(2.0 * static_cast<double>(config.num_hidden_layers));
}

const Conv1D* frozen_conv(const Slot& slot, const ForwardContext& context) {
  auto* layer = dynamic_cast<const Conv1D*>(slot.layer.get());
  return layer != nullptr && layer->frozen() && !layer->extended(context) ? layer : nullptr;
}

std::shared_ptr<Conv1D> conv(int64_t in, int64_t out, double scale = 1) {
  return lora_ready(std::make_shared<Conv1D>(in, out, scale));
}

Affine affine_of(const Conv1D& layer) {
  return {layer.weight.t(), layer.bias};
}

// Query, key or value of the merged layer: columns i·d .. (i+1)·d.
Affine part_of(const Conv1D& layer, int64_t i) {
  const int64_t d = layer.weight.size(1) / 3;
  return {layer.weight.narrow(1, i * d, d).t(), layer.bias.narrow(0, i * d, d)};
}

}  // namespace

Gpt2Attention::Gpt2Attention(const ModelConfig& config, int64_t layer)
    : layer_(layer), heads_(config.num_attention_heads), dropout_(config.attention_probs_dropout_prob) {
  const int64_t d = config.hidden_size;
  child("c_attn", merged, conv(d, 3 * d));
  child("c_proj", output, conv(d, d, residual_scale(config)));
  child("attn_dropout", named_dropout());
  child("resid_dropout", named_dropout());
  child("prefix_tuning", prefix);
}

at::Tensor Gpt2Attention::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                                  const ForwardContext& context) {
  const Conv1D *qkv = frozen_conv(merged, context), *o = frozen_conv(output, context);
  const bool drops = dropout_ > 0 && context.random != nullptr;
  const AttentionForm form(heads_, true);
  const bool prefixed = prefix->acts(context);
  if (qkv && o && !drops && !prefixed && view.cache == nullptr && row_attention_serves(x, heads_)) {
    const AttentionWeights weights{part_of(*qkv, 0), part_of(*qkv, 1), part_of(*qkv, 2), affine_of(*o)};
    return frozen_attention(xq, x, weights, view.queries, view.keys, form);
  }
  const int64_t d = x.size(1);
  auto all = merged(x, context.with(view.keys));
  auto q = (xq.is_same(x) ? all : merged(xq, context)).narrow(1, 0, d);
  auto k = all.narrow(1, d, d), v = all.narrow(1, 2 * d, d);
  if (view.cache != nullptr && !prefixed)
    return output(view.cache->attend(layer_, q, k, v, view.keys, heads_), context);
  PrefixLayer::KeysAndValues own{k, v, view.keys};
  if (view.cache != nullptr) {
    auto seen = view.cache->append(layer_, k, v, view.keys);
    own = {seen.k, seen.v, seen.rows};
  }
  return output(prefixed_attention(*prefix, q, own, x, view, form, dropout_, context), context);
}

Gpt2FeedForward::Gpt2FeedForward(const ModelConfig& config) {
  child("c_fc", in, conv(config.hidden_size, config.intermediate_size));
  child("c_proj", out, conv(config.intermediate_size, config.hidden_size, residual_scale(config)));
  child("act", activation_, std::make_shared<Activation>(config.hidden_act));
  child("dropout", named_dropout());
}

at::Tensor Gpt2FeedForward::forward(const at::Tensor& x, const ForwardContext& context) {
  const Conv1D *first = frozen_conv(in, context), *second = frozen_conv(out, context);
  const auto* act = activation_.intact();
  if (act && first && second && has_fused_backward(act->kind()))
    return frozen_feed_forward(x, affine_of(*first), act->kind(), affine_of(*second));
  return out(activation_(in(x, context), context), context);
}

Gpt2Block::Gpt2Block(const ModelConfig& config, int64_t layer)
    : attention_site_(std::make_shared<AdapterSite>()),
      output_site_(std::make_shared<AdapterSite>()),
      dropout_(config.hidden_dropout_prob) {
  auto norm = [&] { return std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps); };
  child("ln_1", attention_norm_, norm());
  child("attn", attention_, std::make_shared<Gpt2Attention>(config, layer));
  child("ln_2", output_norm_, norm());
  child("mlp", feed_forward_, std::make_shared<Gpt2FeedForward>(config));
  child("attention_adapters", bottleneck_layer(attention_site_));
  child("output_adapters", bottleneck_layer(output_site_));
  child("reft_layer", reft_layer(reft_));
}

at::Tensor Gpt2Block::forward(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                              const ForwardContext& context) {
  const auto ending = begin(xq, x, view, context);
  // ReFT's positions are those of the prompt: what a row writes on is left alone.
  const bool writes_on = view.cache != nullptr && view.cache->length(0) > 0;
  return writes_on ? finish(ending, context) : end(ending, context);
}

bool Gpt2Block::begins_free(const ForwardContext& context) const {
  return !has_adapters(*attention_.layer, context) && !has_adapters(*attention_site_, context) &&
         !has_adapters(*feed_forward_.layer, context);
}

LayerEnding Gpt2Block::begin(const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                             const ForwardContext& context) {
  auto n = attention_norm_(x, context.with(view.keys));
  auto nq = xq.is_same(x) ? n : attention_norm_(xq, context);
  auto h = dropout(attend(attention_, nq, n, view, context), dropout_, context.random);
  auto a = attention_site_->forward(h, xq, nullptr, context);
  return {feed_forward_(output_norm_(a, context), context), std::move(a)};
}

at::Tensor Gpt2Block::finish(const LayerEnding& ending, const ForwardContext& context) {
  return output_site_->forward(dropout(ending.h, dropout_, context.random), ending.r, nullptr, context);
}

at::Tensor Gpt2Block::end(const LayerEnding& ending, const ForwardContext& context) {
  return reft_->forward(finish(ending, context), context);
}

AdapterSite* Gpt2Block::site(Location location) const {
  return location == Location::attention ? attention_site_.get() : output_site_.get();
}

LoraPlace* Gpt2Block::lora(Location location) const {
  switch (location) {
    case Location::query_key_value:
      return lora_place(attention_.own->merged);
    case Location::attention_output:
      return lora_place(attention_.own->output);
    case Location::intermediate:
      return lora_place(feed_forward_.own->in);
    case Location::feed_forward_output:
      return lora_place(feed_forward_.own->out);
    default:
      return nullptr;
  }
}

Gpt2Model::Gpt2Model(const ModelConfig& config)
    : Encoder(config),
      word_(std::make_shared<Embedding>(config.vocab_size, config.hidden_size)),
      position_(std::make_shared<Embedding>(config.max_position_embeddings, config.hidden_size)) {
  child("wte", word_);
  child("wpe", position_);
  child("drop", named_dropout());
  auto list = std::make_shared<Container>("ModuleList");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    add_layer(*list, std::make_shared<Gpt2Block>(config, i));
  }
  child("h", list);
  child("ln_f", norm_, std::make_shared<LayerNorm>(config.hidden_size, config.layer_norm_eps));
}

at::Tensor Gpt2Model::embed(const PackedBatch& batch, const ForwardContext& context) {
  auto sum = (batch.words.defined() ? batch.words : word_->forward(batch.ids)) + position_->forward(*batch.positions);
  return invertible_place().forward(dropout(sum, config_.embedding_dropout_prob, context.random), context);
}

namespace {

// Why a layer, in which surgery may have replaced others, cannot go on from keys and values that are kept; null: it
// can. `seen`: the attentions that stood before it.
const char* why_not_token_by_token(const Module& module, std::unordered_set<const Module*>& seen) {
  const bool holds =
      dynamic_cast<const Sequential*>(&module) != nullptr || dynamic_cast<const ParallelLayer*>(&module) != nullptr;
  const auto* layer = dynamic_cast<const Layer*>(&module);
  if (dynamic_cast<const AttendingLayer*>(&module) != nullptr) {
    // Keys and values are kept for each layer of the network.
    if (!seen.insert(&module).second) return "put one attention into two places";
  } else if (layer != nullptr && layer->reads_whole_rows() && !holds) {
    return "put something that reads whole rows into the model";
  }
  for (const auto& child : module.children())
    if (const auto* why = why_not_token_by_token(*child.module, seen)) return why;
  return nullptr;
}

}  // namespace

at::Tensor Gpt2Model::decode(const PackedBatch& batch, const ForwardContext& context, KeyValueCache& cache) {
  // Prompts are read with the first tokens; later ones have positions that count them.
  const auto start =
      cache.length(0) == 0 ? begin(batch, context) : Beginning{embed(batch, context.with(batch.layout)), batch.layout};
  const auto inner = context.with(start.rows);
  auto x = start.x;
  const TokenView all{start.rows, start.rows, &cache};
  std::unordered_set<const Module*> seen;
  if (const auto* why = why_not_token_by_token(*this, seen)) {
    fail(ErrorCode::unsupported, "generate", text("surgery has ", why),
         {.hint = "Generation keeps what earlier tokens gave; undo that replacement"});
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& layer = layers_[i];
    x = attend(layer, x, x, all, LayerContext(inner, static_cast<int64_t>(i)));
  }
  cache.advance(start.rows);
  return finish(x.index_select(0, start.at(batch.last_tokens)), inner);
}

}  // namespace ta
