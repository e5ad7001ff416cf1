#pragma once
// The words of a packed batch, each the mean of its tokens: x [tokens, size] → [words, size], rows one after the other.

#include "core/nn/packed_batch.h"

namespace ta {

struct Words {
  RowLayout layout;                   ///< words of each row; a row may have none
  std::vector<int64_t> first_tokens;  ///< [words]: where each begins
  std::vector<int64_t> lengths;       ///< [words]: tokens
};

/// Throws ERR_INVALID_ARGUMENT where a row's words do not follow each other: 0 0 1 2 2, with -1 anywhere between words.
Words words_of(const std::vector<int64_t>& word_ids, const RowLayout& rows);

at::Tensor word_means(const at::Tensor& x, const Words& words);

}  // namespace ta
