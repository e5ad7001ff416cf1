#include "core/nn/sequential.h"

#include <algorithm>

#include "core/nn/forward_context.h"

namespace ta {

Sequential::Sequential(const std::vector<std::shared_ptr<Layer>>& layers) {
  for (size_t place = 0; place < layers.size(); ++place)
    child(std::to_string(place), layers_.emplace_back(), layers[place]);
}

at::Tensor Sequential::forward(const at::Tensor& x, const ForwardContext& context) {
  auto y = x;
  for (const auto& layer : layers_) y = layer(y, context);
  return y;
}

LayerSize Sequential::size() const {
  LayerSize whole;
  for (const auto& slot : layers_) {
    const auto own = slot.layer->size();
    if (whole.in == 0) whole.in = own.in;
    if (own.out != 0) whole.out = own.out;
  }
  return whole;
}

bool Sequential::reads_whole_rows() const {
  return std::any_of(layers_.begin(), layers_.end(), [](const Slot& slot) { return slot.layer->reads_whole_rows(); });
}

}  // namespace ta
