#pragma once
// One pass: tokens → backbone → head → loss. Training and evaluation both call this, for a batch or a thread's part of
// it.

#include <optional>

#include "core/surgery/adapter_model.h"

namespace ta {

struct ForwardRequest {
  std::vector<RowSegment> segments;  ///< empty: the base model alone
  std::string head;                  ///< empty: hidden states alone
  /// Instead of `head`, for answers without a loss: heads, and the rows that each of them answers, in rising order.
  std::vector<std::string> heads;
  std::vector<std::vector<int64_t>> row_heads;
  bool hidden_states = false;
  bool last_hidden_state = false;
  bool logits = true;  ///< false: only the loss is read, so token heads skip tokens without a label
  double label_smoothing = 0;
};

struct ForwardResult {
  at::Tensor logits;  ///< [rows or tokens, labels]
  std::vector<at::Tensor>
      head_logits;  ///< for each of the request's heads [its rows or their tokens, labels]; undefined without rows
  at::Tensor loss;  ///< scalar; undefined without labels
  Encoded encoded;
};

/// Throws what check_labels of training/loss.h throws, and an error where there is no such head.
void check_labels(AdapterModel& model, const PackedBatch& batch, const std::string& head);

/// `random`: dropout's numbers; null in evaluation.
ForwardResult forward(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, Random* random);

}  // namespace ta
