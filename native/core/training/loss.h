#pragma once
// A head's loss, as adapters.heads computes it: cross entropy (classification, tagging, masked_lm; -100 marks tokens
// without a label), mean squared error (classification with one label), binary cross entropy with logits (multi-label).
// Means over rows, or over labelled tokens.

#include "core/models/head.h"

namespace ta {

/// Labels of a batch: `count` rows (or tokens, where the head reads those), `classes` of the head.
/// Throws ERR_INVALID_ARGUMENT where number or type does not fit, ERR_OUT_OF_RANGE for a class that does not exist.
void check_labels(const HeadConfig& config, const at::Tensor& labels, int64_t count, int64_t classes);

/// logits [n, labels]; labels, checked: [n] int64 or float32, or [n · labels] float32 for multi-label.
at::Tensor head_loss(const HeadConfig& config, const at::Tensor& logits, const at::Tensor& labels,
                     double label_smoothing);

}  // namespace ta
