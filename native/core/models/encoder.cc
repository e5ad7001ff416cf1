#include "core/models/encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "core/adapters/fusion_scores.h"
#include "core/adapters/parallel_layer.h"
#include "core/adapters/split.h"
#include "core/error.h"
#include "core/models/copied_rows.h"
#include "core/nn/attention.h"
#include "core/nn/frozen.h"
#include "core/nn/layer_context.h"
#include "core/nn/sequential.h"

namespace ta {

namespace {

void check_ids(const std::vector<int32_t>& values, int64_t limit, const char* what, const char* setting) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 0 || values[i] >= limit) {
      fail(ErrorCode::out_of_range, "batch",
           text(what, " ", values[i], " at token ", i, " is outside the model's ", setting),
           {.expected = text("0 .. ", limit - 1), .got = text(values[i])});
    }
  }
}

/// The slot's occupant where it still is a frozen Linear that no row of the batch has a LoRA at, so that a fused block
/// may take its weights.
const Linear* frozen_linear(const Slot& slot, const ForwardContext& context) {
  auto* linear = dynamic_cast<const Linear*>(slot.layer.get());
  return linear != nullptr && linear->frozen() && !linear->extended(context) ? linear : nullptr;
}

// What each row passes through; null: the base model alone.
std::vector<const Composition*> setups_of_rows(const ForwardContext& context, int64_t rows) {
  std::vector<const Composition*> result(rows, nullptr);
  if (context.segments == nullptr) return result;
  for (const auto& segment : *context.segments)
    for (int64_t row = segment.first; row < segment.last; ++row) result[row] = segment.setup.get();
  return result;
}

}  // namespace

bool has_adapters(const Module& module, const ForwardContext& context) {
  if (const auto* place = dynamic_cast<const AdapterPlace*>(&module)) return place->reaches(context);
  if (const auto* prefix = dynamic_cast<const PrefixLayer*>(&module); prefix && prefix->acts(context)) return true;
  return std::any_of(module.children().begin(), module.children().end(),
                     [&](const Module::Child& child) { return has_adapters(*child.module, context); });
}

bool reads_whole_rows(const Module& module, int64_t adapter) {
  if (const auto* place = dynamic_cast<const AdapterPlace*>(&module)) {
    const auto own = place->module(adapter);
    return own != nullptr && own->needs_all_tokens();
  }
  return std::any_of(module.children().begin(), module.children().end(),
                     [&](const Module::Child& child) { return reads_whole_rows(*child.module, adapter); });
}

void Encoder::prepare(BatchInput& input) const {
  if (input.pixels.defined()) {
    fail(ErrorCode::invalid_argument, "batch", "images were given to a model of text",
         {.expected = "ids", .got = "pixel values for a model of type " + config_.model_type});
  }
  check_ids(input.ids, config_.vocab_size, "id", "vocabulary");
  if (config_.type_vocab_size == 0) {
    input.token_types.reset();  // tokenizers tell the two texts of a pair apart for models that do not
  } else if (input.token_types) {
    check_ids(*input.token_types, config_.type_vocab_size, "token type", "type vocabulary");
  } else {
    input.token_types.emplace(input.ids.size(), 0);
  }

  const int64_t first = first_position();
  const int64_t longest = config_.max_position_embeddings - first;
  for (size_t row = 0; row < input.row_lengths.size(); ++row) {
    if (input.row_lengths[row] > longest && !input.positions) {
      fail(ErrorCode::out_of_range, "batch", text("row ", row, " is longer than the model has positions"),
           {.expected = text("at most ", longest, " tokens"),
            .got = text(input.row_lengths[row]),
            .hint = "Tokenize with truncation (maxLength), or split the text"});
    }
  }
  if (input.positions) {
    check_ids(*input.positions, config_.max_position_embeddings, "position", "positions");
    return;
  }
  // From 0, every token. Where positions begin after the padding id they count real tokens, and a padding id keeps the
  // padding position (RoBERTa's create_position_ids_from_input_ids).
  auto& positions = input.positions.emplace();
  positions.reserve(input.ids.size());
  size_t token = 0;
  for (int32_t length : input.row_lengths) {
    int32_t next = static_cast<int32_t>(first);
    for (int32_t i = 0; i < length && token < input.ids.size(); ++i, ++token) {
      const bool padding = first > 0 && input.ids[token] == config_.pad_token_id;
      positions.push_back(padding ? static_cast<int32_t>(config_.pad_token_id) : next++);
    }
  }
}

