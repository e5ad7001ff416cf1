#pragma once
// The next token from logits, as transformers' TemperatureLogitsWarper, TopKLogitsWarper and TopPLogitsWarper choose
// it.

#include <cstdint>
#include <vector>

namespace ta {

struct GenerateOptions;

/// The first of the largest.
int32_t likeliest(const float* logits, int64_t size);

/// Tokens that may be drawn with their probabilities, likeliest first.
struct Candidate {
  int32_t token;
  double probability;
};
std::vector<Candidate> candidates(const float* logits, int64_t size, const GenerateOptions& options);

/// uniform in [0, 1).
int32_t draw(const std::vector<Candidate>& candidates, double uniform);

}  // namespace ta
