#pragma once
// One pass: tokens → backbone → head → loss. Training and evaluation both call this, for a batch or a thread's part of
// it.

#include <map>
#include <memory>
#include <optional>

#include "core/adapters/fusion_scores.h"
#include "core/surgery/adapter_model.h"

namespace ta {

/// By the head's name, [labels] float32: how much labels of each class count in its loss.
using ClassWeights = std::map<std::string, at::Tensor>;

/// What is read of a head's logits beside its loss.
enum class Answers {
  all,
  none,  ///< so heads that answer for tokens skip those without a label
  best   ///< in place of logits the number of the largest of each token that has a label [labelled tokens], int64
};

struct ForwardRequest {
  /// The batch's rows so many times, one copy after the other, each as the segments and heads that follow have it. What
  /// copies have in common is computed once.
  int64_t copies = 1;
  std::vector<RowSegment> segments;  ///< empty: the base model alone
  std::string head;                  ///< empty: hidden states alone
  /// Instead of `head`: heads, and the rows that each of them answers, in rising order.
  std::vector<std::string> heads;
  std::vector<std::vector<int64_t>> row_heads;
  std::vector<at::Tensor> head_labels;  ///< empty, or for each of `heads` those of its rows
  std::vector<double> head_shares;      ///< of the heads' losses that are these rows'; empty: 1 each. 0: no loss
  std::vector<double> head_weights;     ///< of the heads' losses in the sum of all; empty: 1 each
  std::vector<double> head_smoothing;   ///< for each head instead of label_smoothing; empty: that for all
  bool hidden_states = false;
  bool last_hidden_state = false;
  bool fusion_scores = false;
  Answers answers = Answers::all;
  double label_smoothing = 0;
  std::shared_ptr<const ClassWeights> class_weights{};  ///< null: all count alike

  /// Undefined: all of the head's count alike.
  at::Tensor weights_of(const std::string& name) const {
    if (class_weights == nullptr) return {};
    const auto found = class_weights->find(name);
    return found == class_weights->end() ? at::Tensor() : found->second;
  }
};

struct ForwardResult {
  at::Tensor logits;  ///< [rows or tokens, labels], or as the request's answers say
  std::vector<at::Tensor>
      head_logits;  ///< for each of the request's heads [its rows or their tokens, labels]; undefined without rows
  std::vector<at::Tensor> head_losses;  ///< scalars, as head_logits; empty without labels
  at::Tensor loss;                      ///< scalar; undefined without labels. Of several heads the sum
  Encoded encoded;
  FusionScores::All fusion_scores;  ///< of the batch's tokens; empty where not asked for
};

/// Throws what check_labels of training/answers.h throws.  `random`: dropout's numbers; null in evaluation.
ForwardResult forward(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, Random* random);

}  // namespace ta
