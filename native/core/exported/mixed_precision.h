#pragma once
// Values under torch.autocast, some of which are bfloat16 or float16. Adapters compute in float32 there, too: what they
// read is widened, and what others read is of the type that the graph has.

#include <ATen/core/Tensor.h>

#include "core/exported/execution.h"

namespace ta::exported {

inline at::Tensor widened(const at::Tensor& x) {
  const auto type = x.defined() ? x.scalar_type() : at::kFloat;
  return type == at::kBFloat16 || type == at::kHalf ? x.to(at::kFloat) : x;
}

/// In the type of a slot.
inline at::Tensor as_slot(const Execution& execution, int32_t slot, const at::Tensor& y) {
  const auto& type = execution.program().graph().slots[static_cast<std::size_t>(slot)].dtype;
  return type && y.scalar_type() != *type ? y.to(*type) : y;
}

}  // namespace ta::exported
