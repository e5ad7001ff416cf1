#pragma once
// How PyTorch itself starts a new nn.Linear (reset_parameters): weight and bias U(-1/√in, 1/√in).

#include "core/nn/linear.h"
#include "core/nn/random.h"

namespace ta {

void start_as_pytorch(Linear& layer, Random& random);
void start_at_zero(Linear& layer);

}  // namespace ta
