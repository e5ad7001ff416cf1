#pragma once
// One adapter or head out of several, its parameters being sums over theirs: Σ wi θi.
//
//   linear        every parameter
//   negate_b      of LoRA: B with wi, A with |wi|, so that a negative weight takes an adapter's change away instead of
//                 leaving it, as (-B)(-A) would (Zhang et al. 2023, arXiv 2306.14870)
//   delta_w_svd   of LoRA: the sum of the changes, Σ wi si Bi Ai = s B A, by its largest singular values
// The peer leaves s out of the last: with another rank its mean counts otherwise than what it is made of.

#include "core/surgery/adapter_model.h"

namespace ta {

struct AverageSource {
  std::string name;
  double weight;
  double scale = 1;  ///< of LoRA, alpha / r: for delta_w_svd
};

enum class AverageStrategy { linear, negate_b, delta_w_svd };

/// The adapter is there already, at places where all of them stand. Throws ERR_INVALID_ARGUMENT where one lacks a
/// parameter of its shape, ERR_UNSUPPORTED where frozen values differ (VeRA's pair), or for what is no LoRA.
void average_adapters(AdapterModel& model, const std::string& name, double scale,
                      const std::vector<AverageSource>& sources, AverageStrategy strategy);
/// Linear.
void average_heads(AdapterModel& model, const std::string& name, const std::vector<AverageSource>& sources);

}  // namespace ta
