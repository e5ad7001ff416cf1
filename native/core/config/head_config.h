#pragma once
// The fields of AdapterHub's head_config.json that change numbers (adapters.heads).

#include <cstdint>
#include <optional>
#include <string>

namespace ta {

enum class HeadType {
  classification,
  multilabel_classification,
  tagging,
  question_answering,
  multiple_choice,
  dependency_parsing,
  masked_lm,
  causal_lm
};

struct HeadConfig {
  HeadType type = HeadType::classification;
  int64_t num_labels = 2;  ///< classification with 1: regression
  int64_t layers = 2;      ///< 0: none, it is the one that an exported network brings along
  std::optional<std::string> activation_function = "tanh";
  bool use_pooler = false;
  bool bias = true;
  bool layer_norm = true;              ///< language modelling with more than one layer
  bool tied = true;                    ///< causal_lm: its last layer is the word embedding, not one of its own
  std::optional<double> dropout_prob;  ///< absent: the model's hidden dropout
};

}  // namespace ta
