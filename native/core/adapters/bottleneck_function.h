#pragma once
// A plain bottleneck at its site as one autograd node: sum, LayerNorm, down, activation, up, residuals and the last
// LayerNorm. The up-projection accumulates onto the residual sum, the adapter's input is computed again in the backward
// pass rather than kept, and nothing is saved where no gradient is needed. Same numbers as Bottleneck::forward +
// finish.

#include "core/adapters/bottleneck.h"

namespace ta {

/// h, r [tokens, hidden] → y [tokens, hidden]. The adapter must be plain() and the LayerNorm frozen.
at::Tensor bottleneck_site(const at::Tensor& h, const at::Tensor& r, const Bottleneck& adapter, const LayerNorm& norm);

}  // namespace ta
