#include "core/nn/words.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"

namespace ta {

Words words_of(const std::vector<int64_t>& word_ids, const RowLayout& rows) {
  Words words;
  std::vector<int64_t> counts;
  for (int64_t row = 0; row < rows.rows(); ++row) {
    int64_t next = 0;
    for (int64_t token = rows.starts()[row]; token < rows.starts()[row + 1]; ++token) {
      const int64_t word = word_ids[token];
      if (word < 0) continue;
      const bool goes_on = word == next - 1 && words.first_tokens.back() + words.lengths.back() == token;
      if (!goes_on && word != next) {
        fail(ErrorCode::invalid_argument, "batch", text("the words of row ", row, " do not follow each other"),
             {.expected =
                  text("word ", next, next > 0 ? text(" or ", next - 1) : "", " at token ", token - rows.starts()[row]),
              .got = text(word)});
      }
      if (goes_on) {
        ++words.lengths.back();
      } else {
        words.first_tokens.push_back(token);
        words.lengths.push_back(1);
        ++next;
      }
    }
    counts.push_back(next);
  }
  words.layout = RowLayout(counts);
  return words;
}

at::Tensor word_means(const at::Tensor& x, const Words& words) {
  const auto count = static_cast<int64_t>(words.first_tokens.size());
  std::vector<int64_t> tokens, word_of;
  std::vector<float> weights;
  for (int64_t word = 0; word < count; ++word) {
    for (int64_t i = 0; i < words.lengths[word]; ++i) {
      tokens.push_back(words.first_tokens[word] + i);
      word_of.push_back(word);
      weights.push_back(1.0f / static_cast<float>(words.lengths[word]));
    }
  }
  const auto to_tensor = [&](auto& values, at::ScalarType type) {
    return at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, type).to(x.device(), type, false, true);
  };
  const auto parts = x.index_select(0, to_tensor(tokens, at::kLong)) * to_tensor(weights, at::kFloat).unsqueeze(1);
  return at::zeros({count, x.size(1)}, x.options()).index_add(0, to_tensor(word_of, at::kLong), parts);
}

}  // namespace ta
