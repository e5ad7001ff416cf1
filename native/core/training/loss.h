#pragma once
// A head's loss, as adapters.heads computes it: cross entropy (classification, tagging, masked_lm; -100 marks tokens
// without a label), mean squared error (classification with one label), binary cross entropy with logits (multi-label).
// Means over rows, or over labelled tokens.

#include "core/models/head.h"

namespace ta {

/// logits [n, labels]; labels [n] int64 or float32, or [n · labels] float32 for multi-label.
/// Throws ERR_INVALID_ARGUMENT where labels and logits do not fit, ERR_OUT_OF_RANGE for a class that does not exist.
at::Tensor head_loss(const HeadConfig& config, const at::Tensor& logits, const at::Tensor& labels,
                     double label_smoothing);

}  // namespace ta
