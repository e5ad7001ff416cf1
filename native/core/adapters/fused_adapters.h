#pragma once
// Adapters side by side at one place, and the fusion of what they say: y = fusion(x, A1(x) … AN(x)).
// PyTorch keys: adapters.<name>.{down_project, up_project}.*, fusion.* (attention_fusion.h)

#include "core/adapters/adapter_layer.h"
#include "core/adapters/attention_fusion.h"

namespace ta {

class FusedAdapters : public InsertedLayer {
 public:
  using Named = std::vector<std::pair<std::string, std::shared_ptr<Layer>>>;
  FusedAdapters(const Named& adapters, int64_t hidden, int64_t heads);
  const char* type() const override { return "FusedAdapters"; }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  /// Of the fusion; the adapters are made, and start, before.
  void initialise(Random& random) override { fusion_->initialise(random); }
  LayerSize size() const override { return {hidden_, hidden_}; }
  bool reads_whole_rows() const override;

 private:
  int64_t hidden_;
  std::vector<std::shared_ptr<Layer>> adapters_;
  std::shared_ptr<AttentionFusion> fusion_;
};

}  // namespace ta
