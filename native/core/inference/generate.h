#pragma once
// Text from a causal language model (GPT-2): each row's prompt once, then one token a row and step with a cache of keys
// and values. Each row may use adapters of its own. A row ends at an end token, which it keeps, or at its last new
// token; rows that ended leave the batch.
//   logits = head(h of the row's last token)          next = argmax, or a draw from
//   softmax(logits / temperature), only the top_k likeliest, of these the fewest that hold top_p of the probability

#include <functional>

#include "core/training/forward.h"

namespace ta {

struct GenerateOptions {
  int64_t max_new_tokens = 20;
  bool sample = false;
  double temperature = 1;
  int64_t top_k = 0;  ///< 0: all
  double top_p = 1;
  std::vector<int32_t> end_tokens;
  uint64_t seed = 0;
  /// A number of each row, by which and the seed it draws, whatever stands beside it; empty: their places.
  std::vector<uint64_t> row_numbers;
  std::function<bool()> stopped;  ///< asked before each token; may be empty
  /// Told after each step: the rows that still ran, by their place among the prompts, and each one's new token. May be
  /// empty.
  std::function<void(std::vector<int32_t> rows, std::vector<int32_t> tokens)> written;
};

/// New tokens of each row. `head` empty: the word embedding itself reads the hidden state.
/// Throws ERR_UNSUPPORTED where the model is not causal, ERR_OUT_OF_RANGE where it has too few positions, ERR_ABORTED
/// where it was stopped.
std::vector<std::vector<int32_t>> generate(AdapterModel& model, BatchInput prompts,
                                           const std::vector<RowSegment>& segments, const std::string& head,
                                           const GenerateOptions& options);

}  // namespace ta
