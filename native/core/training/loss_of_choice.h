#pragma once
// Losses of heads that choose: a token of the row as first and one as last of an answer (the mean of two cross
// entropies), one of a question's rows (cross entropy), for each word its head among the row's words, and the relation
// to it (the sum of two). As adapters.heads computes them for rows without padding: its softmax takes padding in.

#include "core/models/head.h"

namespace ta {

constexpr int64_t kNoLabel = -100;

bool chooses(HeadType type);

/// Labels: question_answering [rows · 2], the first and the last token's place in the row; multiple_choice [questions];
/// dependency_parsing [tokens · 2], at the first token of each word its head (0: the root, 1: the first word) and the
/// relation. -100: none, for both of two.
/// Throws ERR_INVALID_ARGUMENT, ERR_OUT_OF_RANGE.
void check_choices(const HeadConfig& config, const at::Tensor& labels, const RowFacts& facts);

/// Labels as checked. Means over the rows, questions or words that have one.
at::Tensor choice_loss(const HeadConfig& config, const at::Tensor& logits, const at::Tensor& labels,
                       const RowFacts& facts, double label_smoothing);

}  // namespace ta
