#include "core/inference/sample.h"

#include <algorithm>
#include <cmath>

#include "core/inference/generate.h"

namespace ta {

int32_t likeliest(const float* logits, int64_t size) {
  return static_cast<int32_t>(std::max_element(logits, logits + size) - logits);
}

std::vector<Candidate> candidates(const float* logits, int64_t size, const GenerateOptions& options) {
  std::vector<Candidate> all(size);
  for (int64_t i = 0; i < size; ++i) all[i] = {static_cast<int32_t>(i), logits[i] / options.temperature};
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.probability > b.probability; });
  if (options.top_k > 0 && options.top_k < size) {
    // Equals of the last one stay.
    const double least = all[options.top_k - 1].probability;
    std::erase_if(all, [&](const Candidate& one) { return one.probability < least; });
  }
  auto normalise = [&] {
    double sum = 0;
    for (const auto& one : all) sum += one.probability;
    for (auto& one : all) one.probability /= sum;
  };
  const double top = all.front().probability;
  for (auto& one : all) one.probability = std::exp(one.probability - top);
  normalise();
  if (options.top_p < 1) {
    size_t kept = 0;
    for (double sum = 0; kept < all.size() && (kept == 0 || sum < options.top_p); ++kept) sum += all[kept].probability;
    all.resize(kept);
    normalise();
  }
  return all;
}

int32_t draw(const std::vector<Candidate>& candidates, double uniform) {
  for (const auto& one : candidates)
    if ((uniform -= one.probability) < 0) return one.token;
  return candidates.back().token;
}

}  // namespace ta
