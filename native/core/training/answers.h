#pragma once
// What heads make of a pass's states: one head of all rows, or several, each of its own. The loss of several is the sum
// of theirs, each the mean over its own rows (the peer's MultiHeadOutput): an adapter with a head of its own learns
// from its rows as it would from a batch of them alone.

#include "core/training/forward.h"

namespace ta {

/// Heads that the request names have their labels checked against the rows that they answer, of all copies of the
/// batch. Throws what check_labels of training/loss.h throws, and an error where there is no such head.
void check_labels(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request);

/// Labels that count in a loss's mean.
int64_t counted(const at::Tensor& labels);

/// What they are together in what the mean divides by: their number, with weights of classes the sum of theirs.
double weight_of(const at::Tensor& labels, const at::Tensor& class_weights);

/// Whether every head that answers reads one token of each row.
bool reads_rows(AdapterModel& model, const ForwardRequest& request);

/// How many rows of logits a head gives for these rows.
int64_t answer_count(const Head& head, const RowFacts& rows);

/// Of the labels of one head's rows, some of `all`, those of the rows `from` to `to` - 1 among them.
at::Tensor labels_of(const Head& head, const at::Tensor& labels, const RowFacts& all, const std::vector<int64_t>& rows,
                     size_t from, size_t to);

/// Adds logits and losses to a result that has the pass's states.
void answer(AdapterModel& model, const PackedBatch& batch, const ForwardRequest& request, const ForwardContext& context,
            ForwardResult& result);

}  // namespace ta
