#pragma once
// Small models with one adapter and one head, and a batch for each kind of head.

#include "core/models/bert.h"
#include "core/models/initialise.h"
#include "core/training/trainer.h"

namespace tiny_models {

using namespace ta;

inline ModelConfig tiny(double dropout) {
  ModelConfig config;
  config.vocab_size = 50;
  config.embedding_size = 16;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 32;
  config.max_position_embeddings = 12;
  config.embedding_dropout_prob = dropout;
  config.hidden_dropout_prob = dropout;
  config.attention_probs_dropout_prob = dropout;
  return config;
}

inline std::unique_ptr<AdapterModel> model_of(const ModelConfig& config, HeadType type, const BottleneckConfig& form) {
  auto backbone = std::make_shared<BertModel>(config);
  Random random(1);
  initialise_missing(*backbone, backbone->prefix(), 0.02, random, at::kCPU);
  auto model = std::make_unique<AdapterModel>(backbone, at::kCPU);
  auto adapter = form;
  adapter.bottleneck_sizes = {4, 4};
  adapter.mh_adapter = true;
  model->add_adapter("a", {adapter}, 2);
  HeadConfig head;
  head.type = type;
  head.num_labels = type == HeadType::multiple_choice ? 1 : 3;
  model->add_head("a", head, 3);
  return model;
}

inline std::unique_ptr<AdapterModel> tiny_model(HeadType type, double dropout = 0.1) {
  return model_of(tiny(dropout), type, {});
}

/// The setup that is one adapter.
inline std::shared_ptr<const Composition> only(const AdapterModel& model, const std::string& name) {
  return std::make_shared<Composition>(
      Composition{.kind = Composition::Kind::adapter, .index = model.adapter_index(name)});
}

/// What trains: the adapter and the head, the head alone, everything but the adapter.
enum class Way { adapter, head, full };
inline void train(AdapterModel& model, Way way) {
  Trainable what{way == Way::adapter ? std::vector<std::string>{"a"} : std::vector<std::string>{}, {"a"}, {}};
  for (const auto& named : model.named_parameters()) {
    const bool base = named.name.find(".adapters.") == std::string::npos && named.name.rfind("heads.", 0) != 0;
    if (way == Way::full && base) what.base.push_back(named.name);
  }
  model.set_trainable(what);
}

/// Rows of 1, 4, 4 and 12 tokens with labels.
inline BatchInput input_for(HeadType type) {
  BatchInput input;
  input.row_lengths = {1, 4, 4, 12};
  for (int i = 0; i < 21; ++i) input.ids.push_back(3 + i);
  if (type == HeadType::multilabel_classification) {
    input.float_labels = std::vector<float>(12, 1.0f);
  } else if (type == HeadType::classification) {
    input.int_labels = std::vector<int32_t>{0, 1, 2, 1};
  } else if (type == HeadType::question_answering) {
    input.int_labels = std::vector<int32_t>{0, 0, 1, 3, -100, -100, 4, 11};
  } else if (type == HeadType::multiple_choice) {
    input.choices = std::vector<int32_t>{2, 1, 1};
    input.int_labels = std::vector<int32_t>{1, 0, -100};
  } else if (type == HeadType::dependency_parsing) {
    // The first row has no word; the others have a word of two tokens, and then one a token.
    input.word_ids = std::vector<int32_t>{-1, -1, 0, 0, 1, -1, 0, 0, 1, -1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, -1};
    input.int_labels = std::vector<int32_t>(42, -100);
    auto& labels = *input.int_labels;
    for (int token : {2, 4, 6, 10, 13}) labels[2 * token] = token % 3, labels[2 * token + 1] = token % 2;
  } else {
    input.int_labels = std::vector<int32_t>(21, -100);
    (*input.int_labels)[2] = 1, (*input.int_labels)[20] = 2;
  }
  return input;
}

inline std::vector<MicroBatch> batch_for(AdapterModel& model, HeadType type) {
  auto input = input_for(type);
  model.backbone().prepare(input);
  ForwardRequest request;
  request.segments = {{0, 4, only(model, "a")}};
  request.head = "a";
  std::vector<MicroBatch> batches;
  batches.push_back({PackedBatch::pack(input, at::kCPU), request});
  return batches;
}

}  // namespace tiny_models
