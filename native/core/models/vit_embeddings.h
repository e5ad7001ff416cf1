#pragma once
// What a Vision Transformer makes of images: non-overlapping patches, each one product with the same matrix, behind a
// class token that every row has.
//   e_0 = cls + positions_0        e_t = W patch_t + b + positions_t        x = dropout(e)
// pixels [rows, channels, height, width] → [rows · (patches + 1), hidden]. Patches go line by line; a patch's values
// are its channels, each line by line, as those of a convolution's kernel.
// Images of another size than the model's have other patches: their positions are interpolated (bicubic) over the
// model's, which lie in a plane, and the class token's stays (Caron et al. 2021, arXiv 2104.14294).
// PyTorch keys: cls_token [1, 1, hidden], position_embeddings [1, patches + 1, hidden],
// patch_embeddings.projection.weight [hidden, channels, patch height, patch width] (nn.Conv2d), .bias.

#include "core/config/model_config.h"
#include "core/nn/forward_context.h"
#include "core/nn/module.h"

namespace ta {

/// A convolution whose kernel moves by its own size: nn.Conv2d with stride = kernel_size.
class PatchProjection : public Module {
 public:
  PatchProjection(const ImageShape& image, int64_t hidden);
  const char* type() const override { return "Conv2d"; }
  /// pixels [rows, channels, height, width] → [rows, patches, hidden].
  at::Tensor forward(const at::Tensor& pixels, const ImageShape& image) const;

 private:
  at::Tensor weight_, bias_;
};

class VitEmbeddings : public Module {
 public:
  explicit VitEmbeddings(const ModelConfig& config);
  const char* type() const override { return "ViTEmbeddings"; }
  at::Tensor forward(const at::Tensor& pixels, const ForwardContext& context) const;

 private:
  at::Tensor positions(const ImageShape& image) const;

  ImageShape image_;
  at::Tensor class_token_, positions_;
  std::shared_ptr<PatchProjection> projection_;
  double dropout_;
};

}  // namespace ta
