#pragma once
// Prediction heads with AdapterHub's structure and keys (adapters.heads): a Sequential whose indices count Dropout,
// Linear and activation alike, so a two-layer classification head has `heads.<name>.1.*` and `heads.<name>.4.*`.
// masked_lm: 0 Linear, 1 activation, 2 LayerNorm, 3 Linear to the vocabulary whose weight is the word embedding; from
// the first Linear on it is as wide as the embedding. causal_lm: the same; LayerNorm and bias as configured; where it
// is not tied, that Linear has a weight of its own, which starts as the word embedding (PEFT's modules_to_save
// `lm_head`). question_answering: as tagging, the logits of a token being the first and the last of the answer.
// multiple_choice: as classification with one output, a row being a choice. dependency_parsing (Glavaš & Vulić 2021,
// arXiv:2008.06788): `biaffine_arcs`, `biaffine_rels` over words that are means of their tokens, and the row's first
// token as the root.

#include <deque>
#include <optional>

#include "core/config/head_config.h"
#include "core/models/biaffine.h"
#include "core/models/model.h"
#include "core/nn/words.h"

namespace ta {

class Head : public Module {
 public:
  Head(const HeadConfig& config, Model& model);
  const char* type() const override;

  const HeadConfig& config() const { return config_; }
  /// Reads one token of each row, not every token.
  bool reads_rows() const;
  /// Language modelling: its labels are ids of the vocabulary.
  bool predicts_words() const;
  LabelsOf labels_of() const;
  bool reads_words() const { return arcs_ != nullptr; }
  /// [rows or tokens, hidden] → [rows or tokens, labels]. The context's rows and what they pass through are those of x.
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context);
  /// Where reads_words(): [tokens, hidden] → [pairs, 1 + labels]. A row of n words has n · (n + 1) pairs, for each word
  /// the root and all words as its head: first how well it is that, then by which relation.
  at::Tensor parse(const at::Tensor& x, const Words& words, const ForwardContext& context);
  bool reads_whole_rows() const;
  /// The decoder's name in a state dict where its weight is the word embedding's.
  std::optional<std::string> tied_key() const;
  /// The decoder's name where its weight is its own, and only starts as the word embedding's.
  std::optional<std::string> own_words_key() const;

 private:
  void build_layers(Model& model);
  void build_language_model(Model& model);
  void build_parser(Model& model);
  void step(std::shared_ptr<Layer> module);
  void activation_step(const std::string& name);

  HeadConfig config_;
  double dropout_;
  Model* own_ = nullptr;  ///< whose own head this is
  std::shared_ptr<Biaffine> arcs_, relations_;
  InvertiblePlace* invertible_ = nullptr;  ///< the way back to embeddings, before the words
  std::deque<Slot> steps_;                 // an empty one is drop-out; a slot keeps its address
  int next_ = 0;
};

}  // namespace ta
