#pragma once
// What of a file does not fit the parameters that it is for, told at once.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace ta {

struct Misfit {
  std::vector<std::string> missing, unexpected, misshaped;
  std::string problem = "the file does not fit";
  std::string expected, got;  ///< of the whole, where there is one word for it

  void add_misshaped(const std::string& name, at::IntArrayRef expected, at::IntArrayRef got);
  /// Throws ERR_STATE_DICT with all names where there is any; `hint`: what to do.
  void refuse_any(const std::string& operation, const std::string& hint) const;
};

}  // namespace ta
