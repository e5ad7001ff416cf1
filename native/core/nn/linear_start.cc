#include "core/nn/linear_start.h"

#include <c10/core/GradMode.h>

#include <cmath>

namespace ta {

void start_as_pytorch(Linear& layer, Random& random) {
  const c10::NoGradGuard guard;
  const double bound = 1 / std::sqrt(static_cast<double>(layer.weight.size(1)));
  random.uniform_(layer.weight, -bound, bound);
  if (layer.bias.defined()) random.uniform_(layer.bias, -bound, bound);
}

void start_at_zero(Linear& layer) {
  const c10::NoGradGuard guard;
  layer.weight.zero_();
  if (layer.bias.defined()) layer.bias.zero_();
}

}  // namespace ta
