#include "core/models/bert.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tanh.h>

#include "core/error.h"

namespace ta {

BertEmbeddings::BertEmbeddings(const ModelConfig& config) : dropout_(config.hidden_dropout_prob) {
  const int64_t d = config.hidden_size;
  const int64_t position_padding = config.model_type == "bert" ? -1 : config.pad_token_id;
  word = std::make_shared<Embedding>(config.vocab_size, d, config.pad_token_id);
  position = std::make_shared<Embedding>(config.max_position_embeddings, d, position_padding);
  token_type = std::make_shared<Embedding>(config.type_vocab_size, d);
  child("word_embeddings", word);
  child("position_embeddings", position);
  child("token_type_embeddings", token_type);
  child("LayerNorm", norm_, std::make_shared<LayerNorm>(d, config.layer_norm_eps));
}

at::Tensor BertEmbeddings::forward(const PackedBatch& batch, const ForwardContext& context) {
  auto sum = word->forward(batch.ids) + token_type->forward(*batch.token_types) + position->forward(*batch.positions);
  return dropout(norm_(sum, context), dropout_, context.random);
}

BertModel::BertModel(const ModelConfig& config) : config_(config) {
  embeddings_ = std::make_shared<BertEmbeddings>(config);
  child("embeddings", embeddings_);
  auto list = std::make_shared<Container>("ModuleList");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.push_back(std::make_shared<BertLayer>(config));
    list->add(std::to_string(i), layers_.back());
  }
  auto encoder = std::make_shared<Container>("BertEncoder");
  encoder->add("layer", list);
  child("encoder", encoder);

  class Pooler : public Module {
   public:
    Pooler(Slot& dense, int64_t size) { child("dense", dense, std::make_shared<Linear>(size, size)); }
    const char* type() const override { return "BertPooler"; }
  };
  child("pooler", std::make_shared<Pooler>(pooler_, config.hidden_size));
}

const char* BertModel::type() const {
  if (config_.model_type == "bert") return "BertModel";
  return config_.model_type == "roberta" ? "RobertaModel" : "XLMRobertaModel";
}

std::string BertModel::prefix() const {
  return is_roberta() ? "roberta" : "bert";
}

void BertModel::prepare(BatchInput& input) const {
  auto check = [](const std::vector<int32_t>& values, int64_t limit, const char* what, const char* setting) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] < 0 || values[i] >= limit) {
        fail(ErrorCode::out_of_range, "batch",
             text(what, " ", values[i], " at token ", i, " is outside the model's ", setting),
             {.expected = text("0 .. ", limit - 1), .got = text(values[i])});
      }
    }
  };
  check(input.ids, config_.vocab_size, "id", "vocabulary");
  if (input.token_types) {
    check(*input.token_types, config_.type_vocab_size, "token type", "type vocabulary");
  } else {
    input.token_types.emplace(input.ids.size(), 0);
  }

  const int64_t first = is_roberta() ? config_.pad_token_id + 1 : 0;
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
    check(*input.positions, config_.max_position_embeddings, "position", "positions");
    return;
  }
  // BERT counts from 0. RoBERTa counts real tokens from padding + 1; a padding id keeps the padding position
  // (create_position_ids_from_input_ids).
  auto& positions = input.positions.emplace();
  positions.reserve(input.ids.size());
  size_t token = 0;
  for (int32_t length : input.row_lengths) {
    int32_t next = static_cast<int32_t>(first);
    for (int32_t i = 0; i < length && token < input.ids.size(); ++i, ++token) {
      const bool padding = is_roberta() && input.ids[token] == config_.pad_token_id;
      positions.push_back(padding ? static_cast<int32_t>(config_.pad_token_id) : next++);
    }
  }
}

// Whether something that runs in the last layer reads tokens that a head does not.
bool BertModel::needs_all_tokens(const ForwardContext& context) {
  if (context.segments == nullptr) return false;
  bool needs = false;
  for (const auto& segment : *context.segments) {
    if (!segment.setup) continue;
    segment.setup->visit([&](const Composition& part) {
      needs = needs || part.kind == Composition::Kind::split;
      for (auto* site : {layers_.back()->attention->output->site(), layers_.back()->output->site()})
        if (auto module = site->module(part.index); module && module->needs_all_tokens()) needs = true;
    });
  }
  return needs;
}

Encoded BertModel::encode(const PackedBatch& batch, const ForwardContext& context, const EncodeRequest& request) {
  Encoded result;
  const auto inner = context.with(batch.layout);
  auto x = embeddings_->forward(batch, inner);
  if (request.hidden_states) result.hidden_states.push_back(x);

  // The last layer answers for first tokens alone where nobody reads the others.
  const bool first_only =
      request.first_tokens_only && !request.hidden_states && !layers_.empty() && !needs_all_tokens(context);
  const TokenView all{batch.layout, batch.layout};
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (first_only && i + 1 == layers_.size()) {
      const auto single = RowLayout::single(batch.layout.rows());
      x = layers_[i]->forward(x.index_select(0, batch.first_tokens), x, {single, batch.layout}, inner.with(single));
    } else {
      x = layers_[i]->forward(x, x, all, inner);
    }
    if (request.hidden_states) result.hidden_states.push_back(x);
  }
  result.last = x;
  result.first_only = first_only;
  return result;
}

at::Tensor BertModel::pool(const at::Tensor& first, const ForwardContext& context) {
  return at::tanh(pooler_(first, context));
}

std::vector<Place> BertModel::places() {
  std::vector<Place> places;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto layer = static_cast<int64_t>(i);
    places.push_back({layer, Location::attention, layers_[i]->attention->output->site()});
    places.push_back({layer, Location::output, layers_[i]->output->site()});
  }
  return places;
}

}  // namespace ta
