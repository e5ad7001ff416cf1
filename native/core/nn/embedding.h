#pragma once
// y[t] = weight[ids[t]].  ids [tokens] → [tokens, size], float32.  PyTorch: nn.Embedding, key `weight`.

#include "core/nn/module.h"

namespace ta {

class Embedding : public TokenLayer {
 public:
  using TokenLayer::forward;
  /// `padding` is the row that starts at zero and gets no gradient (PyTorch's padding_idx); -1: none.
  Embedding(int64_t rows, int64_t size, int64_t padding = -1, Init init = Init::embedding);
  const char* type() const override { return "Embedding"; }
  at::Tensor forward(const at::Tensor& ids) override;

  at::Tensor weight;

 private:
  int64_t padding_;
};

}  // namespace ta