// Whether something that runs in the last layer reads tokens that a head does not.
bool Encoder::needs_all_tokens(const ForwardContext& context) const {
  const auto* last = dynamic_cast<const EncoderLayer*>(layers_.back().layer.get());
  if (last == nullptr || !answers_for_some(*last)) return true;
  for (const auto& child : children())
    if (child.slot != nullptr && child.slot->layer->reads_whole_rows()) return true;
  if (context.segments == nullptr) return false;
  bool needs = false;
  for (const auto& segment : *context.segments) {
    if (!segment.setup) continue;
    segment.setup->visit([&](const Composition& part) {
      needs = needs || part.kind == Composition::Kind::split || reads_whole_rows(*last, part.index);
    });
  }
  return needs;
}

// Positions and token types of rows that have prompts like words, or prefixes that take positions.
void Encoder::number(PackedBatch& read, const PackedBatch& batch, const ForwardContext& context) const {
  std::vector<int64_t> positions, types;
  const auto had = batch.positions->to(at::kCPU).contiguous();
  const auto had_types = batch.token_types ? batch.token_types->to(at::kCPU).contiguous() : at::Tensor();
  const auto setups = setups_of_rows(context, batch.layout.rows());
  for (int64_t row = 0; row < batch.layout.rows(); ++row) {
    const int64_t prefix = context.prefixes != nullptr ? context.prefixes->shift(setups[row]) : 0;
    const int64_t words = read.layout.length(row) - batch.layout.length(row);
    for (int64_t i = 0; i < words; ++i) positions.push_back(first_position() + prefix + i), types.push_back(0);
    for (int64_t i = batch.layout.starts()[row]; i < batch.layout.starts()[row + 1]; ++i) {
      positions.push_back(had.const_data_ptr<int64_t>()[i] + prefix + words);
      types.push_back(had_types.defined() ? had_types.const_data_ptr<int64_t>()[i] : 0);
    }
    if (positions.back() < config_.max_position_embeddings) continue;
    fail(ErrorCode::out_of_range, "forward",
         text("row ", row, " and its prompt are longer than the model has positions"),
         {.expected = text("positions up to ", config_.max_position_embeddings - 1),
          .got = text(positions.back()),
          .hint = "Shorten the row, or take a prompt without positions (combine 'prefix'; of a prefix: shiftPositions "
                  "false)"});
  }
  const auto tensor = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::TensorOptions(at::kLong)).to(batch.positions->device());
  };
  read.positions = tensor(positions);
  if (batch.token_types) read.token_types = tensor(types);
}

Encoder::Beginning Encoder::begin(const PackedBatch& batch, const ForwardContext& context) {
  const auto inner = context.with(batch.layout);
  const bool shifts = context.prefixes != nullptr && context.prefixes->shifts();
  const bool has_words = prompt_place().acts(inner, true);
  PackedBatch read = batch;
  Beginning result{{}, batch.layout};
  if (has_words) {
    auto prompted = prompt_place().extend(word_embeddings()->forward(batch.ids), inner, true);
    read.words = std::move(prompted.x);
    read.layout = result.rows = std::move(prompted.rows);
    result.own = std::move(prompted.own), result.first = std::move(prompted.first);
  }
  if (has_words || shifts) number(read, batch, inner);
  result.x = embed(read, context.with(result.rows));
  const auto behind = context.with(result.rows);
  if (prompt_place().acts(behind, false)) {
    auto prompted = prompt_place().extend(result.x, behind, false);
    result.own = result.own.defined() ? prompted.own.index_select(0, result.own) : prompted.own;
    result = {std::move(prompted.x), std::move(prompted.rows), std::move(result.own), std::move(prompted.first)};
  }
  if (!result.own.defined()) return result;
  const auto setups = setups_of_rows(context, batch.layout.rows());
  for (int64_t row = 0; row < batch.layout.rows(); ++row)
    if (setups[row] != nullptr) check_splits(*setups[row], batch.layout.length(row), result.rows.length(row));
  return result;
}

