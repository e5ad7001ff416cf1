#pragma once
// A head's loss, as adapters.heads computes it: cross entropy (classification, tagging, masked_lm; -100 marks tokens
// without a label), mean squared error (classification with one label), binary cross entropy with logits (multi-label).
// Means over rows, or over labelled tokens; with weights of classes each label counts as its class weighs, in the sum
// and in what it is divided by (torch.nn.CrossEntropyLoss's weight, BCEWithLogitsLoss's pos_weight). Those that choose
// among tokens, rows or words are in loss_of_choice.h.

#include "core/models/head.h"

namespace ta {

/// Throws ERR_INVALID_ARGUMENT where number or type does not fit, ERR_OUT_OF_RANGE for a class that does not exist.
void check_labels(const Head& head, const at::Tensor& labels, const RowFacts& rows, int64_t vocabulary);

/// logits [n, labels]; labels, checked: [n] int64 or float32, or [n · labels] float32 for multi-label.
/// class_weights: [labels] float32, undefined: 1 each; for heads with classes.
at::Tensor head_loss(const HeadConfig& config, const at::Tensor& logits, const at::Tensor& labels, const RowFacts& rows,
                     double label_smoothing, const at::Tensor& class_weights);

}  // namespace ta
