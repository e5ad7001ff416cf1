#include "core/training/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/mse_loss.h>

#include <optional>

#include "core/error.h"
#include "core/training/loss_of_choice.h"

namespace ta {

namespace {

void check_count(int64_t expected, int64_t got, const char* each) {
  if (expected == got) return;
  fail(ErrorCode::invalid_argument, "loss", "labels do not fit the batch",
       {.expected = text(expected, " labels, ", each), .got = text(got)});
}

void check_type(const at::Tensor& labels, at::ScalarType type, const char* expected) {
  if (labels.scalar_type() == type) return;
  fail(ErrorCode::invalid_argument, "loss", "labels are of the wrong kind",
       {.expected = expected, .got = type == at::kLong ? "fractions" : "whole numbers"});
}

}  // namespace

void check_labels(const Head& head, const at::Tensor& labels, const RowFacts& rows, int64_t vocabulary) {
  const auto& config = head.config();
  const int64_t count = head.reads_rows() ? rows.layout.rows() : rows.layout.tokens();
  const int64_t classes = head.predicts_words() ? vocabulary : config.num_labels;
  if (chooses(config.type)) {
    check_type(labels, at::kLong, "positions as whole numbers");
    return check_choices(config, labels, rows);
  }
  if (config.type == HeadType::multilabel_classification) {
    check_type(labels, at::kFloat, "one number for each row and label");
    return check_count(count * classes, labels.numel(), "one for each row and label");
  }
  if (config.type == HeadType::classification && config.num_labels == 1) {
    check_type(labels, at::kFloat, "one number for each row");
    return check_count(count, labels.numel(), "one for each row");
  }
  check_type(labels, at::kLong, "class numbers");
  check_count(count, labels.numel(),
              config.type == HeadType::classification ? "one for each row" : "one for each token");
  if (!labels.device().is_cpu()) return;
  const auto* values = labels.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] == kNoLabel || (values[i] >= 0 && values[i] < classes)) continue;
    fail(ErrorCode::out_of_range, "loss", text("label ", values[i], " at position ", i, " is no class of this head"),
         {.expected = text("0 .. ", classes - 1, ", or -100 for none"), .got = text(values[i])});
  }
}

at::Tensor head_loss(const HeadConfig& config, const at::Tensor& logits, const at::Tensor& labels, const RowFacts& rows,
                     double label_smoothing, const at::Tensor& class_weights) {
  std::optional<at::Tensor> weights;
  if (class_weights.defined()) weights = class_weights;
  if (chooses(config.type)) return choice_loss(config, logits, labels, rows, label_smoothing);
  if (config.type == HeadType::multilabel_classification) {
    return at::binary_cross_entropy_with_logits(logits, labels.view(logits.sizes()), {}, weights);
  }
  if (config.type == HeadType::classification && config.num_labels == 1) {
    return at::mse_loss(logits.view({-1}), labels);
  }
  // A mean over no labels is NaN.
  if (!labels.ne(kNoLabel).any().item<bool>()) return logits.sum() * 0;
  return at::cross_entropy_loss(logits, labels, weights, at::Reduction::Mean, kNoLabel, label_smoothing);
}

}  // namespace ta