// Whether something that a row passes through stands before the first layer.
bool Encoder::reached_in_front(const ForwardContext& context) {
  const bool shifts = context.prefixes != nullptr && context.prefixes->shifts();
  return shifts || invertible_place().reaches(context) || prompt_place().reaches(context);
}

LayerEnding EncoderLayer::begin(const at::Tensor&, const at::Tensor&, const TokenView&, const ForwardContext&) {
  fail(ErrorCode::unsupported, "forward", std::string(type()) + " has no parts");
}

at::Tensor EncoderLayer::end(const LayerEnding&, const ForwardContext&) {
  fail(ErrorCode::unsupported, "forward", std::string(type()) + " has no parts");
}

bool Encoder::Beginning::has_only_tokens(const RowLayout& alone) const {
  for (int64_t row = 0; own.defined() && row < rows.rows(); ++row)
    if (alone.length(row) == 1 && rows.length(row) > 1) return true;
  return false;
}

FirstLayers Encoder::free_layers(const ForwardContext& context) {
  if (reached_in_front(context)) return {};
  int64_t layer = 0;
  for (const auto& slot : layers_) {
    if (has_adapters(*slot.layer, LayerContext(context, layer))) break;
    ++layer;
  }
  const auto count = static_cast<int64_t>(layers_.size());
  const auto* next = layer + 1 < count ? layers_[layer].intact() : nullptr;
  return {layer, next != nullptr && next->begins_free(LayerContext(context, layer))};
}

at::Tensor Encoder::encode_first(const PackedBatch& batch, const FirstLayers& first) {
  const ForwardContext alone{&batch.layout};
  auto x = project(begin(batch, alone).x, alone);
  for (int64_t i = 0; i < first.layers; ++i) x = layers_[i](x, alone);
  if (!first.and_begun) return x;
  const auto [h, r] = layers_[first.layers].own->begin(x, x, {batch.layout, batch.layout}, alone);
  return at::cat({h, r}, 1);
}

