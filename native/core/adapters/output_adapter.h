#pragma once
// Adapters on a network's last hidden state, behind the encoder and before any head: one for each task, and the state
// itself for a row that names none. x, y [tokens, hidden]; y = A_task(x), a stack one after the other, an average
// Σ w_i F_i(x).
// PyTorch keys, beside the base model's: adapters.<task>.{down_project, up_project}.*

#include "core/adapters/adapter_layer.h"
#include "core/adapters/place.h"

namespace ta {

/// An AdapterLayer as an adapter's part at a place; its children stand directly below the adapter's name.
class OutputAdapter : public AdapterModule {
 public:
  OutputAdapter(int64_t hidden, int64_t size, const std::string& activation);
  const char* type() const override { return layer_->type(); }
  void initialise(Random& random) override { layer_->initialise(random); }
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) { return layer_->forward(x, context); }

 private:
  std::shared_ptr<AdapterLayer> layer_;
};

class OutputPlace : public AdapterPlace {
 public:
  /// Throws ERR_UNSUPPORTED for a Fuse or Split of adapters that stand here.
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) const;

 private:
  at::Tensor run(const Composition& setup, const at::Tensor& x, const ForwardContext& context) const;
};

}  // namespace ta
