#include "core/models/bert.h"

#include <ATen/TensorOperators.h>

#include "core/nn/named_dropout.h"

namespace ta {

namespace {

struct BertKind {
  const char* model_type;
  const char* type;
  const char* prefix;
  bool positions_after_padding;
  bool pooler;
};

constexpr BertKind kBertKinds[] = {{"bert", "BertModel", "bert", false, true},
                                   {"roberta", "RobertaModel", "roberta", true, true},
                                   {"xlm-roberta", "XLMRobertaModel", "roberta", true, true},
                                   {"electra", "ElectraModel", "electra", false, false}};

const BertKind& kind_of(const ModelConfig& config) {
  for (const auto& kind : kBertKinds)
    if (config.model_type == kind.model_type) return kind;
  return kBertKinds[0];
}

}  // namespace

BertEmbeddings::BertEmbeddings(const ModelConfig& config) : dropout_(config.embedding_dropout_prob) {
  const int64_t d = config.embedding_size;
  const int64_t position_padding = kind_of(config).positions_after_padding ? config.pad_token_id : -1;
  word = std::make_shared<Embedding>(config.vocab_size, d, config.pad_token_id);
  position = std::make_shared<Embedding>(config.max_position_embeddings, d, position_padding,
                                         config.sinusoidal_pos_embds ? Init::sinusoidal : Init::embedding);
  child("word_embeddings", word);
  child("position_embeddings", position);
  if (config.type_vocab_size > 0) {
    token_type = std::make_shared<Embedding>(config.type_vocab_size, d);
    child("token_type_embeddings", token_type);
  }
  child("LayerNorm", norm_, std::make_shared<LayerNorm>(d, config.layer_norm_eps));
  child("dropout", named_dropout());
}

at::Tensor BertEmbeddings::forward(const PackedBatch& batch, const ForwardContext& context) {
  auto sum = batch.words.defined() ? batch.words : word->forward(batch.ids);
  if (token_type) sum = sum + token_type->forward(*batch.token_types);
  return dropout(norm_(sum + position->forward(*batch.positions), context), dropout_, context.random);
}

BertModel::BertModel(const ModelConfig& config) : Encoder(config) {
  const int64_t hidden = config.hidden_size;
  embeddings_ = std::make_shared<BertEmbeddings>(config);
  child("embeddings", embeddings_);
  if (config.embedding_size != hidden)
    child("embeddings_project", project_, std::make_shared<Linear>(config.embedding_size, hidden));
  auto list = std::make_shared<Container>("ModuleList");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    add_layer(*list, std::make_shared<BertLayer>(config));
  }
  auto encoder = std::make_shared<Container>("BertEncoder");
  encoder->add("layer", list);
  child("encoder", encoder);
  if (kind_of(config).pooler) child("pooler", pooler_, std::make_shared<Pooler>(config, "BertPooler"));
}

const char* BertModel::type() const {
  return kind_of(config_).type;
}

std::string BertModel::prefix() const {
  return kind_of(config_).prefix;
}

int64_t BertModel::first_position() const {
  return kind_of(config_).positions_after_padding ? config_.pad_token_id + 1 : 0;
}

at::Tensor BertModel::pool(const at::Tensor& first, const ForwardContext& context) {
  const auto rows = RowLayout::single(first.size(0));
  return pooler_(first, context.with(rows));
}

}  // namespace ta