Encoded Encoder::encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) {
  Encoded result;
  CopiedRows copies(batch, context, request.copies);
  if (reached_in_front(context)) copies.part();
  auto inner = copies.context();
  const auto& read = copies.batch();
  const auto start = read.states.defined() ? Beginning{read.states, read.layout} : begin(read, inner);
  inner = inner.with(start.rows);
  auto x = read.states.defined() ? start.x : project(start.x, inner);
  const bool prompted = start.own.defined();
  // Nobody asks for what the model makes of prompts, but a head that reads a row's first token.
  const auto own = [&](const at::Tensor& y) { return prompted ? y.index_select(0, start.own) : y; };
  const auto head_tokens = [&] {
    return x.index_select(0, prompted && !is_causal() ? start.first : start.at(row_tokens(copies.batch())));
  };
  if (request.hidden_states) result.hidden_states.push_back(copies.all(own(x)));

  // The last layer answers for one token a row where nobody reads the others.
  const auto first = static_cast<size_t>(batch.first_layer);
  // So it does where each stands at its row's end, as the only token of a row with a prompt behind it does not.
  const bool rows_only = request.row_tokens_only && !request.hidden_states && first < layers_.size() &&
                         !needs_all_tokens(context) && !(is_causal() && start.has_only_tokens(read.layout));
  if (first == layers_.size() && first > 0) x = finish(x, inner);
  const bool is_begun = read.states.defined() && x.size(1) > config_.hidden_size;
  for (size_t i = first; i < layers_.size(); ++i) {
    if (copies.together() && has_adapters(*layers_[i].layer, LayerContext(context, static_cast<int64_t>(i)))) {
      x = copies.all(x);
      copies.part();
      inner = copies.context();
    }
    const LayerContext here(inner, static_cast<int64_t>(i));
    if (is_begun && i == first) {
      const auto parts = x.chunk(2, 1);
      x = layers_[i].own->end({parts[0].contiguous(), parts[1].contiguous()}, here);
    } else if (rows_only && i + 1 == layers_.size()) {
      const auto single = RowLayout::single(copies.batch().layout.rows());
      x = finish(attend(layers_[i], head_tokens(), x, {single, *inner.layout}, here.with(single)), inner.with(single));
    } else {
      x = layers_[i](x, here);
      const auto raw = x;
      if (i + 1 == layers_.size()) x = finish(x, inner);
      // As in transformers: a decoder's last one has been through the last LayerNorm, an encoder's has not.
      if (request.hidden_states) result.hidden_states.push_back(copies.all(own(is_causal() ? x : raw)));
    }
  }
  if (prompted && !rows_only) result.row_states = head_tokens();
  if (prompted && context.fusion_scores != nullptr) context.fusion_scores->keep(start.own);
  result.last = copies.all(rows_only ? x : own(x));
  result.rows_only = rows_only;
  return result;
}

at::Tensor Encoder::decode(const PackedBatch&, const ForwardContext&, KeyValueCache&) {
  fail(ErrorCode::unsupported, "generate", "a token of this model sees those after it",
       {.got = "a model of type " + config_.model_type});
}

std::vector<Place> Encoder::places() {
  std::vector<Place> places;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto layer = static_cast<int64_t>(i);
    for (auto location : {Location::attention, Location::output})
      places.push_back({layer, location, layers_[i].own->site(location)});
    for (auto location : {Location::query, Location::key, Location::value, Location::query_key_value,
                          Location::attention_output, Location::intermediate, Location::feed_forward_output})
      if (auto* place = layers_[i].own->lora(location)) places.push_back({layer, location, place});
    places.push_back({layer, Location::prefix, &layers_[i].own->prefix()->gates()});
    places.push_back({layer, Location::layer_output, layers_[i].own->reft()});
  }
  return places;
}

void Encoder::add_layer(Container& list, std::shared_ptr<EncoderLayer> layer) {
  const auto name = std::to_string(layers_.size());
  layer->prefix()->layer = static_cast<int64_t>(layers_.size());
  list.add(name, layers_.emplace_back(), std::move(layer));
}

at::Tensor attend(const Slot& slot, const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                  const ForwardContext& context) {
  if (auto* layer = dynamic_cast<AttendingLayer*>(slot.layer.get())) return layer->forward(xq, x, view, context);
  if (view.cache == nullptr) return slot(x, context);
  // What surgery put around an attention: inside, it still has to know of the tokens before these.
  const auto& parts = slot.layer->children();
  if (dynamic_cast<Sequential*>(slot.layer.get()) != nullptr) {
    auto y = x;
    for (const auto& part : parts) y = attend(*part.slot, y, y, view, context);
    return y;
  }
  if (auto* beside = dynamic_cast<ParallelLayer*>(slot.layer.get()))
    return beside->join(attend(*parts[0].slot, x, x, view, context), x, context);
  return slot(x, context);
}

bool answers_for_some(const Module& module) {
  // Adapters, of which any number may be there, say for themselves what they read.
  if (dynamic_cast<const AdapterPlace*>(&module) != nullptr) return true;
  for (const auto& child : module.children()) {
    const bool attends = dynamic_cast<const AttendingLayer*>(child.module.get()) != nullptr;
    if (child.slot != nullptr && !attends && child.slot->layer->reads_whole_rows()) return false;
    if (!answers_for_some(*child.module)) return false;
  }
  return true;
}

