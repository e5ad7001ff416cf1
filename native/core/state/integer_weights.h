#pragma once
// Integers in the place of weights are those of a quantized file: without its scales, which other tensors hold in ways
// of each tool's own, their numbers mean nothing.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace ta {

class IntegerWeights {
 public:
  /// Whether `tensor` holds integers for a place of type `wanted` that does not; it is kept for `refuse_any`.
  bool take(const std::string& name, const at::Tensor& tensor, at::ScalarType wanted);
  /// Throws ERR_UNSUPPORTED with all names and types where there is any.
  void refuse_any(const std::string& operation) const;

 private:
  std::vector<std::string> names_;
  std::string type_;  ///< of the first
};

}  // namespace ta
