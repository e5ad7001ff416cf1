#include "core/adapters/fused_adapters.h"

#include <algorithm>

namespace ta {

FusedAdapters::FusedAdapters(const Named& adapters, int64_t hidden, int64_t heads)
    : hidden_(hidden),
      fusion_(std::make_shared<AttentionFusion>(static_cast<int64_t>(adapters.size()), hidden, heads)) {
  auto list = std::make_shared<Container>("ModuleDict");
  for (const auto& [name, adapter] : adapters) {
    adapters_.push_back(adapter);
    list->add(name, adapter);
  }
  child("adapters", list);
  child("fusion", fusion_);
}

at::Tensor FusedAdapters::forward(const at::Tensor& x, const ForwardContext& context) {
  require_features(x, *this);
  std::vector<at::Tensor> outputs;
  for (const auto& adapter : adapters_) outputs.push_back(adapter->forward(x, context));
  return fusion_->forward(x, outputs);
}

bool FusedAdapters::reads_whole_rows() const {
  return std::any_of(adapters_.begin(), adapters_.end(), [](const auto& layer) { return layer->reads_whole_rows(); });
}

}  // namespace ta