std::shared_ptr<Container> bottleneck_layer(const std::shared_ptr<AdapterSite>& site) {
  auto layer = std::make_shared<Container>("BottleneckLayer");
  layer->add("adapters", site);
  layer->add("adapter_fusion_layer", site->fusions());
  return layer;
}

LoraPlace* lora_place(const LoraSlots& slots, Location location) {
  switch (location) {
    case Location::query:
      return lora_place(slots.query);
    case Location::key:
      return lora_place(slots.key);
    case Location::value:
      return lora_place(slots.value);
    case Location::attention_output:
      return lora_place(slots.attention_output);
    case Location::intermediate:
      return lora_place(slots.intermediate);
    case Location::feed_forward_output:
      return lora_place(slots.feed_forward_output);
    default:
      return nullptr;
  }
}

at::Tensor self_attention(const AttentionSlots& slots, const at::Tensor& xq, const at::Tensor& x, const TokenView& view,
                          const AttentionForm& form, double dropout_p, const ForwardContext& context) {
  const Linear *q = frozen_linear(slots.query, context), *k = frozen_linear(slots.key, context),
               *v = frozen_linear(slots.value, context), *o = frozen_linear(slots.output, context);
  const bool drops = dropout_p > 0 && context.random != nullptr;
  if (q && k && v && o && !drops && !slots.prefix.acts(context) && row_attention_serves(xq, form.heads))
    return frozen_attention(xq, x, {*q, *k, *v, *o}, view.queries, view.keys, form);
  const auto all = context.with(view.keys);
  auto h = prefixed_attention(slots.prefix, slots.query(xq, context),
                              {slots.key(x, all), slots.value(x, all), view.keys}, x, view, form, dropout_p, context);
  return slots.output(h, context);
}

at::Tensor prefixed_attention(const PrefixLayer& prefix, const at::Tensor& q, const PrefixLayer::KeysAndValues& own,
                              const at::Tensor& x, const TokenView& view, const AttentionForm& form, double dropout_p,
                              const ForwardContext& context) {
  if (!prefix.acts(context))
    return packed_attention(q, own.k, own.v, view.queries, own.rows, form, dropout_p, context.random);
  const auto [k, v, rows] = prefix.prepend(own, x, view.keys, context);
  return packed_attention(q, k, v, view.queries, rows, form, dropout_p, context.random);
}

at::Tensor feed_forward(const Slot& in, const SlotOf<Activation>& activation, const Slot& out, const at::Tensor& x,
                        const ForwardContext& context) {
  const Linear *first = frozen_linear(in, context), *second = frozen_linear(out, context);
  const auto* act = activation.intact();
  if (act && first && second && has_fused_backward(act->kind()))
    return frozen_feed_forward(x, *first, act->kind(), *second);
  return out(activation(in(x, context), context), context);
}

at::Tensor finish_at(AdapterSite& site, const Slot& norm, const at::Tensor& h, const at::Tensor& r,
                     const ForwardContext& context) {
  if (auto* own = dynamic_cast<LayerNorm*>(norm.layer.get())) return site.forward(h, r, own, context);
  if (context.segments != nullptr) {
    for (const auto& segment : *context.segments) {
      if (!segment.setup || !site.has_any(*segment.setup)) continue;
      fail(ErrorCode::unsupported, "forward",
           "a bottleneck by name stands around the LayerNorm that surgery has replaced",
           {.expected = "the LayerNorm behind the sub-layer as it was",
            .got = norm.layer->type(),
            .hint = "Put the module behind the sub-layer's dense, undo the replacement, or run the batch without "
                    "bottlenecks (LoRA and its kin need no LayerNorm)"});
    }
  }
  return norm(h + r, context);
}

}  // namespace ta
