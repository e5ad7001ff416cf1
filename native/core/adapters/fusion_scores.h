#pragma once
// What a pass was asked to keep of AdapterFusion's attention. Where nobody asks there is none of these, and nothing is
// kept or copied.

#include <ATen/core/Tensor.h>

#include <map>
#include <vector>

namespace ta {

class Fusion;

class FusionScores {
 public:
  /// p [n, inputs] of one fusion. `tokens` [n] int64: which of the pass's `total` they are; `children`: for each input
  /// which of the block's `count` children it is.
  void add(const Fusion& fusion, const at::Tensor& p, const at::Tensor& tokens, int64_t total,
           const std::vector<int64_t>& children, int64_t count);
  /// These tokens alone.
  void keep(const at::Tensor& tokens);

  /// [tokens, children]: 0 for tokens that do not pass through the fusion and for children that do not stand there.
  using All = std::map<const Fusion*, at::Tensor>;
  const All& all() const { return all_; }

 private:
  All all_;
};

}  // namespace ta
