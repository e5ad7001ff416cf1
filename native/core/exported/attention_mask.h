#pragma once
// What a mask that a graph computed says: most say nothing (all rows are of one length), or what a kernel's own causal
// flag does, and both kernels and the graph's views around them are then spared its sums.

#include <ATen/core/Tensor.h>

namespace ta::exported {

enum class MaskForm {
  none,    ///< every token sees every other of its row
  causal,  ///< a token sees itself and those before it
  other
};

/// mask [rows or 1, any or 1, tokens or 1, tokens]: bool, true where a token is seen; or float, which is added to the
/// scores: 0, or so little (-1e30 and below, as finfo.min) that its exponential is 0.
MaskForm form_of_mask(const at::Tensor& mask, int64_t tokens);

}  // namespace ta::exported
