#include "core/models/head.h"

#include <ATen/ops/cat.h>

#include <algorithm>

#include "core/error.h"
#include "core/nn/linear.h"
#include "core/nn/named_dropout.h"

namespace ta {

namespace {

/// hidden → vocabulary with the word embedding's weight and a bias of its own.
class TiedDecoder : public TokenLayer {
 public:
  using TokenLayer::forward;
  explicit TiedDecoder(Embedding& embedding, bool with_bias) : embedding_(embedding) {
    if (with_bias)
      parameter({.name = "bias", .shape = {embedding.own_parameters()[0].shape[0]}, .init = Init::zeros}, bias_);
  }
  const char* type() const override { return "Linear"; }
  at::Tensor forward(const at::Tensor& x) override { return linear(x, embedding_.weight, bias_); }

 private:
  Embedding& embedding_;
  at::Tensor bias_;
};

}  // namespace

Head::Head(const HeadConfig& config, Model& model)
    : config_(config), dropout_(config.dropout_prob.value_or(model.config().hidden_dropout_prob)) {
  if (config_.use_pooler && !model.has_pooler()) {
    fail(ErrorCode::unsupported, "addHead", "this model has no pooler",
         {.expected = "usePooler: false", .got = text("usePooler for a model of type ", model.config().model_type)});
  }
  if (config_.layers == 0) {
    own_ = &model;
    return;
  }
  if (predicts_words() && model.word_embeddings() == nullptr) {
    fail(ErrorCode::unsupported, "addHead", "a model of images predicts no words",
         {.got = text("a model of type ", model.config().model_type)});
  }
  if (predicts_words() && model.is_causal() != (config_.type == HeadType::causal_lm)) {
    fail(ErrorCode::unsupported, "addHead", "this kind of language modelling is not that of the model",
         {.expected =
              text(model.is_causal() ? "causal_lm" : "masked_lm", " for a model of type ", model.config().model_type),
          .got = type()});
  }
  if (model.is_causal() &&
      (config_.type == HeadType::multiple_choice || config_.type == HeadType::dependency_parsing)) {
    fail(ErrorCode::unsupported, "addHead", text("no ", type(), " for a model whose tokens see only those before them"),
         {.got = text("a model of type ", model.config().model_type)});
  }
  if (predicts_words()) {
    build_language_model(model);
  } else if (config_.type == HeadType::dependency_parsing) {
    build_parser(model);
  } else {
    build_layers(model);
  }
}

void Head::step(std::shared_ptr<Layer> module) {
  child(std::to_string(next_++), steps_.emplace_back(), std::move(module));
}

void Head::activation_step(const std::string& name) {
  auto wrapper = std::make_shared<Container>("Activation_Function_Class");
  auto& slot = steps_.emplace_back();
  slot.layer = std::make_shared<Activation>(name);
  wrapper->add("f", slot.layer);
  child(std::to_string(next_++), wrapper);
}

void Head::build_layers(Model& model) {
  const int64_t hidden = model.output_size();
  for (int64_t i = 0; i < config_.layers; ++i) {
    steps_.emplace_back();
    child(std::to_string(next_++), named_dropout());
    if (i + 1 == config_.layers) {
      step(std::make_shared<Linear>(hidden, config_.num_labels, config_.bias));
    } else {
      step(std::make_shared<Linear>(hidden, hidden));
      if (config_.activation_function) activation_step(*config_.activation_function);
    }
  }
}

void Head::build_parser(Model& model) {
  const int64_t hidden = model.output_size();
  child("biaffine_arcs", arcs_ = std::make_shared<Biaffine>(hidden, 1, false));
  child("biaffine_rels", relations_ = std::make_shared<Biaffine>(hidden, config_.num_labels, true));
}

void Head::build_language_model(Model& model) {
  const auto words = model.word_embeddings()->own_parameters()[0].shape;
  const int64_t hidden = model.output_size(), embedding = words[1];
  if (config_.layers == 1 && hidden != embedding) {
    fail(ErrorCode::invalid_argument, "addHead", "the word embedding is narrower than the hidden state",
         {.expected = "at least 2 layers", .got = text("1 layer, hidden ", hidden, ", embedding ", embedding)});
  }
  for (int64_t i = 0; i + 1 < config_.layers; ++i) {
    step(std::make_shared<Linear>(i == 0 ? hidden : embedding, embedding));
    if (config_.activation_function) activation_step(*config_.activation_function);
    if (config_.layer_norm) step(std::make_shared<LayerNorm>(embedding, model.head_norm_eps()));
  }
  invertible_ = &model.invertible_place();
  if (!config_.tied) {
    step(std::make_shared<Linear>(embedding, words[0], config_.bias));
    return;
  }
  // No slot: the name of its weight belongs to the word embedding.
  steps_.emplace_back().layer = std::make_shared<TiedDecoder>(*model.word_embeddings(), config_.bias);
  child(std::to_string(next_++), std::static_pointer_cast<Module>(steps_.back().layer));
}

const char* Head::type() const {
  switch (config_.type) {
    case HeadType::classification:
      return "ClassificationHead";
    case HeadType::multilabel_classification:
      return "MultiLabelClassificationHead";
    case HeadType::tagging:
      return "TaggingHead";
    case HeadType::question_answering:
      return "QuestionAnsweringHead";
    case HeadType::multiple_choice:
      return "MultipleChoiceHead";
    case HeadType::dependency_parsing:
      return "BiaffineParsingHead";
    case HeadType::masked_lm:
      return "BertStyleMaskedLMHead";
    case HeadType::causal_lm:
      return "CausalLMHead";
  }
  return "PredictionHead";
}

bool Head::reads_rows() const {
  return config_.type == HeadType::classification || config_.type == HeadType::multilabel_classification ||
         config_.type == HeadType::multiple_choice;
}

LabelsOf Head::labels_of() const {
  if (config_.type == HeadType::multiple_choice) return LabelsOf::questions;
  return reads_rows() || config_.type == HeadType::question_answering ? LabelsOf::rows : LabelsOf::tokens;
}

at::Tensor Head::forward(const at::Tensor& x, const ForwardContext& context) {
  if (own_ != nullptr) return own_->own_logits(x, context, predicts_words());
  auto y = x;
  for (const auto& step : steps_) {
    if (invertible_ != nullptr && &step == &steps_.back()) y = invertible_->inverse(y, context);
    y = step.layer ? step(y, context) : dropout(y, dropout_, context.random);
  }
  return y;
}

at::Tensor Head::parse(const at::Tensor& x, const Words& words, const ForwardContext& context) {
  const auto states = dropout(x, dropout_, context.random);
  const auto means = word_means(states, words);
  const auto arcs = arcs_->left(means), relations = relations_->left(means);
  std::vector<at::Tensor> rows;
  for (int64_t row = 0; row < words.layout.rows(); ++row) {
    const int64_t first = words.layout.starts()[row], count = words.layout.length(row);
    const auto heads = at::cat({states.narrow(0, context.layout->starts()[row], 1), means.narrow(0, first, count)});
    const auto pairs = at::cat({arcs_->match(arcs.narrow(0, first, count), heads),
                                relations_->match(relations.narrow(0, first, count), heads)},
                               2);
    rows.push_back(pairs.reshape({count * (count + 1), pairs.size(2)}));
  }
  return at::cat(rows);
}

bool Head::predicts_words() const {
  return config_.type == HeadType::masked_lm || config_.type == HeadType::causal_lm;
}

bool Head::reads_whole_rows() const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [](const Slot& step) { return step.layer && step.layer->reads_whole_rows(); });
}

std::optional<std::string> Head::tied_key() const {
  if (!predicts_words() || !config_.tied || own_ != nullptr) return std::nullopt;
  return std::to_string(next_ - 1) + ".weight";
}

std::optional<std::string> Head::own_words_key() const {
  if (!predicts_words() || config_.tied || own_ != nullptr) return std::nullopt;
  return std::to_string(next_ - 1) + ".weight";
}

}  // namespace ta
