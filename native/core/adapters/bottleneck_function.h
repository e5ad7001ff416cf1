#pragma once
// Plain bottlenecks at their site as one autograd node: sum, LayerNorm, down, activation, up, residuals and the last
// LayerNorm. The up-projection accumulates onto the residual sum, the adapter's input is computed again in the backward
// pass rather than kept, and nothing is saved where no gradient is needed. Same numbers as Bottleneck::forward.
//
// The tokens may belong to several adapters of one form, or to none: what does not depend on the adapter is then done
// once for all of them, and each adds its two products on its own tokens.

#include "core/adapters/bottleneck.h"

namespace ta {

/// The next `tokens` tokens go through the adapter; null: through none.
struct BottleneckPart {
  int64_t tokens;
  const Bottleneck* adapter;
};

/// Whether bottleneck_site takes these together: plain adapters of one form, to which rows without one fit.
bool fit_together(const std::vector<BottleneckPart>& parts);

/// h, r [tokens, hidden] → y [tokens, hidden]. Parts that fit together, one of them with an adapter, over all tokens;
/// the LayerNorm must be frozen.
at::Tensor bottleneck_site(const at::Tensor& h, const at::Tensor& r, const std::vector<BottleneckPart>& parts,
                           const LayerNorm& norm);

}  // namespace ta
