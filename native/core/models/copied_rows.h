#pragma once
// Rows that several adapters answer in parallel are copies of each other until the first layer where an adapter stands:
// up to there they are computed once.

#include "core/nn/forward_context.h"

namespace ta {

class CopiedRows {
 public:
  /// `batch`: `copies` times the same rows, one copy after the other.
  CopiedRows(const PackedBatch& batch, const ForwardContext& context, int64_t copies)
      : all_(batch), context_(context.with(batch.layout)), copies_(copies) {
    if (copies == 1) return;
    auto once = batch;
    once.labels.reset();
    once_ = once.rows(0, batch.layout.rows() / copies, LabelsOf::rows);
  }
  CopiedRows(const CopiedRows&) = delete;  // contexts refer to once_
  CopiedRows& operator=(const CopiedRows&) = delete;

  /// Whether one copy stands for all.
  bool together() const { return once_.has_value() && !parted_; }
  void part() { parted_ = true; }
  const PackedBatch& batch() const { return together() ? *once_ : all_; }
  /// Of batch(); rows that are together pass through the base model alone.
  ForwardContext context() const {
    if (!together()) return context_;
    auto context = context_.with(once_->layout);
    context.segments = nullptr;
    return context;
  }
  /// Values of batch() for all copies.
  at::Tensor all(const at::Tensor& x) const { return together() ? x.repeat({copies_, 1}) : x; }

 private:
  const PackedBatch& all_;
  ForwardContext context_;
  int64_t copies_;
  std::optional<PackedBatch> once_;
  bool parted_ = false;
};

}  // namespace ta
