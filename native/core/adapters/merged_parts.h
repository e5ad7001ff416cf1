#pragma once
// Which of the matrices that one Linear holds, one above the other, an adapter changes. GPT-2's c_attn has three:
// query, key and value. An adapter at n of them has n factors of each kind, side by side in one tensor, as the peer's
// LoRAMergedLinear has them:
//
//   A [n r, in]      B [n d, r]      m, l [n d, 1]      out = 3 d, in the order of query, key, value
//
// Elsewhere a Linear is one matrix, and nothing here does anything.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace ta {

class MergedParts {
 public:
  /// One matrix, which is the whole.
  MergedParts() = default;
  /// `chosen`: ascending, at least one.
  MergedParts(int64_t all, std::vector<int64_t> chosen) : all_(all), chosen_(std::move(chosen)) {}

  bool whole() const { return all_ == 1; }
  /// n
  int64_t count() const { return static_cast<int64_t>(chosen_.size()); }
  /// d, of a Linear with so many outputs.
  int64_t rows_of_each(int64_t out) const { return out / all_; }

  /// Factors side by side as one: B [n d, r] → [out, n r], with zeros where an output does not read a factor.
  at::Tensor spread(const at::Tensor& b) const;
  /// The chosen ones' rows of a vector or matrix: [out, …] → [n d, …].
  at::Tensor take(const at::Tensor& all) const;
  /// The same back along a dimension, with `fill` at the others: [n d] → [out].
  at::Tensor put(const at::Tensor& own, int64_t dim, double fill) const;

 private:
  int64_t all_ = 1;
  std::vector<int64_t> chosen_ = {0};
};

}  // namespace ta
