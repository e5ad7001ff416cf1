#include "core/training/loss.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/mse_loss.h>

#include "core/error.h"

namespace ta {

namespace {

constexpr int64_t kIgnored = -100;

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

void check_labels(const HeadConfig& config, const at::Tensor& labels, int64_t count, int64_t classes) {
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
    if (values[i] == kIgnored || (values[i] >= 0 && values[i] < classes)) continue;
    fail(ErrorCode::out_of_range, "loss", text("label ", values[i], " at position ", i, " is no class of this head"),
         {.expected = text("0 .. ", classes - 1, ", or -100 for none"), .got = text(values[i])});
  }
}

at::Tensor head_loss(const HeadConfig& config, const at::Tensor& logits, const at::Tensor& labels,
                     double label_smoothing) {
  if (config.type == HeadType::multilabel_classification) {
    return at::binary_cross_entropy_with_logits(logits, labels.view(logits.sizes()));
  }
  if (config.type == HeadType::classification && config.num_labels == 1) {
    return at::mse_loss(logits.view({-1}), labels);
  }
  return at::cross_entropy_loss(logits, labels, {}, at::Reduction::Mean, kIgnored, label_smoothing);
}

}  // namespace ta
