#include "core/adapters/hierarchical_adapter.h"

namespace ta {

HierarchicalAdapter::HierarchicalAdapter(int64_t hidden, const std::vector<int64_t>& sizes,
                                         const std::string& activation)
    : hidden_(hidden) {
  auto list = std::make_shared<Container>("ModuleList");
  for (int64_t size : sizes) {
    adapters_.push_back(std::make_shared<AdapterLayer>(hidden, size, activation));
    list->add(std::to_string(adapters_.size() - 1), adapters_.back());
  }
  child("adapters", list);
}

at::Tensor HierarchicalAdapter::forward(const at::Tensor& x, const ForwardContext& context) {
  require_features(x, *this);
  auto y = x;
  for (const auto& adapter : adapters_) y = adapter->forward(y, context);
  return y;
}

void HierarchicalAdapter::initialise(Random& random) {
  for (const auto& adapter : adapters_) adapter->initialise(random);
}

}  // namespace ta
